package admin

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync/atomic"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// requestIDs makes ids that find a request in the log of this process: a random
// prefix per start and a number.
type requestIDs struct {
	prefix string
	last   *atomic.Uint64
}

func newRequestIDs() requestIDs {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return requestIDs{prefix: hex.EncodeToString(b[:]) + "-", last: new(atomic.Uint64)}
}

func (r requestIDs) next() string {
	return r.prefix + strconv.FormatUint(r.last.Add(1), 36)
}

// of is the id that a client chose if it is sane, else a new one.
func (r requestIDs) of(chosen string) string {
	if chosen == "" || len(chosen) > adminapi.MaxRequestID {
		return r.next()
	}
	for i := range len(chosen) {
		c := chosen[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '_' && c != '-' {
			return r.next()
		}
	}
	return chosen
}
