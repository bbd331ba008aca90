// Package requestid makes the ids that find a request in the log of a process: a
// random prefix per start, and a number.
package requestid

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync/atomic"
)

// MaxBytes is the length of the longest id that is taken from a client.
const MaxBytes = 64

// A Source makes ids. Its methods may be called from any goroutine.
type Source struct {
	prefix string
	last   atomic.Uint64
}

// NewSource has a prefix that no other source has.
func NewSource() *Source {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return &Source{prefix: hex.EncodeToString(b[:]) + "-"}
}

// Next is an id that was not given out before.
func (s *Source) Next() string {
	return s.prefix + strconv.FormatUint(s.last.Add(1), 36)
}

// Of is the id that a client chose if it is 1 to MaxBytes of A-Z a-z 0-9 . _ -,
// else a new one.
func (s *Source) Of(chosen string) string {
	if chosen == "" || len(chosen) > MaxBytes {
		return s.Next()
	}
	for i := range len(chosen) {
		c := chosen[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '_' && c != '-' {
			return s.Next()
		}
	}
	return chosen
}
