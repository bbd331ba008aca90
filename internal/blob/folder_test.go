package blob_test

import (
	"bytes"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func openFolder(t *testing.T, dir string, fsys vfs.FS) *blob.Folder {
	t.Helper()
	f, err := blob.OpenFolder(dir, fsys)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFolderKeepsTheContract(t *testing.T) {
	blobtest.Test(t, func(t *testing.T) blob.Store { return openFolder(t, filepath.Join(t.TempDir(), "new", "archive"), nil) })
}

// Everything that was not synced is lost in the crash.
func TestWhatIsPutSurvivesACrash(t *testing.T) {
	for _, when := range []blob.Condition{blob.Replace, blob.IfAbsent} {
		mem := vfs.NewCrashableMem()
		f := openFolder(t, "/archive", mem)
		if err := f.Put(t.Context(), "a/b/c", strings.NewReader("x"), when); err != nil {
			t.Fatal(err)
		}
		if err := f.Put(t.Context(), "a/gone", strings.NewReader("x"), when); err != nil {
			t.Fatal(err)
		}
		if err := f.Delete(t.Context(), "a/gone"); err != nil {
			t.Fatal(err)
		}
		f = openFolder(t, "/archive", mem.CrashClone(vfs.CrashCloneCfg{}))
		if body, err := f.Get(t.Context(), "a/b/c", blob.Range{}); err != nil {
			t.Errorf("condition %d: %v", when, err)
		} else if data, err := io.ReadAll(body); err != nil || string(data) != "x" {
			t.Errorf("condition %d: %q, %v", when, data, err)
		}
		if _, err := f.Stat(t.Context(), "a/gone"); fault.Of(err) != fault.NotFound {
			t.Errorf("condition %d: a deleted object came back: %v", when, err)
		}
	}
}

// crashingBody crashes the file system in the middle of a Put.
type crashingBody struct {
	io.Reader
	crash func()
}

func (c crashingBody) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		c.crash()
	}
	return n, err
}

func TestACrashDuringPutLeavesWhatWasThere(t *testing.T) {
	mem := vfs.NewCrashableMem()
	f := openFolder(t, "/archive", mem)
	if err := f.Put(t.Context(), "object", strings.NewReader("old"), blob.Replace); err != nil {
		t.Fatal(err)
	}
	var after *vfs.MemFS
	body := crashingBody{strings.NewReader("new"), func() {
		after = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	}}
	if err := f.Put(t.Context(), "object", body, blob.Replace); err != nil {
		t.Fatal(err)
	}
	f = openFolder(t, "/archive", after)
	got, err := blob.ReadAll(t.Context(), f, "object", 100)
	if err != nil || string(got) != "old" {
		t.Errorf("after the crash it is %q, %v", got, err)
	}
	for info, err := range f.List(t.Context(), "", "") {
		if err != nil || info.Name != "object" {
			t.Errorf("the list has %+v, %v", info, err)
		}
	}
}

func TestLeftoversAreRemovedADayLater(t *testing.T) {
	dir := t.TempDir()
	openFolder(t, dir, nil)
	incoming := filepath.Join(dir, ".incoming")
	for name, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": time.Hour} {
		path := filepath.Join(incoming, name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	openFolder(t, dir, nil)
	entries, err := os.ReadDir(incoming)
	if err != nil || len(entries) != 1 || entries[0].Name() != "young" {
		t.Errorf("left is %v, %v", entries, err)
	}
}

func TestPutLeavesNothingInIncoming(t *testing.T) {
	dir := t.TempDir()
	f := openFolder(t, dir, nil)
	for _, when := range []blob.Condition{blob.Replace, blob.IfAbsent, blob.IfAbsent} {
		_ = f.Put(t.Context(), "object", strings.NewReader("x"), when)
	}
	_ = f.Put(t.Context(), "object", io.MultiReader(strings.NewReader("x"), crashingBody{bytes.NewReader(nil), func() {}}, brokenReader{}), blob.Replace)
	entries, err := os.ReadDir(filepath.Join(dir, ".incoming"))
	if err != nil || len(entries) != 0 {
		t.Errorf("left is %v, %v", entries, err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestForeignFilesAreNotListed(t *testing.T) {
	dir := t.TempDir()
	f := openFolder(t, dir, nil)
	for _, name := range []string{"read me.txt", ".DS_Store", "object"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for info, err := range f.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, info.Name)
	}
	if !slices.Equal(names, []string{"object"}) {
		t.Errorf("the list is %v", names)
	}
}

func TestFolderThatCannotBeWrittenIsForbidden(t *testing.T) {
	var sealed atomic.Bool
	readOnly := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if sealed.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return fs.ErrPermission
		}
		return nil
	})
	f := openFolder(t, "archive", errorfs.Wrap(vfs.NewMem(), readOnly))
	sealed.Store(true)
	if err := f.Put(t.Context(), "object", strings.NewReader("x"), blob.Replace); fault.Of(err) != fault.Forbidden {
		t.Errorf("Put = %v", err)
	}
}
