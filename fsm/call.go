package fsm

import (
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

var calls = table[record.Call]{
	key: func(scope record.Scope, c *record.Call) []byte { return callKey(scope, c.ID) },
}

func callKey(scope record.Scope, id record.ID) []byte {
	return append(tableCall.key(scope), id[:]...)
}

// Bounds of calls in the state.
const (
	MaxCalls       = 100_000 // records in a scope; beyond it calls go on, but cannot be taken over
	MaxCallsAtOnce = 64      // in one PutCalls
)

// PutCalls notes or updates calls that another node could take over. A call of a
// session that is not live, and one beyond the limit, is skipped. It answers
// Counts.
type PutCalls struct {
	Calls []record.Call `cbor:"1,keyasint"`
}

func (*PutCalls) kind() kind { return kindPutCalls }

func (c *PutCalls) validate() error {
	if len(c.Calls) == 0 || len(c.Calls) > MaxCallsAtOnce {
		return fault.New(fault.Invalid, "the command has %d calls, want 1 to %d", len(c.Calls), MaxCallsAtOnce)
	}
	for i := range c.Calls {
		if err := c.Calls[i].Validate(); err != nil {
			return err
		}
	}
	return nil
}

func (c *PutCalls) apply(t *tx) Outcome {
	var n Counts
	for i := range c.Calls {
		call := &c.Calls[i]
		old := calls.get(t, callKey(t.scope, call.ID))
		s := t.session(call.Session)
		full := old == nil && t.count(tableCallCount.key(t.scope)) >= MaxCalls
		if full || s == nil || !s.State.Live() || old != nil && old.Session != call.Session {
			n.Skipped++
			continue
		}
		call.Expires = t.now.Add(record.CallTTL)
		calls.put(t, old, call)
		if old == nil {
			t.addCount(tableCallCount.key(t.scope), 1)
		}
		n.Changed++
	}
	return acceptCounts(t, n)
}

func (*PutCalls) rejections() []rejection { return nil }

// DropCalls forgets calls: they were answered, or nobody can take them over any
// more. Unknown ones are skipped. It answers Counts.
type DropCalls struct {
	IDs []record.ID `cbor:"1,keyasint"`
}

func (*DropCalls) kind() kind { return kindDropCalls }

func (c *DropCalls) validate() error { return validItems(len(c.IDs)) }

func (c *DropCalls) apply(t *tx) Outcome {
	var n Counts
	for _, id := range c.IDs {
		old := calls.get(t, callKey(t.scope, id))
		if old == nil {
			n.Skipped++
			continue
		}
		calls.remove(t, old)
		t.addCount(tableCallCount.key(t.scope), -1)
		n.Changed++
	}
	return acceptCounts(t, n)
}

func (*DropCalls) rejections() []rejection { return nil }
