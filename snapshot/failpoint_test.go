//go:build failpoint

package snapshot

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/seal"
)

func set(t *testing.T, name, term string) {
	t.Helper()
	if err := failpoint.Set(name, term); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { failpoint.Clear(name) })
}

func TestSaveThatFailsAtAFailpointIsNoBackup(t *testing.T) {
	for _, name := range []string{"snapshot/files", "snapshot/manifest"} {
		set(t, name, "error(EIO)")
		m := blobtest.NewMemory()
		b := newBackups(m, seal.Policy{})
		if _, err := b.Save(t.Context(), testState(1), bytes.NewReader(content(2500)), Origin{}); err == nil {
			t.Errorf("%s: saved", name)
		}
		if names := m.Names(); len(names) != 0 {
			t.Errorf("%s: left is %v", name, names)
		}
		failpoint.Clear(name)
	}
}

func TestFileThatFailsAtItsFailpointIsNotThere(t *testing.T) {
	set(t, "snapshot/file", "error(EIO)")
	dir := t.TempDir()
	_, err := CreateFile(filepath.Join(dir, "state.snap"), func(w io.Writer) error {
		return WriteFile(w, seal.Policy{}, testState(1), bytes.NewReader(nil), Origin{})
	})
	if entries, dirErr := os.ReadDir(dir); err == nil || dirErr != nil || len(entries) != 0 {
		t.Errorf("%v, %v, left is %v", err, dirErr, entries)
	}
}
