package fsm

import (
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// BindSession notes what a session holds at one upstream, or that it holds
// nothing there any more.
type BindSession struct {
	ID         string         `cbor:"1,keyasint"`
	Binding    record.Binding `cbor:"2,keyasint"`
	Remove     bool           `cbor:"3,keyasint,omitempty"` // of Binding only the alias counts
	IfRevision uint64         `cbor:"4,keyasint,omitempty"` // of the session; 0: any
}

func (*BindSession) kind() kind { return kindBindSession }

func (c *BindSession) validate() error {
	if err := c.Binding.Validate(); err != nil {
		return err
	}
	return record.ValidSessionID(c.ID)
}

func (c *BindSession) apply(t *tx) Outcome {
	s, o, ok := t.liveSession(c.ID, c.IfRevision)
	if !ok {
		return o
	}
	bound := *s
	if c.Remove {
		bound.Unbind(c.Binding.Alias)
	} else {
		bound.Bind(c.Binding)
	}
	if err := bound.Validate(); err != nil {
		return rejectErr(err)
	}
	bound.Revision = t.revision
	sessions.put(t, s, &bound)
	return accept()
}

func (*BindSession) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "the session does not exist"},
		{fault.Precondition, "the session is at another revision"},
		{fault.Conflict, "the session is dead"},
	}
}
