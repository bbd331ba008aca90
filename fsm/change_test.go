package fsm

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// Who keeps copies of records relies on this: a change is told when a View can
// see it, and before Apply returns.
func TestChangesAreToldWhenTheyCanBeSeen(t *testing.T) {
	var m *Machine
	var told []Change
	m, err := Open("state", Options{FS: vfs.NewMem(), Changed: func(list []Change) {
		told = append(told, list...)
		v, err := m.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if list[0].Noun == ChangedUpstream {
			if _, err := v.Upstream(7, list[0].Key); err != nil {
				t.Errorf("told of %+v, but: %v", list[0], err)
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s := testSession(1, testActor)
	put := propose(&PutUpstream{Upstream: record.Upstream{Alias: "files", Transport: "stdio", Command: "files"}})
	put.Scope = 7
	steps := []struct {
		p    Proposal
		want []Change
	}{
		{put, []Change{{ChangedUpstream, 7, "files"}}},
		{put, nil}, // rejected
		{propose(&CreateSession{Session: s}), []Change{{ChangedSession, 0, s.ID}}},
		{propose(&BindSession{ID: s.ID, Binding: testBinding()}), []Change{{ChangedSession, 0, s.ID}}},
		{propose(&PutToken{Token: record.Token{Name: "ci", Hash: make([]byte, record.TokenHashBytes), Principal: testActor}}), []Change{{ChangedToken, 0, "ci"}}},
		{propose(&RevokeToken{Name: "ci"}), []Change{{ChangedToken, 0, "ci"}}},
		{propose(&PutCredential{Credential: record.Credential{Name: "c", Kind: record.CredentialHeader, Secret: []byte("s")}}), []Change{{ChangedCredential, 0, "c"}}},
		{propose(&RemoveCredential{Name: "c"}), []Change{{ChangedCredential, 0, "c"}}},
		{propose(&PutKeyRing{Ring: record.KeyRing{Sealed: []byte("k")}}), []Change{{ChangedKeyRing, 0, ""}}},
		{propose(&RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "k"}}), nil},
	}
	for i, step := range steps {
		told = nil
		if _, err := m.Apply([]Entry{envelopeEntry(t, uint64(i+1), 0, step.p)}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(told, step.want) {
			t.Errorf("%s told %+v, want %+v", CommandName(step.p.Command), told, step.want)
		}
	}
	told = nil
	if err := m.Restore(bytes.NewReader(snapshotBytes(t, m)), Installed{}); err != nil {
		t.Fatal(err)
	}
	if want := []Change{{Noun: ChangedAll}}; !slices.Equal(told, want) {
		t.Errorf("a restore told %+v, want %+v", told, want)
	}
}
