package fsm

import (
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

var members = table[record.Member]{
	key: func(scope record.Scope, m *record.Member) []byte { return tableMember.textKey(scope, m.Node) },
}

func (t *tx) member(node string) *record.Member {
	return members.get(t, tableMember.textKey(t.scope, node))
}

// PutMember is what a node tells the others of itself, at each start and when
// it changes. A node name belongs to one disk until that member is removed: a
// node that lost its disk comes back under a new one only when the old one has
// been given up.
type PutMember struct {
	Member record.Member `cbor:"1,keyasint"`
}

func (*PutMember) kind() kind { return kindPutMember }

func (c *PutMember) validate() error { return c.Member.Validate() }

func (c *PutMember) apply(t *tx) Outcome {
	m := &c.Member
	old := t.member(m.Node)
	if old != nil && old.Disk != m.Disk {
		return rejectAt(old.Revision, fault.Conflict, "node %s is a member with disk %s, not %s; remove that member first", quote(m.Node), old.Disk.Short(), m.Disk.Short())
	}
	m.Started = t.now
	if old != nil && old.Process == m.Process {
		m.Started = old.Started
	}
	m.Revision = t.revision
	members.put(t, old, m)
	return accept()
}

func (*PutMember) rejections() []rejection {
	return []rejection{{fault.Conflict, "the node name belongs to a member with another disk"}}
}

// RemoveMember forgets a node. Its producer is superseded, so that it is closed
// in time although no newer one follows.
type RemoveMember struct {
	Node string    `cbor:"1,keyasint"`
	Disk record.ID `cbor:"2,keyasint"`
}

func (*RemoveMember) kind() kind { return kindRemoveMember }

func (c *RemoveMember) validate() error {
	if c.Disk.IsZero() {
		return fault.New(fault.Invalid, "removal of node %s names no disk", quote(c.Node))
	}
	return record.ValidNode(c.Node)
}

func (c *RemoveMember) apply(t *tx) Outcome {
	m := t.member(c.Node)
	if m == nil {
		return reject(fault.NotFound, "node %s is not a member", quote(c.Node))
	}
	if m.Disk != c.Disk {
		return rejectAt(m.Revision, fault.Conflict, "node %s is a member with disk %s, not %s", quote(c.Node), m.Disk.Short(), c.Disk.Short())
	}
	members.remove(t, m)
	t.supersedeProducer(c.Node)
	return accept()
}

func (*RemoveMember) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "the node is not a member"},
		{fault.Conflict, "the member has another disk"},
	}
}
