package admin

import (
	"context"
	"crypto/sha256"
	"strconv"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// propose carries out command for the request r with options o, which is part of
// r. A rejection is the error; Info then still says at which index.
func (a *API) propose(ctx context.Context, c *call, o adminapi.WriteOptions, r any, command fsm.Command) (fsm.Outcome, adminapi.Info, error) {
	request := raftnode.Request{Actor: c.caller, RequestID: c.requestID, Command: command}
	if o.IdempotencyKey != "" {
		idempotency, err := idempotencyOf(c, o.IdempotencyKey, r)
		if err != nil {
			return fsm.Outcome{}, adminapi.Info{}, err
		}
		request.Idempotency = idempotency
	}
	receipt, err := a.c.Replica.Propose(ctx, request)
	if err != nil {
		return fsm.Outcome{}, adminapi.Info{}, err
	}
	if err := failpoint.Eval("admin/answer"); err != nil {
		return fsm.Outcome{}, adminapi.Info{}, fault.New(fault.OutcomeUnknown, "the answer to a change was lost: %w", err)
	}
	outcome := receipt.Outcome
	info := adminapi.Info{
		Index:    receipt.Index,
		Timeline: a.names.of(receipt.Timeline),
		Replayed: outcome.Replayed && request.Idempotency != nil,
	}
	if outcome.Kind != 0 {
		return outcome, info, rejection(c.op.Op, outcome)
	}
	info.Revision = outcome.Revision
	return outcome, info, nil
}

// write is propose for the operations that answer a receipt.
func (a *API) write(ctx context.Context, c *call, o adminapi.WriteOptions, r any, command fsm.Command) (adminapi.Receipt, adminapi.Info, error) {
	outcome, info, err := a.propose(ctx, c, o, r, command)
	if err != nil {
		return adminapi.Receipt{}, info, err
	}
	return receiptOf(outcome), info, nil
}

// writeUnversioned is write for the operations after which there is no record with a
// revision that a compare-and-set could name.
func (a *API) writeUnversioned(ctx context.Context, c *call, o adminapi.WriteOptions, r any, command fsm.Command) (adminapi.Receipt, adminapi.Info, error) {
	receipt, info, err := a.write(ctx, c, o, r, command)
	info.Revision = 0
	return receipt, info, err
}

// receiptOf holds nothing but what a replay of the same command holds too.
func receiptOf(o fsm.Outcome) adminapi.Receipt {
	return adminapi.Receipt{Revision: o.Revision, Time: adminapi.TimeOf(o.Time.Time())}
}

// rejection is what the state machine answered, with what to do about it.
func rejection(op adminapi.Op, o fsm.Outcome) *fault.Error {
	e := fault.As(o.Err())
	if o.Revision != 0 {
		e.WithDetail("revision", strconv.FormatUint(o.Revision, 10))
	}
	switch {
	case e.Kind == fault.Precondition && o.Revision != 0:
		e.WithHint("read the record again; to change it as it is now send If-Match: %s", adminapi.ETag(o.Revision))
	case e.Kind == fault.Conflict && o.Revision != 0 && (op == adminapi.OpRegister || op == adminapi.OpPutUpstream || op == adminapi.OpPutCredential || op == adminapi.OpCreateToken):
		e.WithHint("to replace it send If-Match: %s", adminapi.ETag(o.Revision))
	case e.Kind == fault.Mismatch:
		e.WithHint("use a new Idempotency-Key for a new request")
	case e.Kind == fault.OutcomeUnknown:
		e.WithHint("read the record to see whether the change was applied")
	}
	return e
}

// idempotencyOf identifies the request r. The hash is over the request's CBOR and
// not over the bytes that came, so that path arguments are part of it and a
// retry may use the other carrier.
func idempotencyOf(c *call, key string, r any) (*fsm.Idempotency, error) {
	if err := validKey(key); err != nil {
		return nil, err
	}
	data, err := adminapi.EncodeRequest(r)
	if err != nil {
		return nil, fault.New(fault.Internal, "the request does not encode: %w", err)
	}
	return &fsm.Idempotency{Route: c.op.Name, Key: key, Hash: sha256.Sum256(data)}, nil
}

func validKey(key string) error {
	if !visible(key, adminapi.MaxIdempotencyKey) {
		return fault.New(fault.Invalid, "Idempotency-Key has %d bytes, want 1 to %d visible ASCII characters", len(key), adminapi.MaxIdempotencyKey).
			WithHint("use a random UUID, a new one for each request")
	}
	return nil
}

// visible reports whether s is 1 to limit visible ASCII characters.
func visible(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// without refuses options that an operation cannot honour: ignoring them would
// promise something that does not hold.
func without(o adminapi.WriteOptions, match, key bool, why string) error {
	if match && o.IfMatch != 0 {
		return fault.New(fault.Invalid, "If-Match is not taken here: %s", why).WithHint("leave it out")
	}
	if key && o.IdempotencyKey != "" {
		return fault.New(fault.Invalid, "Idempotency-Key is not taken here: %s", why).WithHint("leave it out")
	}
	return nil
}
