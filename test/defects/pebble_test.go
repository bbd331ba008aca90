package defects

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// quiet is a logger that says nothing.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// reopened writes a key without sync, closes the database and tells whether the
// key is there after opening it again.
func reopened(t *testing.T, o pebble.Options) bool {
	t.Helper()
	o.FS, o.Logger = vfs.NewMem(), quiet{}
	key := []byte("key")
	db, err := pebble.Open("db", &o)
	must(t, err)
	must(t, db.Set(key, []byte("value"), pebble.NoSync))
	must(t, db.Close())
	again := o
	db, err = pebble.Open("db", &again)
	must(t, err)
	defer db.Close()
	_, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false
	}
	must(t, err)
	must(t, closer.Close())
	return true
}

// Without its own log Pebble loses what it holds in memory, even when it is
// closed, and cannot sync at all. We keep its log and write with NoSync.
func TestPebbleWithoutItsLogLosesWritesOnClose(t *testing.T) {
	if reopened(t, pebble.Options{DisableWAL: true}) {
		t.Error("the key survived: Close flushes now")
	}
	if !reopened(t, pebble.Options{}) {
		t.Error("the key is lost although Pebble keeps its log: NoSync no longer survives Close")
	}
}

func TestPebbleWithoutItsLogCannotSync(t *testing.T) {
	db, err := pebble.Open("db", &pebble.Options{DisableWAL: true, FS: vfs.NewMem(), Logger: quiet{}})
	must(t, err)
	defer db.Close()
	if err := db.Set([]byte("key"), nil, pebble.Sync); err == nil {
		t.Error("a synced write succeeded")
	}
}
