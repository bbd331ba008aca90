package peer

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// The messages that open a connection, right after the TLS handshake: a hello
// from the dialler, a welcome from the other end. docs/format/peer.md.
const (
	helloFormat   = 1
	maxHello      = 4 << 10 // bytes of a message after its head
	helloHeadSize = 3       // format u8, length u16
)

// wireIdentity is an Identity as it is sent.
type wireIdentity struct {
	Cluster   string          `cbor:"1,keyasint"`
	ClusterID record.ID       `cbor:"2,keyasint"`
	Timeline  record.Timeline `cbor:"3,keyasint"`
	Node      string          `cbor:"4,keyasint"`
	Disk      record.ID       `cbor:"5,keyasint"`
	Process   record.ID       `cbor:"6,keyasint"`
}

// A hello says who dials and which disk is meant. Target is zero only where any
// disk will do: a caller that does not know the node yet.
type hello struct {
	From   wireIdentity `cbor:"1,keyasint"`
	Target record.ID    `cbor:"2,keyasint"`
}

// A welcome says who answers, or why not: exactly one of the two.
type welcome struct {
	From    *wireIdentity `cbor:"1,keyasint,omitempty"`
	Refusal *wireFault    `cbor:"2,keyasint,omitempty"`
}

func (h *hello) validate() error {
	if err := Identity(h.From).validate(); err != nil {
		return refuse(ReasonHello, fault.Invalid, "hello: %s", err)
	}
	return nil
}

func (w *welcome) validate() error {
	if (w.From == nil) == (w.Refusal == nil) {
		return refuse(ReasonHello, fault.Invalid, "welcome: want either an identity or a refusal")
	}
	if w.From == nil {
		return nil
	}
	if err := Identity(*w.From).validate(); err != nil {
		return refuse(ReasonHello, fault.Invalid, "welcome: %s", err)
	}
	return nil
}

// encodeHello is a hello or welcome with its head.
func encodeHello(v any) ([]byte, error) {
	body, err := record.Encode(v)
	if err != nil {
		return nil, err
	}
	if len(body) > maxHello {
		return nil, fmt.Errorf("hello has %d bytes, the limit is %d", len(body), maxHello)
	}
	b := append(make([]byte, 0, helloHeadSize+len(body)), helloFormat)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...), nil
}

// readHello reads one message into v and not one byte more. An error of r is
// returned as it is; anything else is a refusal.
func readHello(r io.Reader, v interface{ validate() error }) error {
	var head [helloHeadSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	if head[0] != helloFormat {
		return refuse(ReasonFormat, fault.Unsupported, "hello is of format %d, this node reads %d", head[0], helloFormat).
			WithHint("update the older of the two nodes")
	}
	size := binary.BigEndian.Uint16(head[1:])
	if size > maxHello {
		return refuse(ReasonHello, fault.TooLarge, "hello has %d bytes, the limit is %d", size, maxHello)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if err := record.Decode(body, v); err != nil {
		return refuse(ReasonHello, fault.Invalid, "hello does not decode: %w", err)
	}
	return v.validate()
}
