package fsm

import (
	"encoding/binary"

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

// wireProposal is the encoding of a Proposal (docs/format/envelope.md).
type wireProposal struct {
	Kind        kind             `cbor:"1,keyasint"`
	Scope       record.Scope     `cbor:"2,keyasint,omitempty"`
	Actor       record.Principal `cbor:"3,keyasint"`
	RequestID   string           `cbor:"4,keyasint,omitempty"`
	Producer    record.ID        `cbor:"5,keyasint,omitzero"`
	Sequence    uint64           `cbor:"6,keyasint,omitempty"`
	Acked       uint64           `cbor:"7,keyasint,omitempty"`
	Term        uint64           `cbor:"8,keyasint,omitempty"`
	Idempotency *Idempotency     `cbor:"9,keyasint,omitempty"`
	Body        record.Raw       `cbor:"10,keyasint"`
}

// EncodeProposal validates p and encodes it, to be forwarded to the leader and
// put into an envelope as it is. Errors are Invalid or TooLarge.
func EncodeProposal(p *Proposal) ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	body, err := record.Encode(p.Command)
	if err != nil {
		return nil, fault.New(fault.Invalid, "command %s does not encode: %w", CommandName(p.Command), err)
	}
	data, err := record.Encode(wireProposal{
		p.Command.kind(), p.Scope, p.Actor, p.RequestID, p.Producer,
		p.Sequence, p.Acked, p.Term, p.Idempotency, body,
	})
	if err != nil {
		return nil, fault.New(fault.Invalid, "proposal of %s does not encode: %w", CommandName(p.Command), err)
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
	p, rest, err := parseProposal(data)
	if err != nil {
		return Proposal{}, err
	}
	if len(rest) > 0 {
		return Proposal{}, fault.New(fault.Invalid, "proposal is followed by %d bytes", len(rest))
	}
	return p, p.Validate()
}

// parseProposal reads the first proposal of data without judging it.
func parseProposal(data []byte) (p Proposal, rest []byte, err error) {
	var w wireProposal
	rest, err = record.DecodeFirst(data, &w)
	if err != nil {
		return p, nil, fault.New(fault.Invalid, "proposal does not decode: %w", err)
	}
	if !w.Kind.known() {
		return p, nil, fault.New(fault.Unsupported, "command %d is unknown to this binary, which knows 1 to %d", w.Kind, len(kinds)-1).
			WithHint("the cluster runs a newer version: upgrade this node")
	}
	c := kinds[w.Kind].make()
	if err := record.Decode(w.Body, c); err != nil {
		return p, nil, fault.New(fault.Invalid, "command %s does not decode: %w", kinds[w.Kind].name, err)
	}
	p = Proposal{w.Scope, w.Actor, w.RequestID, w.Producer, w.Sequence, w.Acked, w.Term, w.Idempotency, c}
	return p, rest, nil
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
	outer, rest, ok := readHead(data[1:], cborArray)
	if !ok || outer != 2 {
		return nil, fault.New(fault.Invalid, "envelope is not an array of two")
	}
	stamp, rest, ok := readHead(rest, cborUint)
	if !ok {
		return nil, fault.New(fault.Invalid, "envelope has no log time")
	}
	count, rest, ok := readHead(rest, cborArray)
	if !ok || count > MaxEnvelopeCommands {
		return nil, fault.New(fault.Invalid, "envelope has no list of at most %d commands", MaxEnvelopeCommands)
	}
	e := &Envelope{Time: record.LogTime(stamp), Proposals: make([]Proposal, count)}
	for i := range e.Proposals {
		var err error
		if e.Proposals[i], rest, err = parseProposal(rest); err != nil {
			return nil, atPosition(i, err)
		}
	}
	if len(rest) > 0 {
		return nil, fault.New(fault.Invalid, "envelope is followed by %d bytes", len(rest))
	}
	return e, nil
}

func atPosition(i int, err error) error {
	return fault.New(fault.Of(err), "command %d of the envelope: %w", i, err)
}

// Major types of CBOR (RFC 8949 section 3.1) that an envelope is framed with.
const (
	cborUint  = 0 << 5
	cborArray = 4 << 5
)

// appendHead writes the head of a CBOR item in its shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, major|27), n)
	}
}

// readHead reads a head that appendHead wrote; a longer form than needed is not
// accepted.
func readHead(b []byte, major byte) (n uint64, rest []byte, ok bool) {
	if len(b) == 0 || b[0]&0xe0 != major {
		return 0, nil, false
	}
	info := b[0] & 0x1f
	if info < 24 {
		return uint64(info), b[1:], true
	}
	if info > 27 {
		return 0, nil, false
	}
	size := 1 << (info - 24)
	if len(b) < 1+size {
		return 0, nil, false
	}
	for _, c := range b[1 : 1+size] {
		n = n<<8 | uint64(c)
	}
	least := [...]uint64{24, 1 << 8, 1 << 16, 1 << 32}[info-24]
	return n, b[1+size:], n >= least
}
