package clock

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// The gate: if another release of Go changes time.Now, this fails first.
func TestTheOverlayFitsTheInstalledGo(t *testing.T) {
	dir := t.TempDir()
	if _, err := writeOverlay(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"time.go", "shift.go"} {
		if _, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, 0); err != nil {
			t.Error(err)
		}
	}
}
