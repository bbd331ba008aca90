package seal

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestValueRoundTrips(t *testing.T) {
	for _, c := range []Cipher{AESGCM, ChaCha20Poly1305} {
		old := NewRing(testKey(t, 1, c))
		value, err := old.Seal("credential", []byte("github"), []byte("hunter2"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(value, []byte("hunter2")) {
			t.Errorf("%v: the secret stands in %x", c, value)
		}
		rotated := NewRing(testKey(t, 2, c), testKey(t, 1, c))
		if got, err := rotated.Open("credential", []byte("github"), value); err != nil || string(got) != "hunter2" {
			t.Errorf("%v: %q, %v", c, got, err)
		}
		if id, err := SealedBy(value); err != nil || id != testKey(t, 1, c).ID() {
			t.Errorf("%v: sealed by %v, %v", c, id, err)
		}
		again, err := old.Seal("credential", []byte("github"), []byte("hunter2"))
		if err != nil || bytes.Equal(again, value) {
			t.Errorf("%v: the same secret has the same bytes twice, %v", c, err)
		}
	}
}

func TestValueIsBoundToItsPlace(t *testing.T) {
	ring := NewRing(testKey(t, 1, AESGCM))
	value, err := ring.Seal("credential", []byte("github"), []byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range [][2]string{{"credential", "gitlab"}, {"ring", "github"}, {"credentialg", "ithub"}, {"", "credentialgithub"}} {
		if _, err := ring.Open(place[0], []byte(place[1]), value); fault.Of(err) != fault.Integrity {
			t.Errorf("opens as %q: %v", place, err)
		}
	}
	if _, err := NewRing(testKey(t, 2, AESGCM)).Open("credential", []byte("github"), value); fault.Of(err) != fault.Forbidden {
		t.Errorf("opens with another key: %v", err)
	}
}

func TestDamagedValueDoesNotOpen(t *testing.T) {
	for _, c := range []Cipher{AESGCM, ChaCha20Poly1305} {
		ring := NewRing(testKey(t, 1, c))
		value, err := ring.Seal("credential", nil, []byte("hunter2"))
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(value) {
			value[bit/8] ^= 1 << (bit % 8)
			if _, err := ring.Open("credential", nil, value); err == nil {
				t.Errorf("%v: opens with bit %d flipped", c, bit)
			}
			value[bit/8] ^= 1 << (bit % 8)
		}
		for n := range value {
			if _, err := ring.Open("credential", nil, value[:n]); err == nil {
				t.Errorf("%v: opens when cut to %d", c, n)
			}
		}
	}
}

func TestValueLimits(t *testing.T) {
	ring := NewRing(testKey(t, 1, AESGCM))
	if _, err := ring.Seal("x", nil, make([]byte, MaxValueBytes+1)); fault.Of(err) != fault.TooLarge {
		t.Errorf("too large: %v", err)
	}
	if _, err := (Ring{}).Seal("x", nil, nil); err == nil || !strings.Contains(err.Error(), "no key") {
		t.Errorf("without a key: %v", err)
	}
}
