package frame

import (
	"encoding/binary"
	"fmt"
)

// Sizes of the head of a frame, in bytes.
const (
	lengthSize = 4
	restSize   = 12 // what follows the length in a frame without a body
	headerSize = lengthSize + restSize
)

// flags say what a frame is. A call has none.
type flags uint8

const (
	flagAnswer flags = 1 << 0 // answers the call, or the ping, of this id
	flagCancel flags = 1 << 1 // the caller of this id has gone away
	flagReason flags = 1 << 2 // with flagAnswer: no answer of a handler; status is a reason
	flagPing   flags = 1 << 3 // asks for an answer of the connection itself
)

// A header is a frame without its body.
type header struct {
	id     uint64
	op     uint16
	flags  flags
	status uint8
	size   int // of the body
}

// answer is the header of an answer to h.
func (h header) answer() header {
	return header{id: h.id, op: h.op, flags: h.flags | flagAnswer}
}

// because turns an answer into one that no handler gave.
func (h header) because(why reason) header {
	h.flags |= flagReason
	h.status = uint8(why)
	return h
}

// append adds the bytes of h and body, whose length is h.size, to dst.
func (h header) append(dst, body []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(restSize+len(body)))
	dst = binary.BigEndian.AppendUint64(dst, h.id)
	dst = binary.BigEndian.AppendUint16(dst, h.op)
	dst = append(dst, byte(h.flags), h.status)
	return append(dst, body...)
}

// parseHeader reads the first headerSize bytes of a frame whose body may have at
// most maxBody bytes.
func parseHeader(b []byte, maxBody int) (header, error) {
	length := binary.BigEndian.Uint32(b)
	h := header{
		id:     binary.BigEndian.Uint64(b[4:]),
		op:     binary.BigEndian.Uint16(b[12:]),
		flags:  flags(b[14]),
		status: b[15],
	}
	if length < restSize {
		return h, fmt.Errorf("%w: length %d is below %d", ErrProtocol, length, restSize)
	}
	if uint64(length)-restSize > uint64(maxBody) {
		return h, fmt.Errorf("%w: the peer sent %d bytes, the limit is %d", ErrTooLarge, length-restSize, maxBody)
	}
	h.size = int(length - restSize)
	return h, h.validate()
}

func (h header) validate() error {
	switch h.flags {
	case 0, flagAnswer, flagAnswer | flagReason:
		return nil
	case flagCancel, flagPing, flagPing | flagAnswer:
		if h.size != 0 {
			return fmt.Errorf("%w: flags %#x with a body of %d bytes", ErrProtocol, h.flags, h.size)
		}
		return nil
	default:
		return fmt.Errorf("%w: unknown flags %#x", ErrProtocol, h.flags)
	}
}
