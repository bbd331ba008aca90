package auth

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/test/model/solo"
)

var rewrite = flag.Bool("rewrite", false, "write golden files instead of comparing with them")

func TestMACIsForOnePurposeAndTheseParts(t *testing.T) {
	f := newFixture(t)
	other := f.open(t)
	if err := other.keys.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	mac := f.keys.MAC("session id", []byte("ab"), []byte("c"))
	if len(mac) != MACBytes || !other.keys.Verify("session id", mac, []byte("ab"), []byte("c")) {
		t.Fatalf("another node does not verify %x", mac)
	}
	for name, ok := range map[string]bool{
		"other purpose":    f.keys.Verify("event id", mac, []byte("ab"), []byte("c")),
		"other boundaries": f.keys.Verify("session id", mac, []byte("a"), []byte("bc")),
		"fewer parts":      f.keys.Verify("session id", mac, []byte("abc")),
		"more parts":       f.keys.Verify("session id", mac, []byte("ab"), []byte("c"), nil),
		"short":            f.keys.Verify("session id", mac[:MACBytes-1], []byte("ab"), []byte("c")),
		"nothing":          f.keys.Verify("session id", nil, []byte("ab"), []byte("c")),
		"other key":        f.keys.Verify("session id", append([]byte{9, 9}, mac[2:]...), []byte("ab"), []byte("c")),
	} {
		if ok {
			t.Errorf("%s: verifies", name)
		}
	}
	for i := range mac {
		forged := bytes.Clone(mac)
		forged[i] ^= 1
		if f.keys.Verify("session id", forged, []byte("ab"), []byte("c")) {
			t.Errorf("byte %d can be changed", i)
		}
	}
}

