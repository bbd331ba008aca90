package admin

import (
	"context"
	"strings"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/upstream"
)

const maxSecret = 16 << 10 // bytes

func (a *API) putCredential(ctx context.Context, c *call, r *adminapi.PutCredentialRequest) (adminapi.Receipt, adminapi.Info, error) {
	if err := without(r.WriteOptions, false, true, "the request holds a secret"); err != nil {
		return adminapi.Receipt{}, adminapi.Info{}, err
	}
	if err := validSecret(r); err != nil {
		return adminapi.Receipt{}, adminapi.Info{}, err
	}
	sealed, err := a.c.Sealer.Seal(r.Name, []byte(r.Secret))
	if err != nil {
		return adminapi.Receipt{}, adminapi.Info{}, err
	}
	return a.write(ctx, c, r.WriteOptions, r, &fsm.PutCredential{
		Credential: record.Credential{
			Name:     r.Name,
			Kind:     r.Kind,
			Header:   r.Header,
			TokenURL: r.TokenURL,
			ClientID: r.ClientID,
			Scopes:   r.Scopes,
			Resource: r.Resource,
			Secret:   sealed,
		},
		IfRevision: r.IfMatch,
	})
}

// validSecret reports what the state machine cannot see: it gets the secret
// sealed. The secret is not repeated.
func validSecret(r *adminapi.PutCredentialRequest) error {
	if err := upstream.ValidHeader(r.Header); err != nil {
		return fault.New(fault.Invalid, "%v", err)
	}
	unfit := func(c rune) bool { return c < ' ' || c >= 0x7f }
	switch {
	case strings.TrimSpace(r.Secret) == "":
		return fault.New(fault.Invalid, "secret is missing")
	case len(r.Secret) > maxSecret:
		return fault.New(fault.TooLarge, "secret has %d bytes, the limit is %d", len(r.Secret), maxSecret)
	case strings.ContainsFunc(r.Secret, unfit):
		return fault.New(fault.Invalid, "secret holds a character at byte %d that no header may hold", strings.IndexFunc(r.Secret, unfit))
	}
	return nil
}

func (a *API) removeCredential(ctx context.Context, c *call, r *adminapi.RemoveCredentialRequest) (adminapi.Receipt, adminapi.Info, error) {
	if err := a.unusedCredential(ctx, r.Name); err != nil {
		return adminapi.Receipt{}, adminapi.Info{}, err
	}
	return a.writeUnversioned(ctx, c, r.WriteOptions, r, &fsm.RemoveCredential{Name: r.Name, IfRevision: r.IfMatch})
}

// unusedCredential refuses to take a credential away from an upstream. One that is
// put at the same moment is told at its first call.
func (a *API) unusedCredential(ctx context.Context, name string) error {
	view, _, err := a.view(ctx, adminapi.ReadOptions{}, adminapi.Linearizable)
	if err != nil {
		return err
	}
	defer view.Close()
	for u, err := range view.Upstreams(0, "") {
		if err != nil {
			return err
		}
		if u.Credential == name {
			return fault.New(fault.Conflict, "upstream %s is shown credential %s", u.Alias, name).
				WithHint("remove the upstream or give it another credential first")
		}
	}
	return nil
}

func (a *API) credential(ctx context.Context, _ *call, r *adminapi.CredentialRequest) (adminapi.Credential, adminapi.Info, error) {
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Linearizable)
	if err != nil {
		return adminapi.Credential{}, info, err
	}
	defer view.Close()
	c, err := view.Credential(0, r.Name)
	if err != nil {
		return adminapi.Credential{}, info, err
	}
	info.Revision = c.Revision
	return credentialOf(&c), info, nil
}

func (a *API) credentials(ctx context.Context, _ *call, r *adminapi.CredentialsRequest) (adminapi.Page[adminapi.Credential], adminapi.Info, error) {
	none := adminapi.Page[adminapi.Credential]{}
	limit, err := pageLimit(r.Limit)
	if err != nil {
		return none, adminapi.Info{}, err
	}
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Bounded)
	if err != nil {
		return none, info, err
	}
	defer view.Close()
	page, err := collect(view.Credentials(0, r.After), limit, 0, credentialSize, credentialOf,
		func(c *record.Credential) string { return c.Name })
	return page, info, err
}

func credentialSize(c *record.Credential) int {
	return 512 + len(c.TokenURL) + len(c.ClientID) + len(c.Resource) + len(c.Scopes)*record.MaxKey
}

func credentialOf(c *record.Credential) adminapi.Credential {
	return adminapi.Credential{
		Name: c.Name,
		CredentialSpec: adminapi.CredentialSpec{
			Kind:     c.Kind,
			Header:   c.Header,
			TokenURL: c.TokenURL,
			ClientID: c.ClientID,
			Scopes:   c.Scopes,
			Resource: c.Resource,
		},
		TokenExpires: expiresOf(c.TokenExpires),
		Created:      adminapi.TimeOf(c.Created.Time()),
		Updated:      adminapi.TimeOf(c.Updated.Time()),
		Revision:     c.Revision,
	}
}
