package fsm

import (
	"fmt"
	"unicode/utf8"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// Limits of the log. A leader refuses what is above them before it proposes.
const (
	MaxEnvelopeCommands = 1024
	MaxEnvelopeBytes    = 256 << 10
	EnvelopeOverhead    = 16 // bytes of an envelope beside its proposals, at most
	MaxProposalBytes    = MaxEnvelopeBytes - EnvelopeOverhead
	MaxOutcomeBytes     = 256
	MaxBatchItems       = 1000 // items of a touch, expiry, purge or sweep batch
	MaxUnacknowledged   = 4096 // commands of one producer above its floor
)

// maxMessage leaves room in MaxOutcomeBytes for the numbers of an outcome.
const maxMessage = 200

// A Command is one change to the replicated state. The set is closed: each
// Command lives in the file of the noun it changes and has one row in kinds.
// A Command belongs to whoever applies it and is not used again.
type Command interface {
	kind() kind
	// validate reports why the command can never be applied, whatever the state.
	// The leader calls it before it proposes; apply is not called if it fails.
	validate() error
	// apply checks everything before it writes anything: a rejection leaves no
	// trace. It reads and writes through the tx only.
	apply(*tx) Outcome
	// rejections lists what apply may answer, for the command table.
	rejections() []rejection
}

// A rejection is one reason for which apply refuses a command.
type rejection struct {
	kind fault.Kind
	when string
}

// A Proposal is one command with what the log must know of its origin.
type Proposal struct {
	Scope       record.Scope
	Actor       record.Principal // who asked; the node itself for housekeeping
	RequestID   string           // for the audit trail and logs, at most 64 bytes
	Producer    record.ID        // zero: at most once is not needed (idempotent housekeeping)
	Sequence    uint64           // 1, 2, 3 … of Producer
	Acked       uint64           // every sequence of Producer at or below it has been answered
	Term        uint64           // not 0: reject as Fenced unless the entry has this term
	Idempotency *Idempotency     // nil: none
	Command     Command
}

// Validate reports why p can never be applied, whatever the state.
func (p *Proposal) Validate() error {
	if p.Command == nil {
		return fault.New(fault.Invalid, "proposal has no command")
	}
	row := kinds[p.Command.kind()]
	if row.clusterWide && p.Scope != 0 {
		return fault.New(fault.Invalid, "%s changes the cluster and has scope 0, not %d", row.name, p.Scope)
	}
	if err := p.Actor.Validate(); err != nil {
		return fault.New(fault.Invalid, "actor of the proposal: %w", err)
	}
	if p.RequestID != "" {
		if err := record.ValidText("request id", p.RequestID, 64); err != nil {
			return err
		}
	}
	if err := p.validateSequence(); err != nil {
		return err
	}
	if p.Idempotency != nil {
		if err := p.Idempotency.validate(); err != nil {
			return err
		}
	}
	return p.Command.validate()
}

func (p *Proposal) validateSequence() error {
	switch {
	case p.Producer.IsZero() && (p.Sequence != 0 || p.Acked != 0):
		return fault.New(fault.Invalid, "proposal has sequence %d and no producer", p.Sequence)
	case !p.Producer.IsZero() && p.Sequence == 0:
		return fault.New(fault.Invalid, "proposal of producer %v has no sequence; the first is 1", p.Producer)
	case !p.Producer.IsZero() && p.Acked >= p.Sequence:
		return fault.New(fault.Invalid, "proposal %d of producer %v says that %d is answered already", p.Sequence, p.Producer, p.Acked)
	}
	return nil
}

// An Outcome is what a command did, the same on every node. Its encoding has at
// most MaxOutcomeBytes.
type Outcome struct {
	Kind     fault.Kind     `cbor:"1,keyasint,omitempty"` // 0: accepted; else why it was rejected
	Message  string         `cbor:"2,keyasint,omitempty"` // of a rejection
	Revision uint64         `cbor:"3,keyasint,omitempty"` // of the record after an accepted change, or the current one if another was asked for
	Time     record.LogTime `cbor:"4,keyasint,omitempty"` // log time of the change
	Value    []byte         `cbor:"5,keyasint,omitempty"` // what else the command answers
	Replayed bool           `cbor:"-"`                    // an earlier application of the same request answered
}

// Err is the rejection as an error, or nil.
func (o Outcome) Err() error {
	if o.Kind == 0 {
		return nil
	}
	return &fault.Error{Kind: o.Kind, Message: o.Message}
}

// Counts is what a batch command answers: of how many items it made the change,
// and how many it left alone because they no longer called for it.
type Counts struct {
	Changed uint64 `cbor:"1,keyasint"`
	Skipped uint64 `cbor:"2,keyasint"`
}

// Counts reads the answer of a batch command.
func (o Outcome) Counts() (Counts, error) {
	var c Counts
	err := record.Decode(o.Value, &c)
	return c, err
}

// accept is the outcome of a change; execute adds revision and time.
func accept() Outcome { return Outcome{} }

func acceptCounts(t *tx, c Counts) Outcome {
	value, err := record.Encode(c)
	if err != nil {
		t.fail(err)
	}
	return Outcome{Value: value}
}

// reject is the outcome of a command that changes nothing.
func reject(kind fault.Kind, format string, args ...any) Outcome {
	return Outcome{Kind: kind, Message: clip(fmt.Sprintf(format, args...), maxMessage)}
}

// rejectAt is reject where the caller asked for another revision than this one.
func rejectAt(revision uint64, kind fault.Kind, format string, args ...any) Outcome {
	o := reject(kind, format, args...)
	o.Revision = revision
	return o
}

// rejectErr turns the mistake of a proposal or record into an outcome.
func rejectErr(err error) Outcome {
	e := fault.As(err)
	message := e.Message
	if e.Cause != nil {
		message = err.Error()
	}
	return Outcome{Kind: e.Kind, Message: clip(message, maxMessage)}
}

// quote shows a name in a message, cut so that the rest of the message fits.
func quote(name string) string { return fmt.Sprintf("%q", clip(name, 80)) }

// clip cuts s to limit bytes at a character, and shows that it did.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const mark = "…"
	cut := limit - len(mark)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}

// validItems bounds the list of a batch command.
func validItems(n int) error {
	if n == 0 || n > MaxBatchItems {
		return fault.New(fault.Invalid, "batch has %d items, want 1 to %d", n, MaxBatchItems)
	}
	return nil
}

// EntryKind tells the two kinds of entries that reach the state machine.
type EntryKind uint8

const (
	EntryCommands      EntryKind = 0 // Data is an envelope
	EntryConfiguration EntryKind = 1 // Data is a membership, opaque here
)

// An Entry is one committed entry of the log. Indexes grow, with holes.
type Entry struct {
	Index uint64
	Term  uint64
	Kind  EntryKind
	Data  []byte
}

// A Result answers one entry: one Outcome for each command of its envelope, in
// order. It is empty for a configuration and for an entry that was applied
// before (Index at or below the applied index).
type Result []Outcome
