package admin

import (
	"cmp"
	"context"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/auth"
)

func (a *API) createToken(ctx context.Context, c *call, r *adminapi.CreateTokenRequest) (adminapi.CreatedToken, adminapi.Info, error) {
	none := adminapi.CreatedToken{}
	if err := without(r.WriteOptions, false, true, "the secret of a token is told once"); err != nil {
		return none, adminapi.Info{}, err
	}
	ttl := cmp.Or(r.TTL, adminapi.DefaultTokenTTL)
	if ttl < adminapi.DurationOf(time.Second) || ttl > adminapi.MaxTokenTTL {
		return none, adminapi.Info{}, fault.New(fault.Invalid, "ttl %v is outside 1s to %v: an API token always expires", ttl, adminapi.MaxTokenTTL)
	}
	secret, err := a.c.Credentials.NewToken(r.Name)
	if err != nil {
		return none, adminapi.Info{}, err
	}
	token := record.Token{
		Name:      r.Name,
		Hash:      secret.Hash,
		KeyID:     secret.KeyID,
		Principal: record.Principal{Issuer: auth.TokenIssuer, Subject: r.Name},
		ClientID:  r.ClientID,
		Admin:     r.Admin,
		Scopes:    r.Scopes,
		Expires:   record.LogTimeAt(time.Now()).Add(ttl.Duration()),
	}
	if r.User != nil {
		if r.User.Issuer == "node" {
			return none, adminapi.Info{}, fault.New(fault.Invalid, "user: the issuer node is that of the nodes themselves")
		}
		token.Principal = record.Principal(*r.User)
	}
	outcome, info, err := a.propose(ctx, c, r.WriteOptions, r, &fsm.PutToken{Token: token, IfRevision: r.IfMatch})
	if err != nil {
		return none, info, err
	}
	return adminapi.CreatedToken{
		Name: r.Name, Token: secret.Text, Expires: adminapi.TimeOf(token.Expires.Time()), Revision: outcome.Revision,
	}, info, nil
}

func (a *API) revokeToken(ctx context.Context, c *call, r *adminapi.RevokeTokenRequest) (adminapi.Receipt, adminapi.Info, error) {
	return a.writeUnversioned(ctx, c, r.WriteOptions, r, &fsm.RevokeToken{Name: r.Name, IfRevision: r.IfMatch})
}

func (a *API) token(ctx context.Context, _ *call, r *adminapi.TokenRequest) (adminapi.Token, adminapi.Info, error) {
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Linearizable)
	if err != nil {
		return adminapi.Token{}, info, err
	}
	defer view.Close()
	t, err := view.Token(0, r.Name)
	if err != nil {
		return adminapi.Token{}, info, err
	}
	info.Revision = t.Revision
	return tokenOf(&t), info, nil
}

func (a *API) tokens(ctx context.Context, _ *call, r *adminapi.TokensRequest) (adminapi.Page[adminapi.Token], adminapi.Info, error) {
	none := adminapi.Page[adminapi.Token]{}
	limit, err := pageLimit(r.Limit)
	if err != nil {
		return none, adminapi.Info{}, err
	}
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Bounded)
	if err != nil {
		return none, info, err
	}
	defer view.Close()
	page, err := collect(view.Tokens(0, r.After), limit, 0, tokenSize, tokenOf,
		func(t *record.Token) string { return t.Name })
	return page, info, err
}

func tokenSize(t *record.Token) int {
	return 256 + len(t.ClientID) + len(t.Principal.Issuer) + len(t.Principal.Subject) + len(t.Scopes)*record.MaxName
}

func tokenOf(t *record.Token) adminapi.Token {
	return adminapi.Token{
		Name:     t.Name,
		User:     adminapi.Principal(t.Principal),
		ClientID: t.ClientID,
		Admin:    t.Admin,
		Scopes:   t.Scopes,
		Created:  adminapi.TimeOf(t.Created.Time()),
		Expires:  expiresOf(t.Expires),
		Revision: t.Revision,
	}
}

func expiresOf(t record.LogTime) adminapi.Time {
	if t == 0 {
		return 0
	}
	return adminapi.TimeOf(t.Time())
}

func (a *API) rotateKeys(ctx context.Context, c *call, r *adminapi.RotateKeysRequest) (adminapi.Receipt, adminapi.Info, error) {
	if err := without(r.WriteOptions, true, true, "while a rotation goes on another one is a conflict"); err != nil {
		return adminapi.Receipt{}, adminapi.Info{}, err
	}
	receipt, err := a.c.Credentials.RotateKeys(ctx, c.caller)
	if err != nil {
		return adminapi.Receipt{}, adminapi.Info{}, err
	}
	info := adminapi.Info{Index: receipt.Index, Timeline: a.names.of(receipt.Timeline)}
	return receiptOf(receipt.Outcome), info, nil
}
