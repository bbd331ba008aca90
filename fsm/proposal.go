package fsm

import (
	"math"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// Keys of the map that a proposal is encoded as (docs/format/envelope.md), in the
// order of its bytes. Those from keyScope to keyIdempotency but keyActor are
// absent when they are zero.
const (
	keyKind        = 1
	keyScope       = 2
	keyActor       = 3
	keyRequestID   = 4
	keyProducer    = 5
	keySequence    = 6
	keyAcked       = 7
	keyTerm        = 8
	keyIdempotency = 9
	keyBody        = 10
)

// encodeProposal encodes p, right or wrong.
func encodeProposal(p *Proposal) ([]byte, error) {
	body, err := record.Encode(p.Command)
	if err != nil {
		return nil, err
	}
	var idempotency []byte
	if p.Idempotency != nil {
		if idempotency, err = record.Encode(p.Idempotency); err != nil {
			return nil, err
		}
	}
	size := 128 + len(p.Actor.Issuer) + len(p.Actor.Subject) + len(p.RequestID) + len(idempotency) + len(body)
	w := proposalWriter{b: make([]byte, 1, size)} // the head comes last: it has the number of pairs
	w.number(keyKind, uint64(p.Command.kind()))
	w.number(keyScope, uint64(p.Scope))
	w.key(keyActor)
	w.b = appendText(append(appendHead(w.b, cborMap, 2), 1), p.Actor.Issuer)
	w.b = appendText(append(w.b, 2), p.Actor.Subject)
	if p.RequestID != "" {
		w.key(keyRequestID)
		w.b = appendText(w.b, p.RequestID)
	}
	if !p.Producer.IsZero() {
		w.key(keyProducer)
		w.b = append(appendHead(w.b, cborBytes, uint64(len(p.Producer))), p.Producer[:]...)
	}
	w.number(keySequence, p.Sequence)
	w.number(keyAcked, p.Acked)
	w.number(keyTerm, p.Term)
	w.item(keyIdempotency, idempotency)
	w.item(keyBody, body)
	w.b[0] = cborMap | w.pairs
	return w.b, nil
}

// A proposalWriter writes the pairs of a map of less than 24.
type proposalWriter struct {
	b     []byte
	pairs byte
}

func (w *proposalWriter) key(k byte) {
	w.b = append(w.b, k)
	w.pairs++
}

func (w *proposalWriter) number(k byte, n uint64) {
	if n != 0 {
		w.key(k)
		w.b = appendHead(w.b, cborUint, n)
	}
}

// item writes a value that is encoded already; nil is none.
func (w *proposalWriter) item(k byte, encoded []byte) {
	if encoded != nil {
		w.key(k)
		w.b = append(w.b, encoded...)
	}
}

// parseProposal reads the first proposal of data without judging it. Where it says
// what the proposal before said, the two share memory.
func parseProposal(data []byte, before *Proposal) (p Proposal, rest []byte, err error) {
	r := cborReader{rest: data}
	var number kind
	pairs, last := r.head(cborMap), uint64(0)
	for ; pairs > 0 && r.err == nil; pairs-- {
		key := r.head(cborUint)
		if key <= last {
			r.fail("a key is not above the one before")
		}
		switch last = key; key {
		case keyKind:
			number = kind(r.uint(math.MaxUint16))
		case keyScope:
			p.Scope = record.Scope(r.uint(math.MaxUint32))
		case keyActor:
			p.Actor = r.principal(before.Actor)
		case keyRequestID:
			p.RequestID = r.text("")
		case keyProducer:
			r.fixed(p.Producer[:])
		case keySequence:
			p.Sequence = r.uint(math.MaxUint64)
		case keyAcked:
			p.Acked = r.uint(math.MaxUint64)
		case keyTerm:
			p.Term = r.uint(math.MaxUint64)
		case keyIdempotency:
			p.Idempotency = new(Idempotency)
			r.item(p.Idempotency)
		case keyBody:
			if p.Command, err = newCommand(number); err != nil {
				return p, nil, err
			}
			r.item(p.Command)
		default:
			r.fail("field %d is unknown", key)
		}
	}
	if r.err == nil && p.Command == nil {
		r.fail("it has no body")
	}
	if r.err != nil {
		return p, nil, fault.New(fault.Invalid, "proposal%s does not decode: %w", of(number), r.err)
	}
	return p, r.rest, nil
}

// of names the command of a proposal in a message, if it is known.
func of(k kind) string {
	if !k.known() {
		return ""
	}
	return " of " + kinds[k].name
}

// newCommand is an empty command of that number.
func newCommand(k kind) (Command, error) {
	if !k.known() {
		return nil, fault.New(fault.Unsupported, "command %d is unknown to this binary, which knows 1 to %d", k, len(kinds)-1).
			WithHint("the cluster runs a newer version: upgrade this node")
	}
	return kinds[k].make(), nil
}
