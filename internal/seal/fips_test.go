package seal

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// The test runs itself in the mode that allows approved algorithms only.
func TestAESGCMWorksInFIPSMode(t *testing.T) {
	if os.Getenv("SEAL_TEST_FIPS") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAESGCMWorksInFIPSMode$", "-test.v")
		cmd.Env = append(os.Environ(), "SEAL_TEST_FIPS=1", "GODEBUG=fips140=only")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	p := testPolicy(t, AESGCM, Zstd)
	if got, err := open(p.Ring, "test", sealed(t, p, "test", []byte("secret"))); err != nil || string(got) != "secret" {
		t.Errorf("an object: %q, %v", got, err)
	}
	value, err := p.Ring.Seal("test", nil, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Ring.Open("test", nil, value); err != nil || string(got) != "secret" {
		t.Errorf("a value: %q, %v", got, err)
	}
	if _, err := NewRing(testKey(t, 1, ChaCha20Poly1305)).Seal("test", nil, nil); fault.Of(err) != fault.Unsupported {
		t.Errorf("ChaCha20-Poly1305 in FIPS mode: %v", err)
	}
}
