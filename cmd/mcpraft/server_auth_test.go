package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestNodeAloneMakesItsKeyFileOnceAndMissesItWhenItIsGone(t *testing.T) {
	c := config.Default()
	c.Node.DataDir = filepath.Join(t.TempDir(), "data")
	log := slog.New(slog.DiscardHandler)
	first, err := rootKeys(&c, log)
	if err != nil {
		t.Fatal(err)
	}
	again, err := rootKeys(&c, log)
	if err != nil || len(again.Keys()) != 1 || again.Keys()[0].ID() != first.Keys()[0].ID() {
		t.Errorf("the second start has the keys %v, want %v (%v)", again.Keys(), first.Keys(), err)
	}
	file := filepath.Join(c.Node.DataDir, ownKeyFile)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(c.Node.DataDir, "node.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := rootKeys(&c, log); fault.Of(err) != fault.NotFound {
		t.Errorf("error = %v, want that the file is gone: a new one would open nothing", err)
	}
	c.Auth.KeyFile = file + ".away"
	if named, err := rootKeys(&c, log); err != nil || named.Keys()[0].ID() != first.Keys()[0].ID() {
		t.Errorf("named as auth.key_file: %v", err)
	}
}
