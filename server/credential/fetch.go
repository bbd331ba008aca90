package credential

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

const (
	endpointTimeout = 10 * time.Second       // of one request to a token endpoint
	claimAge        = 2 * endpointTimeout    // when the claim is taken from a holder that may be alive: its request has ended
	claimPoll       = 250 * time.Millisecond // how often a node looks whether another has a token
	releaseTimeout  = 5 * time.Second
	defaultLifetime = 5 * time.Minute // of a token whose endpoint does not say
	maxLifetime     = 24 * time.Hour  // a revoked client is noticed after that
	maxMargin       = 30 * time.Second
	maxTokenBytes   = 16 << 10
)

// fetch makes sure that the credential has a good access token: another node's,
// or one that this node fetches while it holds the claim.
func (c *Credentials) fetch(ctx context.Context, name string) (known, error) {
	for {
		k, good, err := c.load(ctx, name, raftnode.Linearizable)
		if err != nil || good {
			return k, err
		}
		fence, err := c.claim(ctx, name)
		if err != nil {
			return known{}, err
		}
		if fence != 0 {
			return c.fetchAlone(ctx, name, fence)
		}
		select {
		case <-time.After(claimPoll):
		case <-ctx.Done():
			return known{}, fmt.Errorf("another node is fetching an access token: %w", ctx.Err())
		}
	}
}

// claim takes the claim of the credential, from a holder that is gone if need
// be; 0 while another has it.
func (c *Credentials) claim(ctx context.Context, name string) (fence uint64, err error) {
	replaces, free, err := c.holder(ctx, fsm.CredentialClaim(name))
	if err != nil || !free {
		return 0, err
	}
	o, err := c.propose(ctx, &fsm.AcquireClaim{
		Claim:    record.Claim{Name: fsm.CredentialClaim(name), Node: c.c.Node, Process: c.c.Process},
		Replaces: replaces,
	})
	if k := fault.Of(err); k == fault.Conflict || k == fault.Precondition {
		return 0, nil
	}
	return o.Revision, err
}

// holder reports whether the claim may be taken, and the token that is replaced.
func (c *Credentials) holder(ctx context.Context, claim string) (replaces uint64, free bool, err error) {
	view, _, err := c.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Linearizable})
	if err != nil {
		return 0, false, err
	}
	defer view.Close()
	held, err := view.Claim(claim)
	if fault.Of(err) == fault.NotFound {
		return 0, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	member, err := view.Member(held.Node)
	if err != nil && fault.Of(err) != fault.NotFound {
		return 0, false, err
	}
	alive := err == nil && member.Process == held.Process
	old := time.Since(held.Acquired.Time()) > claimAge
	return held.Token, !alive || old, nil
}

// fetchAlone asks the token endpoint while this node holds the claim, and gives
// the claim up.
func (c *Credentials) fetchAlone(ctx context.Context, name string, fence uint64) (k known, err error) {
	defer func() {
		err = errors.Join(err, c.release(ctx, name, fence))
	}()
	k, good, err := c.load(ctx, name, raftnode.Any) // the claim was proposed here: this replica is as new
	if err != nil || good {
		return k, err // another node was quicker
	}
	view, _, err := c.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return known{}, err
	}
	rec, err := view.Credential(0, name)
	view.Close()
	if err != nil {
		return known{}, err
	}
	token, err := c.request(ctx, &rec)
	c.metrics.fetched(err)
	if err != nil {
		return known{}, err
	}
	sealed, err := c.c.Sealer.Seal(tokenPurpose, []byte(name), []byte(token.AccessToken))
	if err != nil {
		return known{}, err
	}
	ends := record.LogTimeAt(token.Expiry)
	if _, err := c.propose(ctx, &fsm.SealCredential{Name: name, IfRevision: rec.Revision, Fence: fence, Token: sealed, TokenExpires: ends}); err != nil {
		return known{}, err
	}
	c.Changed([]fsm.Change{{Noun: fsm.ChangedCredential, Key: name}})
	rec.Token, rec.TokenExpires = sealed, ends
	return c.open(&rec)
}

// release gives the claim up. That it was taken away meanwhile is no error: the
// token was not taken either.
func (c *Credentials) release(ctx context.Context, name string, fence uint64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	_, err := c.propose(ctx, &fsm.ReleaseClaim{Name: fsm.CredentialClaim(name), Token: fence})
	if k := fault.Of(err); k == fault.NotFound || k == fault.Fenced {
		return nil
	}
	return err
}

func (c *Credentials) propose(ctx context.Context, command fsm.Command) (fsm.Outcome, error) {
	receipt, err := c.c.Replica.Propose(ctx, raftnode.Request{Actor: c.c.Actor, Command: command})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	return receipt.Outcome, err
}

// request asks the token endpoint. The token's Expiry is when it is not used any
// more, a little before it ends.
func (c *Credentials) request(ctx context.Context, rec *record.Credential) (*oauth2.Token, error) {
	secret, err := c.c.Sealer.Open(secretPurpose, []byte(rec.Name), rec.Secret)
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Transport: c.c.Transport,
		Timeout:   endpointTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the token endpoint redirects, which would carry the client's secret elsewhere")
		},
	}
	config := clientcredentials.Config{ClientID: rec.ClientID, ClientSecret: string(secret), TokenURL: rec.TokenURL, Scopes: rec.Scopes}
	if rec.Resource != "" {
		config.EndpointParams = url.Values{"resource": {rec.Resource}}
	}
	asked := time.Now()
	token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err != nil {
		return nil, refusalOf(err)
	}
	switch {
	case !strings.EqualFold(token.Type(), "Bearer"):
		return nil, fault.New(fault.Unreachable, "the token endpoint gives tokens of type %q, only Bearer is known", token.Type())
	case len(token.AccessToken) > maxTokenBytes || !printable(token.AccessToken):
		return nil, fault.New(fault.Unreachable, "the token endpoint gives a token that fits in no header")
	}
	token.Expiry = usedUntil(asked, token.Expiry)
	return token, nil
}

// usedUntil is when a token that was asked for then and expires at that time,
// zero if nobody knows, is replaced.
func usedUntil(asked, expires time.Time) time.Time {
	life := defaultLifetime
	if !expires.IsZero() {
		life = min(expires.Sub(asked), maxLifetime)
	}
	return asked.Add(life - min(maxMargin, life/5))
}

// refusalOf is an error without the endpoint's own page, which may repeat what it
// was sent.
func refusalOf(err error) error {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return fault.New(fault.Unreachable, "the token endpoint was not reached: %w", err)
	}
	status := 0
	if e.Response != nil {
		status = e.Response.StatusCode
	}
	if e.ErrorCode == "" {
		return fault.New(fault.Unreachable, "the token endpoint answered HTTP %d and no token", status)
	}
	return fault.New(fault.Unreachable, "the token endpoint refused with %q (HTTP %d)", e.ErrorCode, status)
}

func printable(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}
