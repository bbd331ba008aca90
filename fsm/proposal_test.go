package fsm

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// plainProposal is what docs/format/envelope.md says of a proposal, for the general
// encoder.
type plainProposal struct {
	Kind        kind             `cbor:"1,keyasint"`
	Scope       record.Scope     `cbor:"2,keyasint,omitempty"`
	Actor       record.Principal `cbor:"3,keyasint"`
	RequestID   string           `cbor:"4,keyasint,omitempty"`
	Producer    record.ID        `cbor:"5,keyasint,omitzero"`
	Sequence    uint64           `cbor:"6,keyasint,omitempty"`
	Acked       uint64           `cbor:"7,keyasint,omitempty"`
	Term        uint64           `cbor:"8,keyasint,omitempty"`
	Idempotency *Idempotency     `cbor:"9,keyasint,omitempty"`
	Body        Command          `cbor:"10,keyasint"`
}

func TestProposalsAreWrittenAsTheGeneralEncoderWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Proposal{
			Scope:     record.Scope(rapid.Uint32().Draw(t, "scope")),
			Actor:     record.Principal{Issuer: rapid.String().Draw(t, "issuer"), Subject: rapid.String().Draw(t, "subject")},
			RequestID: rapid.String().Draw(t, "request"), Sequence: rapid.Uint64().Draw(t, "sequence"),
			Acked: rapid.Uint64().Draw(t, "acked"), Term: rapid.Uint64().Draw(t, "term"),
			Command: rapid.SampledFrom(goldenCommands()).Draw(t, "command"),
		}
		copy(p.Producer[:], rapid.SliceOfN(rapid.Byte(), 0, len(p.Producer)).Draw(t, "producer"))
		if rapid.Bool().Draw(t, "idempotent") {
			p.Idempotency = &Idempotency{Route: "PUT /v1", Key: "k"}
		}
		want, err := record.Encode(plainProposal{
			p.Command.kind(), p.Scope, p.Actor, p.RequestID, p.Producer, p.Sequence, p.Acked, p.Term, p.Idempotency, p.Command,
		})
		if err != nil {
			t.Fatal(err)
		}
		have, err := encodeProposal(&p)
		if err != nil || !bytes.Equal(have, want) {
			t.Fatalf("%x, %v; want %x", have, err, want)
		}
		back, rest, err := parseProposal(append(have, 7), &Proposal{Actor: p.Actor})
		if err != nil || len(rest) != 1 {
			t.Fatalf("it does not decode: %v, %d bytes left", err, len(rest))
		}
		again, err := encodeProposal(&back)
		if err != nil || !bytes.Equal(again, want) {
			t.Fatalf("decoded, it encodes as %x, %v; want %x", again, err, want)
		}
	})
}

func TestOnlyTheShortestFormOfAProposalIsRead(t *testing.T) {
	p := goldenProposal(&UnregisterEntry{Type: record.TypeTool, Key: "search"})
	whole, err := encodeProposal(&p)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"nothing":           {},
		"an empty map":      {0xa0},
		"a map of a map":    {0xa1, 0x01, 0xa0},
		"no body":           {0xa1, 0x01, 0x0c},
		"keys out of order": {0xa2, 0x02, 0x01, 0x01, 0x0c},
		"a key twice":       {0xa2, 0x01, 0x0c, 0x01, 0x0c},
		"a foreign key":     {0xa1, 0x0b, 0x00},
		"a long number":     {0xa1, 0x01, 0x18, 0x0c},
		"a large scope":     {0xa2, 0x01, 0x0c, 0x02, 0x1b, 1, 0, 0, 0, 0, 0, 0, 0},
		"a short producer":  {0xa2, 0x01, 0x0c, 0x05, 0x41, 0x00},
		"an endless text":   {0xa2, 0x01, 0x0c, 0x04, 0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"half a character":  {0xa2, 0x01, 0x0c, 0x04, 0x61, 0xc3},
	} {
		if p, _, err := parseProposal(data, &Proposal{}); err == nil {
			t.Errorf("%s is read as %+v", name, p)
		}
	}
	for i := range whole {
		if p, _, err := parseProposal(whole[:i], &Proposal{}); err == nil {
			t.Errorf("the first %d of %d bytes are read as %+v", i, len(whole), p)
		}
	}
}

// What is read of an envelope without decoding it is what decoding says.
func TestEnvelopePeeksAgreeWithTheDecoder(t *testing.T) {
	upkeep, change := propose(&DigestCheck{}), propose(&PutLabel{Name: "a"})
	for _, c := range []struct {
		proposals    []Proposal
		housekeeping bool
	}{
		{nil, true}, {[]Proposal{upkeep, upkeep}, true}, {[]Proposal{change}, false}, {[]Proposal{upkeep, change}, false},
	} {
		for _, stamp := range []record.LogTime{0, 23, 24, 1 << 20, 1 << 63} {
			data, err := (&Envelope{Time: stamp, Proposals: c.proposals}).Encode()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := EnvelopeTime(data); err != nil || got != stamp {
				t.Errorf("EnvelopeTime = %v, %v, want %v", got, err, stamp)
			}
			if got := Housekeeping(data); got != c.housekeeping {
				t.Errorf("%d commands: Housekeeping = %v", len(c.proposals), got)
			}
		}
	}
	for _, data := range [][]byte{nil, {2}, {1}, {1, 0x81}, {1, 0x82}, {1, 0x82, 0x20}} {
		if _, err := EnvelopeTime(data); err == nil {
			t.Errorf("%x has a time", data)
		}
	}
	if Housekeeping([]byte("x")) {
		t.Error("what does not decode is upkeep")
	}
}
