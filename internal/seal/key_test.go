package seal

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

func sameKeys(a, b []Key) bool {
	return slices.EqualFunc(a, b, func(a, b Key) bool { return a.line() == b.line() })
}

func TestNewKeysDifferAndComeBackFromTheirFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	var want []Key
	for _, c := range []Cipher{AESGCM, ChaCha20Poly1305, AESGCM} {
		k, err := c.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		if err := AddToKeyFile(path, k); err != nil {
			t.Fatal(err)
		}
		want = append(want, k)
	}
	got, err := ReadKeyFile(path)
	if err != nil || !sameKeys(got, want) {
		t.Errorf("read %v, %v, want %v", got, err, want)
	}
	if want[0].ID() == want[2].ID() || bytes.Equal(want[0].secret(), want[2].secret()) {
		t.Error("two new keys are the same")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAKeyTwiceInAFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	k := testKey(t, 1, AESGCM)
	if err := AddToKeyFile(path, k); err != nil {
		t.Fatal(err)
	}
	if err := AddToKeyFile(path, k); fault.Of(err) != fault.Invalid {
		t.Errorf("second time: %v", err)
	}
	if keys, err := ReadKeyFile(path); err != nil || len(keys) != 1 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

func TestKeysNeverPrintTheirSecret(t *testing.T) {
	k := testKey(t, 7, AESGCM)
	secret := hex.EncodeToString(k.secret()[:8])
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, v := range []any{k, &k, []Key{k}, NewRing(k), struct{ K Key }{k}, struct{ k Key }{k}} {
			if s := fmt.Sprintf(format, v); strings.Contains(s, secret) || strings.Contains(s, "7, 7, 7") || strings.Contains(s, "7 7 7") {
				t.Errorf("%s of %T prints %s", format, v, s)
			}
		}
	}
}

func TestBrokenKeyFilesAreNamedByLine(t *testing.T) {
	good := testKey(t, 1, AESGCM).line()
	fields := strings.Fields(good)
	with := func(i int, s string) string {
		f := slices.Clone(fields)
		f[i] = s
		return keyFileHead + "\n\n# comment\n" + strings.Join(f, " ")
	}
	for want, text := range map[string]string{
		"this is no key file":                           good,
		`has the version "mcpraft-keys 2"`:              "mcpraft-keys 2\n" + good,
		"there is no key in it":                         keyFileHead + "\n# " + good,
		"line 4: a key has 4 fields":                    with(3, ""),
		"line 4: key id":                                with(0, "abc"),
		`line 4: no cipher is called "rot13"`:           with(1, "rot13"),
		"line 4: a key cannot be for the cipher none":   with(1, "none"),
		`was created at "yesterday"`:                    with(2, "yesterday"),
		"has 62 characters, want 64 hexadecimal digits": with(3, fields[3][2:]),
		"is not hexadecimal":                            with(3, "x"+fields[3][1:]),
		"holds another key":                             with(3, "f"+fields[3][1:]),
		"line 3: key " + fields[0] + " is on line 2":    keyFileHead + "\n" + good + "\n" + good,
	} {
		_, err := ParseKeys([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if err != nil && strings.Contains(err.Error(), fields[3][4:20]) {
			t.Errorf("the error quotes the secret: %v", err)
		}
	}
}

func TestEveryMistakeInAKeyFileIsReported(t *testing.T) {
	_, err := ParseKeys([]byte(keyFileHead + "\na\n" + testKey(t, 1, AESGCM).line() + "\nb\n"))
	if err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), "line 4") {
		t.Errorf("err = %v", err)
	}
}

func TestOpenKeyFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, FormatKeys(testKey(t, 1, AESGCM)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadRing(path); fault.Of(err) != fault.Invalid {
		t.Errorf("a file that all can read: %v", err)
	}
	if _, err := LoadRing(path + "x"); fault.Of(err) != fault.NotFound {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestRingWritesForTheNewestOfEachFileAndReadsForAll(t *testing.T) {
	dir := t.TempDir()
	k1, k2, k3, k4 := testKey(t, 1, AESGCM), testKey(t, 2, AESGCM), testKey(t, 3, AESGCM), testKey(t, 4, ChaCha20Poly1305)
	for name, keys := range map[string][]Key{"a": {k1, k3, k2}, "b": {k4}, "c": {k3}} {
		if err := os.WriteFile(filepath.Join(dir, name), FormatKeys(keys...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := LoadRing(filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c"))
	if err != nil {
		t.Fatal(err)
	}
	if newest, err := ring.Newest(); err != nil || newest.ID() != k3.ID() {
		t.Errorf("newest is %v, %v", newest, err)
	}
	if got := ring.Recipients(); !sameKeys(got, []Key{k3, k4}) {
		t.Errorf("recipients are %v", got)
	}
	for _, k := range []Key{k1, k2, k3, k4} {
		if got, ok := ring.Find(k.ID()); !ok || got.ID() != k.ID() {
			t.Errorf("%v is found as %v", k, got)
		}
	}
	if _, ok := ring.Find(KeyID{}); ok {
		t.Error("a key without an id is found")
	}
	if _, err := (Ring{}).Newest(); fault.Of(err) != fault.Invalid {
		t.Errorf("newest of none: %v", err)
	}
}

func TestKeysFallDueByAge(t *testing.T) {
	k := testKey(t, 1, AESGCM)
	for days, want := range map[int]string{0: "", 1: "2026-05-02", 30: "2026-05-31"} {
		day := k.Created()
		for range 60 {
			if due := k.Due(day, days); due != (want != "" && day.Format(time.DateOnly) >= want) {
				t.Errorf("after %d days: due on %s is %v, want from %q on", days, day, due, want)
			}
			day = day.AddDate(0, 0, 1)
		}
		if days > 0 && k.Due(k.Created().AddDate(0, 0, days).Add(-time.Second), days) {
			t.Errorf("due a second before %d days", days)
		}
	}
}
