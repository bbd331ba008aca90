package fsm

import (
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

var upstreams = table[record.Upstream]{
	key: func(scope record.Scope, u *record.Upstream) []byte {
		return tableUpstream.textKey(scope, u.Alias)
	},
}

func (t *tx) upstream(alias string) (u *record.Upstream, revision uint64) {
	if u = upstreams.get(t, tableUpstream.textKey(t.scope, alias)); u != nil {
		revision = u.Revision
	}
	return u, revision
}

// PutUpstream creates an upstream, or replaces the one of that revision.
type PutUpstream struct {
	Upstream   record.Upstream `cbor:"1,keyasint"`
	IfRevision uint64          `cbor:"2,keyasint,omitempty"` // 0: create
}

func (*PutUpstream) kind() kind { return kindPutUpstream }

func (c *PutUpstream) validate() error { return c.Upstream.Validate() }

func (c *PutUpstream) apply(t *tx) Outcome {
	u := &c.Upstream
	old, revision := t.upstream(u.Alias)
	if o, ok := compare(old != nil, "upstream "+quote(u.Alias), revision, c.IfRevision); !ok {
		return o
	}
	u.Created, u.Updated, u.Revision = t.now, t.now, t.revision
	if old != nil {
		u.Created = old.Created
	}
	upstreams.put(t, old, u)
	return accept()
}

func (*PutUpstream) rejections() []rejection {
	return []rejection{
		{fault.Conflict, "it exists and IfRevision is 0"},
		{fault.NotFound, "it does not exist and IfRevision is not 0"},
		{fault.Precondition, "it is at another revision"},
	}
}

// RemoveUpstream forgets an upstream, and what it lists.
type RemoveUpstream struct {
	Alias      string `cbor:"1,keyasint"`
	IfRevision uint64 `cbor:"2,keyasint,omitempty"` // 0: any
}

func (*RemoveUpstream) kind() kind { return kindRemoveUpstream }

func (c *RemoveUpstream) validate() error { return record.ValidAlias(c.Alias) }

func (c *RemoveUpstream) apply(t *tx) Outcome {
	old, revision := t.upstream(c.Alias)
	if o, ok := match(old != nil, "upstream "+quote(c.Alias), revision, c.IfRevision); !ok {
		return o
	}
	upstreams.remove(t, old)
	t.removeSlice(record.SliceID{Alias: c.Alias})
	return accept()
}

func (*RemoveUpstream) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "it does not exist"},
		{fault.Precondition, "it is at another revision"},
	}
}
