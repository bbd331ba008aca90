package fsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/zeebo/xxh3"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestIdempotencyKeysAreCappedAndSwept(t *testing.T) {
	m := newTest(t)
	send := func(actor string, n int, stamp record.LogTime) Outcome {
		p := Proposal{
			Actor: record.Principal{Issuer: "dev", Subject: actor}, Idempotency: &Idempotency{Route: "r", Key: fmt.Sprint(n)},
			Command: &PutSessionSettings{Settings: record.DefaultSessionSettings()},
		}
		results, err := m.Apply([]Entry{envelopeEntry(t, m.Meta().Index+1, stamp, p)})
		if err != nil {
			t.Fatal(err)
		}
		return results[0][0]
	}
	for n := range MaxIdempotencyPerPrincipal {
		if o := send("alice", n, 0); o.Kind != 0 || o.Replayed {
			t.Fatalf("key %d: %+v", n, o)
		}
	}
	if o := send("alice", MaxIdempotencyPerPrincipal, 0); o.Kind != fault.Quota {
		t.Errorf("one key above the limit: %+v", o)
	}
	if o := send("alice", 5, 0); !o.Replayed {
		t.Errorf("a known key at the limit: %+v", o)
	}
	if o := send("bob", 0, 0); o.Kind != 0 {
		t.Errorf("another principal at the limit of the first: %+v", o)
	}

	late := m.Meta().LogTime.Add(IdempotencyTTL)
	var expired []IdempotencyID
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	for id, err := range v.ExpiredIdempotency(0, late) {
		if err != nil {
			t.Fatal(err)
		}
		if expired = append(expired, id); len(expired) == MaxBatchItems {
			break
		}
	}
	v.Close()
	results, err := m.Apply([]Entry{envelopeEntry(t, m.Meta().Index+1, late, propose(&SweepIdempotency{Keys: expired}), propose(&SweepIdempotency{Keys: expired[:10]}))})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Counts{{Changed: MaxBatchItems}, {Skipped: 10}} {
		if got, err := results[0][i].Counts(); err != nil || got != want {
			t.Errorf("sweep %d: %+v, %v, want %+v", i, got, err, want)
		}
	}
	checkDigest(t, m)
	checkCounters(t, m)
	if o := send("alice", MaxIdempotencyPerPrincipal, 0); o.Kind != 0 {
		t.Errorf("a key after the sweep: %+v", o)
	}
}

func TestSweepMaySweepItsOwnKey(t *testing.T) {
	m := newTest(t)
	key := &Idempotency{Route: "r", Key: "k"}
	for i, want := range []Counts{{Skipped: 1}, {Changed: 1}, {Changed: 1}} {
		p := Proposal{Actor: testActor, Idempotency: key, Command: &SweepIdempotency{Keys: []IdempotencyID{key.id(testActor)}}}
		stamp := record.LogTime(0).Add(time.Duration(i+1) * 2 * IdempotencyTTL)
		results, err := m.Apply([]Entry{envelopeEntry(t, m.Meta().Index+1, stamp, p)})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := results[0][0].Counts(); err != nil || got != want {
			t.Errorf("sweep %d: %+v, %v, want %+v", i, got, err, want)
		}
		checkDigest(t, m)
		checkCounters(t, m)
	}
}

func TestChecksKeepTheNewest(t *testing.T) {
	fs := vfs.NewMem()
	m := openTest(t, fs)
	var want []Check
	for range MaxChecks + 5 {
		accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: fmt.Sprint(len(want))}})
		before := m.Meta().Digest
		accepted(t, m, &DigestCheck{})
		want = append(want, Check{Index: m.Meta().Index, Digest: before})
	}
	want = want[len(want)-MaxChecks:]
	if got := m.Checks(); !slices.Equal(got, want) {
		t.Errorf("checks are %v, want %v", got, want)
	}
	closeTest(t, m)
	m = openTest(t, fs)
	defer closeTest(t, m)
	if got := m.Checks(); !slices.Equal(got, want) {
		t.Errorf("checks after a restart are %v, want %v", got, want)
	}
	// The leader's check agrees with ours, or speaks of one that we do not know.
	accepted(t, m, &DigestCheck{At: want[3].Index, Digest: want[3].Digest}, &DigestCheck{At: 1, Digest: record.Digest{9}})
	if mm := m.Mismatch(); mm != nil {
		t.Errorf("mismatch: %v", mm)
	}
}

