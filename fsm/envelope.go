package fsm

import (
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// envelopeFormat is the first byte of an envelope.
const envelopeFormat = 1

// An Envelope is what an entry of the log carries: the commands that were
// waiting when the leader filled it, and the leader's time. One without
// commands is valid and only moves the log time.
type Envelope struct {
	Time      record.LogTime
	Proposals []Proposal
}

// EncodeProposal validates p and encodes it, to be forwarded to the leader and
// put into an envelope as it is. Errors are Invalid or TooLarge.
func EncodeProposal(p *Proposal) ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	data, err := encodeProposal(p)
	if err != nil {
		return nil, fault.New(fault.Invalid, "command %s does not encode: %w", CommandName(p.Command), err)
	}
	if len(data) > MaxProposalBytes {
		return nil, fault.New(fault.TooLarge, "command %s has %d bytes, the limit is %d", CommandName(p.Command), len(data), MaxProposalBytes)
	}
	return data, nil
}

// DecodeProposal is the inverse of EncodeProposal. It accepts nothing that
// EncodeProposal would not encode.
func DecodeProposal(data []byte) (Proposal, error) {
	if len(data) > MaxProposalBytes {
		return Proposal{}, fault.New(fault.TooLarge, "proposal has %d bytes, the limit is %d", len(data), MaxProposalBytes)
	}
	p, rest, err := parseProposal(data, &Proposal{})
	if err != nil {
		return Proposal{}, err
	}
	if len(rest) > 0 {
		return Proposal{}, fault.New(fault.Invalid, "proposal is followed by %d bytes", len(rest))
	}
	return p, p.Validate()
}

// Encode validates every proposal and encodes e. Errors are Invalid, naming the
// position of the command, or TooLarge.
func (e *Envelope) Encode() ([]byte, error) {
	encoded := make([][]byte, len(e.Proposals))
	for i := range e.Proposals {
		data, err := EncodeProposal(&e.Proposals[i])
		if err != nil {
			return nil, atPosition(i, err)
		}
		encoded[i] = data
	}
	return AppendEnvelope(e.Time, encoded)
}

// AppendEnvelope makes an envelope of proposals that EncodeProposal encoded and
// DecodeProposal accepted, without looking into them again.
func AppendEnvelope(stamp record.LogTime, encoded [][]byte) ([]byte, error) {
	if len(encoded) > MaxEnvelopeCommands {
		return nil, fault.New(fault.TooLarge, "envelope has %d commands, the limit is %d", len(encoded), MaxEnvelopeCommands)
	}
	size := EnvelopeOverhead
	for _, p := range encoded {
		size += len(p)
	}
	if size > MaxEnvelopeBytes {
		return nil, fault.New(fault.TooLarge, "envelope has %d bytes, the limit is %d", size, MaxEnvelopeBytes)
	}
	data := append(make([]byte, 0, size), envelopeFormat)
	data = appendHead(data, cborArray, 2)
	data = appendHead(data, cborUint, uint64(stamp))
	data = appendHead(data, cborArray, uint64(len(encoded)))
	for _, p := range encoded {
		data = append(data, p...)
	}
	return data, nil
}

// DecodeEnvelope is the inverse of Encode: strict, and every command is
// validated. The leader proposes only what it accepts.
func DecodeEnvelope(data []byte) (*Envelope, error) {
	e, err := parseEnvelope(data)
	if err != nil {
		return nil, err
	}
	for i := range e.Proposals {
		if err := e.Proposals[i].Validate(); err != nil {
			return nil, atPosition(i, err)
		}
	}
	return e, nil
}

// parseEnvelope reads an envelope without judging its commands.
func parseEnvelope(data []byte) (*Envelope, error) {
	if len(data) > MaxEnvelopeBytes {
		return nil, fault.New(fault.TooLarge, "envelope has %d bytes, the limit is %d", len(data), MaxEnvelopeBytes)
	}
	if len(data) == 0 || data[0] != envelopeFormat {
		return nil, fault.New(fault.Unsupported, "envelope starts with %x, this binary reads format %d", data[:min(1, len(data))], envelopeFormat)
	}
	r := cborReader{rest: data[1:]}
	if r.head(cborArray) != 2 {
		r.fail("it is not an array of two")
	}
	stamp, count := r.head(cborUint), r.head(cborArray)
	if count > MaxEnvelopeCommands {
		r.fail("it has %d commands, the limit is %d", count, MaxEnvelopeCommands)
	}
	if r.err != nil {
		return nil, fault.New(fault.Invalid, "envelope does not decode: %w", r.err)
	}
	rest := r.rest
	e := &Envelope{Time: record.LogTime(stamp), Proposals: make([]Proposal, count)}
	before := &Proposal{}
	for i := range e.Proposals {
		var err error
		if e.Proposals[i], rest, err = parseProposal(rest, before); err != nil {
			return nil, atPosition(i, err)
		}
		before = &e.Proposals[i]
	}
	if len(rest) > 0 {
		return nil, fault.New(fault.Invalid, "envelope is followed by %d bytes", len(rest))
	}
	return e, nil
}

// EnvelopeTime is the stamp of an encoded envelope. Nothing else of it is read.
func EnvelopeTime(data []byte) (record.LogTime, error) {
	if len(data) == 0 || data[0] != envelopeFormat {
		return 0, fault.New(fault.Unsupported, "envelope starts with %x, this binary reads format %d", data[:min(1, len(data))], envelopeFormat)
	}
	r := cborReader{rest: data[1:]}
	if r.head(cborArray) != 2 {
		r.fail("it is not an array of two")
	}
	stamp := r.head(cborUint)
	if r.err != nil {
		return 0, fault.New(fault.Invalid, "envelope does not decode: %w", r.err)
	}
	return record.LogTime(stamp), nil
}

// Housekeeping reports whether an encoded envelope holds the cluster's own upkeep
// and nothing else: nobody would miss it.
func Housekeeping(data []byte) bool {
	e, err := parseEnvelope(data)
	if err != nil {
		return false
	}
	for i := range e.Proposals {
		if !kinds[e.Proposals[i].Command.kind()].housekeeping {
			return false
		}
	}
	return true
}

func atPosition(i int, err error) error {
	return fault.New(fault.Of(err), "command %d of the envelope: %w", i, err)
}
