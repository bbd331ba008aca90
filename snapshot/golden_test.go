package snapshot

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/seal"
)

func goldenManifest() Manifest {
	return Manifest{
		ID: "20260512T140215Z-88120-5f3a90c1", State: func() State { s := testState(88120); s.At = s.LogTime.Time(); return s }(),
		Created: time.Date(2026, 5, 12, 14, 2, 15, 0, time.UTC), Creator: "n1 1.0.0", Reason: "schedule",
		Size: 1500, SHA256: Hash{1}, Cipher: "aes_gcm", Compression: "zstd", Keys: []seal.KeyID{{1, 2}},
		Files: []Part{{Name: "0001.state", Plain: 1000, Size: 900, SHA256: Hash{2}}, {Name: "0002.state", Plain: 500, Size: 450, SHA256: Hash{3}}},
	}
}

func TestManifestIsWrittenAsEver(t *testing.T) {
	m := goldenManifest()
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	data, err := encode(m)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "golden", "manifest.json")
	if *rewrite {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != string(want) {
		t.Errorf("manifest is\n%s\nwant\n%s", data, want)
	}
	var got Manifest
	if err := decode(want, &got); err != nil || got.Validate() != nil || got.ID != m.ID || got.Files[1] != m.Files[1] || got.State.Digest != m.State.Digest {
		t.Errorf("read as %+v, %v", got, err)
	}
}
