package fsm

import (
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

var credentials = table[record.Credential]{
	key: func(scope record.Scope, c *record.Credential) []byte { return tableCredential.textKey(scope, c.Name) },
}

func (t *tx) credential(name string) (c *record.Credential, revision uint64) {
	if c = credentials.get(t, tableCredential.textKey(t.scope, name)); c != nil {
		revision = c.Revision
	}
	return c, revision
}

// MaxCredentials bounds the credentials of a scope.
const MaxCredentials = 1000

// CredentialClaim is the claim whose holder fetches access tokens of that
// credential.
func CredentialClaim(name string) string { return "credential/" + name }

// PutCredential creates a credential for upstreams, or replaces the one of that
// revision as a whole, its access token too.
type PutCredential struct {
	Credential record.Credential `cbor:"1,keyasint"`
	IfRevision uint64            `cbor:"2,keyasint,omitempty"` // 0: create
}

func (*PutCredential) kind() kind { return kindPutCredential }

func (c *PutCredential) validate() error { return c.Credential.Validate() }

func (c *PutCredential) apply(t *tx) Outcome {
	now := &c.Credential
	old, revision := t.credential(now.Name)
	if o, ok := compare(old != nil, "credential "+quote(now.Name), revision, c.IfRevision); !ok {
		return o
	}
	now.Created, now.Updated, now.Revision = t.now, t.now, t.revision
	if old == nil {
		if t.count(tableCredentialCount.key(t.scope)) >= MaxCredentials {
			return reject(fault.Quota, "there are %d credentials, the limit; remove some", MaxCredentials)
		}
		t.addCount(tableCredentialCount.key(t.scope), 1)
	} else {
		now.Created = old.Created
	}
	credentials.put(t, old, now)
	return accept()
}

func (*PutCredential) rejections() []rejection {
	return []rejection{
		{fault.Conflict, "it exists and IfRevision is 0"},
		{fault.NotFound, "it does not exist and IfRevision is not 0"},
		{fault.Precondition, "it is at another revision"},
		{fault.Quota, "there are as many as may be"},
	}
}

// RemoveCredential removes a credential. Upstreams that name it are not called
// until it is there again.
type RemoveCredential struct {
	Name       string `cbor:"1,keyasint"`
	IfRevision uint64 `cbor:"2,keyasint,omitempty"` // 0: any
}

func (*RemoveCredential) kind() kind { return kindRemoveCredential }

func (c *RemoveCredential) validate() error { return record.ValidCredentialName(c.Name) }

func (c *RemoveCredential) apply(t *tx) Outcome {
	old, revision := t.credential(c.Name)
	if o, ok := match(old != nil, "credential "+quote(c.Name), revision, c.IfRevision); !ok {
		return o
	}
	credentials.remove(t, old)
	t.addCount(tableCredentialCount.key(t.scope), -1)
	return accept()
}

func (*RemoveCredential) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "it does not exist"},
		{fault.Precondition, "it is at another revision"},
	}
}

// SealCredential writes what the cluster itself knows of a credential: a new
// access token, fetched by the holder of its claim, or the same secrets sealed
// under newer keys.
type SealCredential struct {
	Name         string         `cbor:"1,keyasint"`
	IfRevision   uint64         `cbor:"2,keyasint"`
	Fence        uint64         `cbor:"3,keyasint,omitempty"` // token of the claim that Token was fetched under; 0: nothing new is in it
	Secret       []byte         `cbor:"4,keyasint,omitempty"` // nil: as before
	Token        []byte         `cbor:"5,keyasint,omitempty"` // nil: as before
	TokenExpires record.LogTime `cbor:"6,keyasint,omitempty"` // with Fence
}

func (*SealCredential) kind() kind { return kindSealCredential }

func (c *SealCredential) validate() error {
	switch {
	case c.IfRevision == 0:
		return fault.New(fault.Invalid, "seal of credential %s names no revision", quote(c.Name))
	case len(c.Secret) > record.MaxSealedSecret || len(c.Token) > record.MaxSealedSecret:
		return fault.New(fault.TooLarge, "seal of credential %s: a secret has more than %d bytes", quote(c.Name), record.MaxSealedSecret)
	}
	return record.ValidCredentialName(c.Name)
}

func (c *SealCredential) apply(t *tx) Outcome {
	old, revision := t.credential(c.Name)
	if o, ok := match(old != nil, "credential "+quote(c.Name), revision, c.IfRevision); !ok {
		return o
	}
	if c.Fence != 0 {
		held := t.claim(CredentialClaim(c.Name))
		if held == nil || held.Token != c.Fence {
			return reject(fault.Fenced, "the claim of credential %s is not held under token %d", quote(c.Name), c.Fence)
		}
	}
	now := *old
	now.Revision = t.revision
	if c.Secret != nil {
		now.Secret = c.Secret
	}
	if c.Token != nil {
		now.Token = c.Token
	}
	if c.Fence != 0 {
		now.TokenExpires = c.TokenExpires
	}
	credentials.put(t, old, &now)
	return accept()
}

func (*SealCredential) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "it does not exist"},
		{fault.Precondition, "it is at another revision"},
		{fault.Fenced, "the claim that the token was fetched under is not held any more"},
	}
}
