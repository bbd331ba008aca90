package seal

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"slices"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// MaxRecipients is how many keys an object can be for, and so how many key files
// a ring can have.
const MaxRecipients = 16

// A Ring is the keys of one or several key files. It writes for the newest key of
// each file and reads for any. The zero Ring has no keys. A Ring does not change
// and may be used from many goroutines.
type Ring struct {
	files [][]Key // each not empty, the newest key first
}

// NewRing is the ring of one file with these keys.
func NewRing(keys ...Key) Ring { return Ring{}.with(keys) }

func (r Ring) with(keys []Key) Ring {
	if len(keys) == 0 {
		return r
	}
	keys = slices.SortedFunc(slices.Values(keys), func(a, b Key) int {
		return cmp.Or(b.created.Compare(a.created), bytes.Compare(a.id[:], b.id[:]))
	})
	return Ring{append(slices.Clip(r.files), keys)}
}

// LoadRing reads key files, in the order of their importance: the first is the
// one for small values. All mistakes are reported at once.
func LoadRing(paths ...string) (Ring, error) {
	if len(paths) > MaxRecipients {
		return Ring{}, fault.New(fault.Invalid, "%d key files were given, the limit is %d", len(paths), MaxRecipients)
	}
	var r Ring
	var errs []error
	for _, path := range paths {
		keys, err := ReadKeyFile(path)
		if errors.Is(err, os.ErrNotExist) {
			err = fault.New(fault.NotFound, "key file %s does not exist", path).WithHint("make one with `mcpraft keys generate`, or restore your copy of it")
		}
		errs = append(errs, err)
		r = r.with(keys)
	}
	return r, errors.Join(errs...)
}

// Empty reports whether r has no keys.
func (r Ring) Empty() bool { return len(r.files) == 0 }

// Newest is the key that small values are sealed by: the newest of the first file.
func (r Ring) Newest() (Key, error) {
	if r.Empty() {
		return Key{}, fault.New(fault.Invalid, "there is no key to encrypt with").WithHint("name a key file in the configuration")
	}
	return r.files[0][0], nil
}

// Recipients is the newest key of each file, without repetition: the keys that
// objects are written for.
func (r Ring) Recipients() []Key {
	var list []Key
	for _, file := range r.files {
		if !slices.ContainsFunc(list, func(k Key) bool { return k.id == file[0].id }) {
			list = append(list, file[0])
		}
	}
	return list
}

// Find is the key of that id.
func (r Ring) Find(id KeyID) (Key, bool) {
	for _, file := range r.files {
		for _, k := range file {
			if k.id == id {
				return k, true
			}
		}
	}
	return Key{}, false
}

// Keys is every key, file by file, the newest first.
func (r Ring) Keys() []Key { return slices.Concat(r.files...) }

// noKey says that none of ids is in r.
func (r Ring) noKey(ids ...KeyID) error {
	have := make([]KeyID, 0, len(r.files))
	for _, k := range r.Keys() {
		have = append(have, k.id)
	}
	return fault.New(fault.Forbidden, "none of the given keys %v opens this; it was sealed for %v", have, ids).
		WithHint("give the key file that holds one of these ids").WithDetail("keys", joinIDs(ids))
}

func joinIDs(ids []KeyID) string {
	var b []byte
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, id.String()...)
	}
	return string(b)
}
