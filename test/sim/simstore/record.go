package simstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Kinds of records.
const (
	kindStore  = 1 // entries: {index, term u64, type u8, nanoseconds i64, data, extensions}…
	kindDelete = 2 // {first, last u64}
	kindSet    = 3 // {key, value}; byte strings are {length u32, bytes}
)

func storeRecord(logs []*raft.Log) []byte {
	b := []byte{kindStore}
	for _, l := range logs {
		b = binary.BigEndian.AppendUint64(b, l.Index)
		b = binary.BigEndian.AppendUint64(b, l.Term)
		b = append(b, byte(l.Type))
		b = binary.BigEndian.AppendUint64(b, uint64(l.AppendedAt.UnixNano()))
		b = appendBytes(b, l.Data)
		b = appendBytes(b, l.Extensions)
	}
	return b
}

func deleteRecord(first, last uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{kindDelete}, first), last)
}

func setRecord(key, value []byte) []byte {
	return appendBytes(appendBytes([]byte{kindSet}, key), value)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(b))), b...)
}

// apply changes s as the record says.
func (s *state) apply(body []byte) error {
	r := reader{body[1:], nil}
	switch body[0] {
	case kindStore:
		for len(r.rest) > 0 && r.err == nil {
			s.store(&r)
		}
	case kindDelete:
		s.remove(&r)
	case kindSet:
		key, value := r.bytes(), r.bytes()
		s.keys[string(key)] = value
	default:
		return fmt.Errorf("unknown kind %d", body[0])
	}
	if r.err == nil && len(r.rest) > 0 {
		return errors.New("has bytes left over")
	}
	return r.err
}

func (s *state) store(r *reader) {
	l := raft.Log{
		Index: r.uint64(), Term: r.uint64(), Type: raft.LogType(r.uint8()),
		AppendedAt: time.Unix(0, int64(r.uint64())).UTC(),
		Data:       r.bytes(), Extensions: r.bytes(),
	}
	if r.err != nil {
		return
	}
	if len(s.logs) > 0 && l.Index != s.last()+1 {
		r.err = fmt.Errorf("entry %d follows entry %d: the log has a hole", l.Index, s.last())
		return
	}
	s.logs = append(s.logs, l)
}

func (s *state) remove(r *reader) {
	first, last := r.uint64(), r.uint64()
	if r.err != nil || len(s.logs) == 0 {
		return
	}
	first, last = max(first, s.first()), min(last, s.last())
	switch {
	case first > last:
	case first == s.first():
		s.logs = s.logs[last-first+1:]
	case last == s.last():
		s.logs = s.logs[:first-s.first()]
	default:
		r.err = fmt.Errorf("deleting entries %d to %d leaves a hole", first, last)
	}
}

func (s *state) first() uint64 {
	if len(s.logs) == 0 {
		return 0
	}
	return s.logs[0].Index
}

func (s *state) last() uint64 {
	if len(s.logs) == 0 {
		return 0
	}
	return s.logs[len(s.logs)-1].Index
}

// reader takes fields off a body; the first that is not there sets err.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.rest) {
		r.err = errors.New("is cut short")
		return make([]byte, 8)
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint8() uint8   { return r.take(1)[0] }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

func (r *reader) bytes() []byte {
	n := binary.BigEndian.Uint32(r.take(4))
	if n == 0 || r.err != nil {
		return nil
	}
	return r.take(int(n))
}
