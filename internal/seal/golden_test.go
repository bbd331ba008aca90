package seal

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// golden is the file of that name as bytes; with -rewrite it becomes what fresh
// makes. Sealed bytes are different each time, so golden files are only read.
func golden(t testing.TB, name string, fresh func() []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *rewrite {
		var lines strings.Builder
		for text := hex.EncodeToString(fresh()); text != ""; {
			n := min(len(text), 64)
			lines.WriteString(text[:n] + "\n")
			text = text[n:]
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const goldenPlain = "what was sealed by an old binary opens with a new one"

func TestOldObjectsOpen(t *testing.T) {
	for name, p := range policies(t) {
		object := golden(t, strings.ReplaceAll(name, "/", "-")+".hex", func() []byte { return sealed(t, p, "golden", []byte(goldenPlain)) })
		if got, err := open(p.Ring, "golden", object); err != nil || string(got) != goldenPlain {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestOldValuesOpen(t *testing.T) {
	for _, c := range []Cipher{AESGCM, ChaCha20Poly1305} {
		ring := NewRing(testKey(t, 1, c))
		value := golden(t, "value-"+c.String()+".hex", func() []byte {
			b, err := ring.Seal("golden", []byte("aad"), []byte(goldenPlain))
			if err != nil {
				t.Fatal(err)
			}
			return b
		})
		if got, err := ring.Open("golden", []byte("aad"), value); err != nil || string(got) != goldenPlain {
			t.Errorf("%v: %q, %v", c, got, err)
		}
	}
}

func TestKeyFileIsAsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.FromSlash("../../docs/format/key-file.md"))
	if err != nil {
		t.Fatal(err)
	}
	if text := FormatKeys(testKey(t, 1, AESGCM)); !strings.Contains(string(page), string(text)) {
		t.Errorf("the page does not show\n%s", text)
	}
}