// TestDiskErrorIsFatal: a disk that refuses a sync stops the node.
func TestDiskErrorIsFatal(t *testing.T) {
	broken := errors.New("input/output error")
	var failing atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if failing.Load() {
				return broken
			}
		}
		return nil
	}))
	told := make(chan error, 10)
	o := testOptions(t, fs)
	o.Fatal = func(err error) { told <- err }
	m, err := Open("state", o)
	if err != nil {
		t.Fatal(err)
	}
	accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "k"}})
	failing.Store(true)
	durable := m.DurableIndex()
	if err := m.Sync(); err == nil || m.DurableIndex() != durable {
		t.Errorf("a sync that failed: %v, durable index %d", err, m.DurableIndex())
	}
	if len(told) == 0 {
		t.Fatal("nobody was told")
	}
	p := propose(&RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "k2"}})
	if _, err := m.Apply([]Entry{envelopeEntry(t, 2, 0, p)}); err == nil || m.Meta().Index != 1 {
		t.Errorf("apply after a failed sync: %v, index %d", err, m.Meta().Index)
	}
	if err := <-told; fault.Of(err) != fault.Integrity || !errors.Is(err, broken) && !strings.Contains(err.Error(), broken.Error()) {
		t.Errorf("told %v", err)
	}
}

func TestMessagesFitAnOutcome(t *testing.T) {
	m := newTest(t)
	long := strings.Repeat("ü", record.MaxKey/2)
	accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: long}})
	o := applyAll(t, m, propose(&RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: long}}))[0]
	data, err := record.Encode(o)
	if err != nil || len(data) > MaxOutcomeBytes || !strings.Contains(o.Message, "exists already") {
		t.Errorf("outcome has %d bytes: %q, %v", len(data), o.Message, err)
	}
	if o.Err() == nil || fault.Of(o.Err()) != fault.Conflict {
		t.Errorf("outcome as an error: %v", o.Err())
	}
}

func TestHotCacheIsBounded(t *testing.T) {
	c := newHotCache()
	value := make([]byte, 1<<20)
	set := func(key string, value []byte) { c.set(xxh3.HashString(key), key, value) }
	for i := range 100 {
		set(fmt.Sprint(i), value)
	}
	total := 0
	for i := range c.pairs {
		for _, s := range c.pairs[i] {
			total += len(s.key) + len(s.value)
		}
	}
	if total > hotBytes || total != c.bytes {
		t.Errorf("cache holds %d bytes, counts %d, the limit is %d", total, c.bytes, hotBytes)
	}
	for i := range 100 {
		set("last", value[:i])
	}
	if v, ok := c.get(xxh3.HashString("last"), "last"); !ok || len(v) != 99 {
		t.Errorf("the newest has %d bytes, %v", len(v), ok)
	}
	set("last", nil)
	if _, ok := c.get(xxh3.HashString("last"), "last"); ok {
		t.Error("a deleted record is still there")
	}
}

// Two keys of one pair of slots stay both; a third drives out the older.
func TestHotCacheTellsKeysOfOnePairApart(t *testing.T) {
	c := newHotCache()
	c.set(7, "a", []byte{1})
	c.set(7, "b", []byte{2})
	c.set(7, "a", []byte{3})
	for key, want := range map[string]byte{"a": 3, "b": 2} {
		if v, ok := c.get(7, key); !ok || v[0] != want {
			t.Errorf("%s is %v, %v; want %d", key, v, ok, want)
		}
	}
	c.set(7, "c", []byte{4})
	_, a := c.get(7, "a")
	_, b := c.get(7, "b")
	if c.set(7, "c", nil); a == b || c.bytes != 2 {
		t.Errorf("a is kept: %v, b: %v, %d bytes", a, b, c.bytes)
	}
}
