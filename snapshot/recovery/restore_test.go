package recovery

import (
	"bytes"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// aCopy is the state of a cluster with some tools and sessions, one of them ended.
func aCopy(t *testing.T, sessions int) (Copy, []byte) {
	t.Helper()
	s := newSurvivor(t, 10, 0)
	for i := range sessions {
		s.add(t, &fsm.CreateSession{Session: record.Session{
			ID: sessionID(i), Principal: alice, State: record.Initializing,
		}})
	}
	s.add(t, &fsm.MoveSession{ID: sessionID(0), To: record.Dead, ByAdmin: true, Reason: "test"})
	s.apply(t, len(s.entries))
	m, err := fsm.Open("state", fsm.Options{FS: s.fs})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	snap := fsm.SnapshotOf(view)
	defer snap.Close()
	state, err := StateOf(view)
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if _, err := snap.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	return Copy{State: state, FS: vfs.NewMem()}, stream.Bytes()
}

func sessionID(i int) string { return string(rune('A'+i/26)) + string(rune('A'+i%26)) }

func TestRestoreBeginsATimelineAndTheTimeOfSessions(t *testing.T) {
	c, stream := aCopy(t, 5)
	c.Stream = bytes.NewReader(stream)
	now := record.LogTimeAt(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	done, err := Restore(t.Context(), c, target, now)
	if err != nil {
		t.Fatal(err)
	}
	if done.Sessions != 4 || done.From != timeline || done.Timeline.Number != timeline.Number+1 || done.State.Index != c.State.Index+1 {
		t.Errorf("restored %+v of %+v", done, c.State)
	}
	m, err := fsm.Open(target.Dir, fsm.Options{FS: c.FS})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	meta := m.Meta()
	if meta.Timeline != done.Timeline || meta.Digest != done.Digest || string(meta.Configuration) != string(target.Configuration) || meta.ClusterID != cluster {
		t.Errorf("meta is %+v, restored %+v", meta, done)
	}
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	for s, err := range view.Sessions(0, "") {
		if err != nil {
			t.Fatal(err)
		}
		if s.State.Live() && s.LastActive < now || !s.State.Live() && s.LastActive >= now {
			t.Errorf("session %s is %v, last active at %v", s.ID, s.State, s.LastActive.Time())
		}
	}
	if _, err := view.WhereIs(0, record.TypeTool, "t9"); err != nil {
		t.Error(err)
	}
	c.Stream = bytes.NewReader(stream)
	if _, err := Restore(t.Context(), c, target, now); fault.Of(err) != fault.Conflict {
		t.Errorf("a second restore to the same place: %v", err)
	}
}

func TestNothingIsLeftOfARestoreThatFails(t *testing.T) {
	c, stream := aCopy(t, 2)
	other := c
	other.State.Digest[0] ^= 1
	wrong := map[string]Copy{"another digest": other}
	other = c
	other.State.Timeline.Number++
	wrong["another timeline"] = other
	other = c
	other.State.Index++
	wrong["another index"] = other
	for name, c := range wrong {
		for _, run := range []func() error{
			func() error { _, err := Restore(t.Context(), c, target, 1); return err },
			func() error { return Drill(t.Context(), c, "scratch") },
		} {
			c.Stream = bytes.NewReader(stream)
			if err := run(); fault.Of(err) != fault.Integrity {
				t.Errorf("%s: %v", name, err)
			}
		}
		if names, err := c.FS.List(""); err != nil || len(names) > 0 {
			t.Errorf("%s: left is %v, %v", name, names, err)
		}
	}
	c.Stream = bytes.NewReader(stream[:len(stream)-1])
	if err := Drill(t.Context(), c, "scratch"); fault.Of(err) != fault.Integrity {
		t.Errorf("a cut stream: %v", err)
	}
	c.Stream = bytes.NewReader(stream)
	if err := Drill(t.Context(), c, "scratch"); err != nil {
		t.Errorf("a right one: %v", err)
	}
}
