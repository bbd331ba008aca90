// Package blob keeps archived bytes: objects with names, in a local folder or in
// an S3 bucket. It is the one home of the object storage library.
//
// A [Store] is the little that both can do alike. It promises that an object is
// there whole or not at all, that it is durable when Put returns, and that a list
// is sorted; blobtest holds every implementation to that. It does not know what the
// bytes mean, does not compress or encrypt (internal/seal does) and keeps no
// credentials but those of its own destination.
//
// # Errors
//
// All are of internal/fault: NotFound, Conflict (IfAbsent, and it is there),
// Forbidden and Unauthenticated (the destination refuses this key), Overloaded
// (it asks for patience), Unreachable (no answer, or a connection that broke),
// Invalid (a name or a setting), Unsupported (the destination cannot do it).
// Retryable kinds may be tried again; the S3 store has done so a few times itself.
package blob

import (
	"context"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A Store holds objects by name. All methods may be called from many goroutines
// and end when their context does. Names are as [ValidName] says, and a name that
// is an object is never the folder of another: "a" and "a/b" cannot both exist.
type Store interface {
	// Put stores everything that body yields under name. Others see the whole
	// object or what was there before, also after a crash. An error of body is
	// returned as it is, and nothing is stored. A Conflict may mean that an earlier
	// attempt of the caller's own got through and its answer was lost.
	Put(ctx context.Context, name string, body io.Reader, when Condition) error

	// Get reads an object, or that part of it which lies within r. The caller
	// closes it. An object that is shorter than the range yields what there is.
	// A body that ends with io.EOF was complete.
	Get(ctx context.Context, name string, r Range) (io.ReadCloser, error)

	// Stat tells the size and age of an object.
	Stat(ctx context.Context, name string) (Info, error)

	// List yields the objects whose names begin with prefix and are greater than
	// after, sorted by the bytes of their names. It ends with its first error. What
	// is stored or deleted meanwhile may or may not be seen.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]

	// Delete removes an object. One that does not exist is no error.
	Delete(ctx context.Context, name string) error

	// String says where the objects are, for people, without secrets.
	String() string
}

// A Condition says when Put may store.
type Condition uint8

const (
	Replace  Condition = iota // always; what was there is gone
	IfAbsent                  // only if there is no object of that name, else Conflict; one of many callers wins
)

// A Range is a part of an object, in bytes. The zero Range is all of it.
type Range struct {
	Offset int64 // at or behind the end: nothing is read
	Length int64 // 0 means to the end
}

// An Info is what a store says of an object.
type Info struct {
	Name     string
	Size     int64     // bytes
	Modified time.Time // by the clock of the store
}

// MaxName bounds a name, in bytes.
const MaxName = 512

// ValidName reports why name cannot name an object, or nil. A name is one or more
// parts with "/" between them, each of letters, digits and "-", "_", ".", and not
// beginning with ".": it means the same to every store, and cannot leave a folder.
func ValidName(name string) error {
	if len(name) > MaxName {
		return fault.New(fault.Invalid, "object name has %d bytes, the limit is %d", len(name), MaxName)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.ContainsFunc(part, notInName) {
			return fault.New(fault.Invalid, "%q cannot be the name of an object", name)
		}
	}
	return nil
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r))
}

// ReadAll reads an object of at most limit bytes.
func ReadAll(ctx context.Context, s Store, name string, limit int64) (_ []byte, err error) {
	body, err := s.Get(ctx, name, Range{Length: limit + 1})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err == nil && int64(len(b)) > limit {
		err = fault.New(fault.TooLarge, "%s is larger than %d bytes", name, limit)
	}
	return b, err
}

func notFound(s Store, name string) error {
	return fault.New(fault.NotFound, "%s has no object %s", s, name)
}

func exists(s Store, name string) error {
	return fault.New(fault.Conflict, "%s has an object %s already", s, name)
}
