package fsm

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// Helpers of the tests of this package.

var testActor = record.Principal{Issuer: "https://idp.example", Subject: "alice"}

func testID(n int) (id record.ID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

func testOptions(t testing.TB, fs vfs.FS) Options {
	return Options{
		FS:            fs,
		CacheBytes:    1 << 20,
		MemTableBytes: 1 << 20,
		Fatal:         func(err error) { t.Errorf("fatal: %v", err) },
		Notice:        func(s string) { t.Log(s) },
	}
}

func openTest(t testing.TB, fs vfs.FS) *Machine {
	t.Helper()
	m, err := Open("state", testOptions(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newTest(t testing.TB) *Machine {
	t.Helper()
	m := openTest(t, vfs.NewMem())
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// envelopeEntry is an entry of term 1 with these commands.
func envelopeEntry(t testing.TB, index uint64, stamp record.LogTime, proposals ...Proposal) Entry {
	t.Helper()
	data, err := (&Envelope{Time: stamp, Proposals: proposals}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return Entry{Index: index, Term: 1, Data: data}
}

func propose(c Command) Proposal { return Proposal{Actor: testActor, Command: c} }

// applyAll applies commands as the next entry and returns their outcomes.
func applyAll(t testing.TB, m *Machine, proposals ...Proposal) Result {
	t.Helper()
	results, err := m.Apply([]Entry{envelopeEntry(t, m.Meta().Index+1, 0, proposals...)})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

func accepted(t testing.TB, m *Machine, commands ...Command) Result {
	t.Helper()
	var proposals []Proposal
	for _, c := range commands {
		proposals = append(proposals, propose(c))
	}
	result := applyAll(t, m, proposals...)
	for i, o := range result {
		if o.Kind != 0 {
			t.Fatalf("%s is rejected: %v: %s", CommandName(commands[i]), o.Kind, o.Message)
		}
	}
	return result
}

// dump is every replicated pair of the newest state.
func dump(t testing.TB, m *Machine) []pair {
	t.Helper()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var pairs []pair
	for kv, err := range scanRange(v.snap, replicatedLower, replicatedUpper) {
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, pair{append([]byte{}, kv.key...), append([]byte{}, kv.value...)})
	}
	return pairs
}

// fingerprint is every replicated pair and the meta in one text.
func fingerprint(t testing.TB, m *Machine) string {
	t.Helper()
	var s strings.Builder
	fmt.Fprintf(&s, "%+v\n", m.Meta())
	for _, p := range dump(t, m) {
		fmt.Fprintf(&s, "%x %x\n", p.key, p.value)
	}
	return s.String()
}

func testSession(n int, p record.Principal) record.Session {
	return record.Session{
		ID: fmt.Sprintf("session-%08d-0123456789abcdef", n), Principal: p, ClientID: "client-1",
		State: record.Initializing, TTL: 1_800_000, Protocol: "2025-06-18",
		Capabilities: []byte(`{"roots":{"listChanged":true},"sampling":{}}`),
		OwnerNode:    "node-1", Transport: "streamable-http", AuthMethod: "jwt",
	}
}
