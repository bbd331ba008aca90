package fsm

import (
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

var claims = table[record.Claim]{
	key: func(scope record.Scope, c *record.Claim) []byte { return tableClaim.textKey(scope, c.Name) },
}

func (t *tx) claim(name string) *record.Claim {
	return claims.get(t, tableClaim.textKey(t.scope, name))
}

// AcquireClaim makes a process the owner of a name. A claim that is held is
// taken over only by naming the token that is replaced: of two that try, one
// succeeds. The revision of the outcome is the new token.
type AcquireClaim struct {
	Claim    record.Claim `cbor:"1,keyasint"`
	Replaces uint64       `cbor:"2,keyasint,omitempty"` // token of the holder; 0: nobody holds it
}

func (*AcquireClaim) kind() kind { return kindAcquireClaim }

func (c *AcquireClaim) validate() error { return c.Claim.Validate() }

func (c *AcquireClaim) apply(t *tx) Outcome {
	old := t.claim(c.Claim.Name)
	switch {
	case old == nil && c.Replaces != 0:
		return reject(fault.Precondition, "claim %s is held by nobody, not under token %d", quote(c.Claim.Name), c.Replaces)
	case old != nil && c.Replaces == 0:
		return rejectAt(old.Token, fault.Conflict, "claim %s is held by node %s under token %d", quote(old.Name), old.Node, old.Token)
	case old != nil && c.Replaces != old.Token:
		return rejectAt(old.Token, fault.Precondition, "claim %s is held by node %s under token %d, not %d", quote(old.Name), old.Node, old.Token, c.Replaces)
	}
	c.Claim.Acquired, c.Claim.Token = t.now, t.revision
	claims.put(t, old, &c.Claim)
	return accept()
}

func (*AcquireClaim) rejections() []rejection {
	return []rejection{
		{fault.Conflict, "it is held and Replaces is 0"},
		{fault.Precondition, "it is held under another token than Replaces, or by nobody"},
	}
}

// ReleaseClaim gives a claim up.
type ReleaseClaim struct {
	Name  string `cbor:"1,keyasint"`
	Token uint64 `cbor:"2,keyasint"`
}

func (*ReleaseClaim) kind() kind { return kindReleaseClaim }

func (c *ReleaseClaim) validate() error {
	if c.Token == 0 {
		return fault.New(fault.Invalid, "release of claim %s names no token", quote(c.Name))
	}
	return record.ValidText("claim name", c.Name, record.MaxKey)
}

func (c *ReleaseClaim) apply(t *tx) Outcome {
	old := t.claim(c.Name)
	if old == nil {
		return reject(fault.NotFound, "claim %s is held by nobody", quote(c.Name))
	}
	if old.Token != c.Token {
		return rejectAt(old.Token, fault.Fenced, "claim %s is held by node %s under token %d; token %d has ended", quote(c.Name), old.Node, old.Token, c.Token)
	}
	claims.remove(t, old)
	return accept()
}

func (*ReleaseClaim) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "nobody holds it"},
		{fault.Fenced, "it is held under another token"},
	}
}
