package fsm

import (
	"bytes"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// checkDigest compares the digest that Apply keeps with one of all pairs.
func checkDigest(t testing.TB, m *Machine) {
	t.Helper()
	var total sum
	var hash hasher
	for _, p := range dump(t, m) {
		total.add(hash.pair(p.key, p.value))
	}
	if got, want := m.Meta().Digest, total.digest(); got != want {
		t.Errorf("incremental digest at index %d is %v, that of all pairs is %v", m.Meta().Index, got, want)
	}
}

// checkCounters compares every counter with a count of what it counts, and every
// index key with the record that it leads to.
func checkCounters(t testing.TB, m *Machine) {
	t.Helper()
	want := make(map[string]uint64)
	indexes := make(map[string]bool)
	pairs := dump(t, m)
	for _, p := range pairs {
		scope := record.Scope(uint32(p.key[2])<<24 | uint32(p.key[3])<<16 | uint32(p.key[4])<<8 | uint32(p.key[5]))
		switch tableID(p.key[0]) {
		case tableEntry:
			if record.EntryType(p.key[6]) == record.TypeSession {
				want[string(sessionEntryCountKey(scope))]++
			}
		case tableSession:
			var s record.Session
			decodeTest(t, p, &s)
			if s.State.Live() {
				want[string(sessionCountKey(scope))]++
				want[string(sessionCountOfKey(scope, s.Principal))]++
			}
			for _, key := range sessions.indexes(scope, &s) {
				indexes[string(key)] = true
			}
		case tableCall:
			want[string(tableCallCount.key(scope))]++
		case tableToken:
			want[string(tableTokenCount.key(scope))]++
		case tableLabel:
			want[string(tableLabelCount.key(scope))]++
		case tableCredential:
			want[string(tableCredentialCount.key(scope))]++
		case tableIdempotency:
			var r remembered
			decodeTest(t, p, &r)
			want[string(idempotencyCountKey(scope))]++
			want[string(idempotencyCountOfKey(scope, r.Principal))]++
			for _, key := range idempotency.indexes(scope, &r) {
				indexes[string(key)] = true
			}
		}
	}
	for _, p := range pairs {
		switch tableID(p.key[0]) {
		case tableSessionEntryCount, tableSessionCount, tableSessionCountByUser, tableIdempotencyCount, tableIdempotencyCountByUser, tableCallCount, tableTokenCount, tableLabelCount, tableCredentialCount:
			n, err := decodeCount(p.value)
			if err != nil || n == 0 || n != want[string(p.key)] {
				t.Errorf("counter %q is %d (%v), a recount gives %d", p.key, n, err, want[string(p.key)])
			}
			delete(want, string(p.key))
		case tableSessionByUser, tableSessionByClient, tableSessionByState, tableSessionByOwner, tableIdempotencyByExpiry:
			if !indexes[string(p.key)] || len(p.value) != 0 {
				t.Errorf("index key %q leads to no record", p.key)
			}
			delete(indexes, string(p.key))
		}
	}
	for key, n := range want {
		t.Errorf("counter %q is missing, a recount gives %d", key, n)
	}
	for key := range indexes {
		t.Errorf("index key %q is missing", key)
	}
}

func decodeTest(t testing.TB, p pair, v any) {
	t.Helper()
	if err := record.Unmarshal(p.value, v); err != nil {
		t.Errorf("key %x: %v", p.key, err)
	}
}

func snapshotBytes(t testing.TB, m *Machine) []byte {
	t.Helper()
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b bytes.Buffer
	n, err := s.WriteTo(&b)
	if err != nil {
		t.Fatal(err)
	}
	size, err := s.Size()
	if err != nil || size != n || n != int64(b.Len()) {
		t.Errorf("snapshot has %d bytes, WriteTo counted %d, Size says %d (%v)", b.Len(), n, size, err)
	}
	return b.Bytes()
}
