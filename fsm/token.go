package fsm

import (
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

var tokens = table[record.Token]{
	key: func(scope record.Scope, k *record.Token) []byte { return tableToken.textKey(scope, k.Name) },
}

func (t *tx) token(name string) (k *record.Token, revision uint64) {
	if k = tokens.get(t, tableToken.textKey(t.scope, name)); k != nil {
		revision = k.Revision
	}
	return k, revision
}

// MaxTokens bounds the API tokens of a scope.
const MaxTokens = 10_000

// PutToken creates an API token, or replaces the one of that revision.
type PutToken struct {
	Token      record.Token `cbor:"1,keyasint"`
	IfRevision uint64       `cbor:"2,keyasint,omitempty"` // 0: create
}

func (*PutToken) kind() kind { return kindPutToken }

func (c *PutToken) validate() error { return c.Token.Validate() }

func (c *PutToken) apply(t *tx) Outcome {
	k := &c.Token
	old, revision := t.token(k.Name)
	if o, ok := compare(old != nil, "token "+quote(k.Name), revision, c.IfRevision); !ok {
		return o
	}
	if k.Expires != 0 && k.Expires <= t.now {
		return reject(fault.Invalid, "token %s would have expired already", quote(k.Name))
	}
	if old == nil {
		if t.count(tableTokenCount.key(t.scope)) >= MaxTokens {
			return reject(fault.Quota, "there are %d tokens, the limit; revoke some", MaxTokens)
		}
		t.addCount(tableTokenCount.key(t.scope), 1)
	}
	k.Created, k.Revision = t.now, t.revision
	if old != nil {
		k.Created = old.Created
	}
	tokens.put(t, old, k)
	return accept()
}

func (*PutToken) rejections() []rejection {
	return []rejection{
		{fault.Conflict, "it exists and IfRevision is 0"},
		{fault.NotFound, "it does not exist and IfRevision is not 0"},
		{fault.Precondition, "it is at another revision"},
		{fault.Quota, "there are as many as may be"},
	}
}

// RevokeToken removes an API token.
type RevokeToken struct {
	Name       string `cbor:"1,keyasint"`
	IfRevision uint64 `cbor:"2,keyasint,omitempty"` // 0: any
}

func (*RevokeToken) kind() kind { return kindRevokeToken }

func (c *RevokeToken) validate() error { return record.ValidTokenName(c.Name) }

func (c *RevokeToken) apply(t *tx) Outcome {
	old, revision := t.token(c.Name)
	if o, ok := match(old != nil, "token "+quote(c.Name), revision, c.IfRevision); !ok {
		return o
	}
	tokens.remove(t, old)
	t.addCount(tableTokenCount.key(t.scope), -1)
	return accept()
}

func (*RevokeToken) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "it does not exist"},
		{fault.Precondition, "it is at another revision"},
	}
}

var keyRings = table[record.KeyRing]{
	key: func(scope record.Scope, _ *record.KeyRing) []byte { return tableKeyRing.key(scope) },
}

// PutKeyRing replaces the cluster's own keys, or stores the first ones.
type PutKeyRing struct {
	Ring       record.KeyRing `cbor:"1,keyasint"`
	IfRevision uint64         `cbor:"2,keyasint,omitempty"` // 0: there are none yet
}

func (*PutKeyRing) kind() kind { return kindPutKeyRing }

func (c *PutKeyRing) validate() error { return c.Ring.Validate() }

func (c *PutKeyRing) apply(t *tx) Outcome {
	old := keyRings.get(t, tableKeyRing.key(t.scope))
	var revision uint64
	if old != nil {
		revision = old.Revision
	}
	if o, ok := compare(old != nil, "the key ring", revision, c.IfRevision); !ok {
		return o
	}
	c.Ring.Updated, c.Ring.Revision = t.now, t.revision
	keyRings.put(t, old, &c.Ring)
	return accept()
}

func (*PutKeyRing) rejections() []rejection {
	return []rejection{
		{fault.Conflict, "there is one and IfRevision is 0"},
		{fault.NotFound, "there is none and IfRevision is not 0"},
		{fault.Precondition, "it is at another revision"},
	}
}