func TestSealedValueOpensOnEveryNodeAndOnlyInItsPlace(t *testing.T) {
	f := newFixture(t)
	other := f.open(t)
	if err := other.keys.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	sealed, err := f.keys.Seal("upstream session", []byte("s1"), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := other.keys.Open("upstream session", []byte("s1"), sealed); err != nil || string(plain) != "secret" {
		t.Errorf("opened %q, %v", plain, err)
	}
	_, err = f.keys.Open("upstream session", []byte("s2"), sealed)
	wantKind(t, err, fault.Integrity)
	_, err = f.keys.Open("other", []byte("s1"), sealed)
	wantKind(t, err, fault.Integrity)
}

func TestRingWithoutKeysMakesAndVerifiesNothing(t *testing.T) {
	f := newFixture(t)
	mac := f.keys.MAC("p", []byte("x"))
	empty := NewKeyRing(f.root, f.replica, nil)
	if empty.MAC("p", []byte("x")) != nil || empty.Verify("p", mac, []byte("x")) || empty.Verify("p", nil) {
		t.Error("a ring without keys verifies")
	}
	_, err := empty.Seal("p", nil, nil)
	wantKind(t, err, fault.Unavailable)
	_, err = empty.Open("p", nil, nil)
	wantKind(t, err, fault.Unavailable)
	_, err = empty.NewToken("ci")
	wantKind(t, err, fault.Unavailable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := empty.Ready(ctx); fault.Of(err) != fault.Unavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("Ready = %v", err)
	}
	if err := f.keys.Ready(ctx); err != nil {
		t.Errorf("Ready with keys = %v", err)
	}
}

func TestNodeWithAnotherKeyFileSaysSoAndKeepsWhatItHas(t *testing.T) {
	f := newFixture(t)
	stranger := NewKeyRing(rootRing(t), f.replica, nil)
	stranger.report(stranger.load(t.Context()))
	if err := stranger.Err(); fault.Of(err) != fault.Forbidden || !strings.Contains(err.Error(), "auth.key_file") {
		t.Errorf("error = %v", err)
	}
	mac := f.keys.MAC("p")
	f.replica.Must(t, self, &fsm.PutKeyRing{Ring: record.KeyRing{Sealed: []byte("damaged")}, IfRevision: f.keys.keys.Load().revision})
	wantKind(t, f.keys.load(t.Context()), fault.Integrity)
	if !f.keys.Verify("p", mac) {
		t.Error("a damaged record took the keys away")
	}
}

// at is a moment of a life that begins in 2026.
func at(d time.Duration) record.LogTime {
	return record.LogTimeAt(time.Date(2026, 5, 12, 14, 0, 0, 0, time.UTC)).Add(d)
}

func TestKeysLiveTheirLives(t *testing.T) {
	p := policy{rotation: 90 * day, grace: 7 * day, settle: time.Minute}
	r, err := firstRing(at(0))
	if err != nil {
		t.Fatal(err)
	}
	hashed := map[uint32]bool{}
	for _, s := range []struct {
		now     time.Duration
		changed bool
		wait    time.Duration
		want    string // ids: u upcoming, * current, h hashes only
	}{
		{0, false, 90 * day, "1*"},
		{90*day - 1*time.Millisecond, false, time.Millisecond, "1*"},
		{90 * day, true, time.Minute, "1* 2u"},
		{90*day + 59*time.Second, false, time.Second, "1* 2u"},
		{90*day + time.Minute, true, 7 * day, "1 2*"},
		{97 * day, false, time.Minute, "1 2*"},
		{97*day + time.Minute, true, 83 * day, "2*"},
		{180*day + time.Minute, true, time.Minute, "2* 3u"},
		{180*day + 2*time.Minute, true, 7 * day, "2 3*"},
		{187*day + 2*time.Minute, true, 83 * day, "2h 3*"}, // an API token needs it
		{188 * day, false, 82*day + 2*time.Minute, "2h 3*"},
	} {
		if s.now >= 180*day {
			hashed[2] = true
		}
		changed, wait, err := p.step(&r, at(s.now), func(id uint32) bool { return hashed[id] })
		if err != nil {
			t.Fatal(err)
		}
		if got := lives(&r); got != s.want || changed != s.changed || wait != s.wait {
			t.Errorf("after %v: %s, changed %v, wait %v; want %s, %v, %v", s.now, got, changed, wait, s.want, s.changed, s.wait)
		}
		if err := r.validate(); err != nil {
			t.Errorf("after %v: %v", s.now, err)
		}
	}
	hashed[2] = false
	if changed, _, err := p.step(&r, at(189*day), func(uint32) bool { return false }); !changed || err != nil || lives(&r) != "3*" {
		t.Errorf("once no token needs it: %s, %v", lives(&r), err)
	}
}

const day = 24 * time.Hour

func lives(r *ring) string {
	var list []string
	for _, k := range r.Keys {
		word := hex.EncodeToString([]byte{byte(k.ID)})[1:]
		switch {
		case k.Used == 0:
			word += "u"
		case k.Retired == 0:
			word += "*"
		case k.hashesOnly():
			word += "h"
		}
		list = append(list, word)
	}
	return strings.Join(list, " ")
}

func TestRotationOverlaps(t *testing.T) {
	f := newFixture(t)
	text := f.token(t, record.Token{Name: "ci"})
	mac := f.keys.MAC("p", []byte("x"))
	sealed, err := f.keys.Seal("p", nil, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := f.RotateKeys(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	_, err = f.RotateKeys(t.Context(), admin)
	wantKind(t, err, fault.Conflict)
	f.read(t)
	if f.keys.keys.Load().current.ID != 1 || len(f.keys.keys.Load().byID) != 2 {
		t.Fatal("the new key is used before the nodes know it")
	}
	look := func(after time.Duration) {
		t.Helper()
		if _, err := f.rotation.look(t.Context(), 1, clock{record.LogTimeAt(begin.Add(after)), time.Now()}); err != nil {
			t.Fatal(err)
		}
		f.read(t)
	}
	look(2 * time.Minute)
	if f.keys.keys.Load().current.ID != 2 || bytes.Equal(f.keys.MAC("p", []byte("x")), mac) {
		t.Fatal("the new key is not used")
	}
	if plain, err := f.keys.Open("p", nil, sealed); !f.keys.Verify("p", mac, []byte("x")) || err != nil || string(plain) != "secret" {
		t.Errorf("within the grace: opened %q, %v", plain, err)
	}
	look(8 * day)
	if f.keys.Verify("p", mac, []byte("x")) {
		t.Error("the old key verifies after its grace")
	}
	_, err = f.keys.Open("p", nil, sealed)
	wantKind(t, err, fault.Forbidden)
	f.Changed([]fsm.Change{{Noun: fsm.ChangedKeyRing}})
	if _, err := f.Authenticate(t.Context(), "", text); err != nil {
		t.Errorf("the API token from before: %v", err)
	}
}

func TestNewRootKeySealsTheRingAnew(t *testing.T) {
	f := newFixture(t)
	mac := f.keys.MAC("p")
	key, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := seal.ParseKeys([]byte(strings.Replace(string(seal.FormatKeys(key)), key.Created().Format(time.RFC3339), "2099-01-01T00:00:00Z", 1)))
	if err != nil {
		t.Fatal(err)
	}
	newer := keys[0]
	both := seal.NewRing(append(f.root.Keys(), newer)...)
	rotation := NewRotation(RotationConfig{Replica: f.replica, Root: both, Actor: self})
	now := clock{record.LogTimeAt(time.Now()), time.Now()}
	for range 2 {
		if _, err := rotation.look(t.Context(), 1, now); err != nil {
			t.Fatal(err)
		}
	}
	only := NewKeyRing(seal.NewRing(newer), f.replica, nil)
	if err := only.load(t.Context()); err != nil || !only.Verify("p", mac) {
		t.Errorf("the new root key alone: %v", err)
	}
	if n := len(f.replica.Log()); n != 4 { // epoch, cluster, ring, ring
		t.Errorf("%d commands, want the ring sealed anew once", n)
	}
}

func TestDutyMakesTheFirstRingAndEndsWithItsTerm(t *testing.T) {
	f := &fixture{root: rootRing(t), replica: solo.New(t)}
	rotation := NewRotation(RotationConfig{Replica: f.replica, Root: f.root, Actor: self})
	keys := NewKeyRing(f.root, f.replica, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- rotation.Run(ctx, 1) }()
	for keys.load(ctx) != nil {
		if ctx.Err() != nil {
			t.Fatal("no ring")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// goldenRing is the ring that docs/format/key-ring.md shows.
func goldenRing() ring {
	sealer := []byte("mcpraft-keys 1\n")
	return ring{Keys: []ringKey{
		{ID: 1, MAC: bytes.Repeat([]byte{1}, macKeyBytes), Created: 1 << 16, Used: 1 << 16, Retired: 2 << 16},
		{ID: 2, MAC: bytes.Repeat([]byte{2}, macKeyBytes), Sealer: sealer, Created: 1 << 16, Used: 2 << 16},
		{ID: 3, MAC: bytes.Repeat([]byte{3}, macKeyBytes), Sealer: sealer, Created: 3 << 16},
	}}
}

func TestGoldenBytesOfTheRing(t *testing.T) {
	data, err := encodeRing(goldenRing())
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/ring.golden"
	got := []byte(hex.EncodeToString(data) + "\n")
	if *rewrite {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %s\nwant %s (%v)", got, want, err)
	}
	page, err := os.ReadFile("../../docs/format/key-ring.md")
	if err != nil || !bytes.Contains(page, bytes.TrimSpace(want)) {
		t.Errorf("docs/format/key-ring.md does not show it (%v)", err)
	}
	back, err := decodeRing(data)
	if err != nil || len(back.Keys) != 3 || back.current().ID != 2 || back.upcoming().ID != 3 {
		t.Errorf("read back %+v, %v", back, err)
	}
}

func TestDamagedRingIsRefused(t *testing.T) {
	for name, change := range map[string]func(*ring){
		"no keys":               func(r *ring) { r.Keys = nil },
		"too many":              func(r *ring) { r.Keys = make([]ringKey, maxRingKeys+1) },
		"id 0":                  func(r *ring) { r.Keys[0].ID = 0 },
		"ids descend":           func(r *ring) { r.Keys[2].ID = 1 },
		"short key":             func(r *ring) { r.Keys[1].MAC = r.Keys[1].MAC[1:] },
		"two current":           func(r *ring) { r.Keys[2].Used = 5 },
		"none current":          func(r *ring) { r.Keys[1].Retired = 5 },
		"upcoming in between":   func(r *ring) { r.Keys[0].Used = 0 },
		"retired before use":    func(r *ring) { r.Keys[2].Retired = 5 },
		"current without seals": func(r *ring) { r.Keys[1].Sealer = nil },
	} {
		r := goldenRing()
		change(&r)
		if _, err := encodeRing(r); fault.Of(err) != fault.Integrity {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := decodeRing(nil)
	wantKind(t, err, fault.Integrity)
	_, err = decodeRing([]byte{ringVersion + 1})
	wantKind(t, err, fault.Unsupported)
}
