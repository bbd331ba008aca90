package recovery

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/wal"
)

// A past is a cluster's history as the test lived through it, and the destination
// that was filled meanwhile.
type past struct {
	t       *testing.T
	rnd     *rand.Rand
	fs      vfs.FS
	m       *fsm.Machine
	store   *blobtest.Memory
	backups snapshot.Backups

	index, term uint64
	now         record.LogTime
	digests     map[uint64]record.Digest // after the entry of that index
	times       map[uint64]record.LogTime
	pending     []wal.Entry // not archived yet
	tip         wal.Segment
	keys        int
	sessions    int
	bases       []uint64
}

var start = record.LogTimeAt(time.Date(2026, 11, 16, 14, 0, 0, 0, time.UTC))

func newPast(t *testing.T, seed uint64) *past {
	t.Helper()
	key, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	p := &past{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), fs: vfs.NewMem(), store: blobtest.NewMemory(), term: 1, now: start,
		digests: map[uint64]record.Digest{}, times: map[uint64]record.LogTime{},
	}
	p.backups = snapshot.Backups{
		Store: p.store, Cluster: cluster, PartBytes: 64 << 10,
		Policy: seal.Policy{Compression: seal.Zstd, Cipher: seal.AESGCM, Ring: seal.NewRing(key)},
	}
	p.open()
	t.Cleanup(func() {
		if err := p.m.Close(); err != nil {
			t.Error(err)
		}
	})
	p.write(&fsm.EpochStart{Node: "n1", Process: record.ID{1}, Supports: fsm.MaxVersion})
	p.write(&fsm.InitCluster{ID: cluster, Name: "test", Timeline: timeline})
	p.backup()
	return p
}

func (p *past) open() {
	p.t.Helper()
	m, err := fsm.Open("live", fsm.Options{FS: p.fs})
	if err != nil {
		p.t.Fatal(err)
	}
	p.m = m
}

// write applies an entry of these commands, alone, and keeps it for the archive.
func (p *past) write(commands ...fsm.Command) {
	p.t.Helper()
	p.index += 1 + uint64(p.rnd.IntN(2)) // raft's own entries leave holes
	p.now += record.LogTime(p.rnd.IntN(3000)) << 16
	p.now++
	e := fsm.Envelope{Time: p.now}
	for _, c := range commands {
		e.Proposals = append(e.Proposals, fsm.Proposal{Actor: alice, Command: c})
	}
	data, err := e.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.m.Apply([]fsm.Entry{{Index: p.index, Term: p.term, Data: data}}); err != nil {
		p.t.Fatal(err)
	}
	p.pending = append(p.pending, wal.Entry{Index: p.index, Term: p.term, Kind: wal.Commands, LogTime: p.now, Data: data})
	p.digests[p.index], p.times[p.index] = p.m.Meta().Digest, p.now
}

// step is anything that may happen to a cluster.
func (p *past) step() {
	p.t.Helper()
	switch n := p.rnd.IntN(100); {
	case n < 40:
		p.keys++
		p.write(p.register(p.keys), p.register(p.keys+1_000_000))
	case n < 55 && p.keys > 0:
		p.write(&fsm.UnregisterEntry{Type: record.TypeTool, Key: fmt.Sprint("t", 1+p.rnd.IntN(p.keys))}) // often rejected
	case n < 70:
		p.write(&fsm.CreateSession{Session: record.Session{ID: sessionID(p.sessions), Principal: alice, State: record.Initializing}})
		p.sessions++
	case n < 78 && p.sessions > 0:
		p.write(&fsm.TouchSessions{Touches: []fsm.Touch{{ID: p.anySession(), LastActive: p.now}}})
	case n < 82 && p.sessions > 0:
		p.write(&fsm.MoveSession{ID: p.anySession(), To: record.Dead, ByAdmin: true, Reason: "test"})
	case n < 86: // another leader
		p.term++
		p.write(&fsm.EpochStart{Node: "n2", Process: record.ID{byte(p.term)}, Supports: fsm.MaxVersion})
	case n < 88: // a membership
		p.index++
		p.pending = append(p.pending, wal.Entry{Index: p.index, Term: p.term, Kind: wal.Configuration, Data: []byte("three voters")})
	case n < 91:
		c := &fsm.DigestCheck{}
		if checks := p.m.Checks(); len(checks) > 0 {
			c.At, c.Digest = checks[len(checks)-1].Index, checks[len(checks)-1].Digest
		}
		p.write(c)
	case n < 93: // a restart
		if err := p.m.Close(); err != nil {
			p.t.Fatal(err)
		}
		p.open()
	case n < 98:
		p.cut()
	default:
		p.cut() // a backup of what is not archived yet is restored, too, but has no run
		p.backup()
	}
}

func (p *past) register(i int) fsm.Command {
	return &fsm.RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: fmt.Sprint("t", i), Location: strings.Repeat("x", p.rnd.IntN(200)), Principal: alice}}
}

func (p *past) anySession() string { return sessionID(p.rnd.IntN(p.sessions)) }

// cut archives what is pending as one segment.
func (p *past) cut() {
	p.t.Helper()
	if len(p.pending) == 0 {
		return
	}
	h := wal.Header{Cluster: cluster, Timeline: timeline, Sequence: p.tip.Header.Sequence + 1, First: p.tip.Footer.Last + 1, Previous: p.tip.Hash}
	h.FirstTime = p.pending[0].LogTime
	if h.FirstTime == 0 {
		h.FirstTime = p.tip.Footer.LastTime
	}
	var b bytes.Buffer
	w, err := wal.NewWriter(&b, p.backups.Policy, h)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range p.pending {
		if err := w.Append(e); err != nil {
			p.t.Fatal(err)
		}
	}
	if p.tip, err = w.Finish(p.index); err != nil {
		p.t.Fatal(err)
	}
	p.pending = nil
	if err := p.store.Put(p.t.Context(), p.tip.Ref().Name(), &b, blob.IfAbsent); err != nil {
		p.t.Fatal(err)
	}
}

func (p *past) backup() {
	p.t.Helper()
	view, err := p.m.View()
	if err != nil {
		p.t.Fatal(err)
	}
	stream := fsm.SnapshotOf(view)
	defer stream.Close()
	state, err := StateOf(view)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.backups.Save(p.t.Context(), state, stream, snapshot.Origin{}); err != nil {
		p.t.Fatal(err)
	}
	p.bases = append(p.bases, state.Index)
}

func (p *past) history() *History {
	p.t.Helper()
	h, err := ReadHistory(p.t.Context(), p.backups)
	if err != nil {
		p.t.Fatal(err)
	}
	return h
}

// at is the digest after the last entry up to index, and that entry.
func (p *past) at(index uint64) (uint64, record.Digest) {
	for ; ; index-- {
		if d, ok := p.digests[index]; ok {
			return index, d
		}
	}
}

func live(t *testing.T, seed uint64, steps int) *past {
	p := newPast(t, seed)
	for range steps {
		p.step()
	}
	p.cut()
	return p
}

func restoreTo(t *testing.T, h *History, u Until, o ReplayOptions) (Reached, error) {
	t.Helper()
	plan, err := h.Plan(t.Context(), u)
	if err != nil {
		return Reached{}, err
	}
	o.FS = vfs.NewMem()
	return plan.Run(t.Context(), target, start, o)
}

// points is how many points the property looks at: PITR_POINTS, or 50.
func points(t *testing.T) int {
	text := os.Getenv("PITR_POINTS")
	if text == "" {
		return 50
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Of random histories with sessions, registry writes, leader changes, memberships
// and restarts, any point that is restored has the digest that the cluster had
// there, applied one entry at a time.
func TestAnyPointIsRestoredAsItWas(t *testing.T) {
	const perHistory = 25
	for done := 0; done < points(t); done += perHistory {
		seed := uint64(done + 1)
		p := live(t, seed, 400)
		h := p.history()
		for range perHistory {
			index := p.bases[0] + uint64(p.rnd.Int64N(int64(p.index-p.bases[0]+1)))
			entry, want := p.at(index)
			u := Until{Index: index}
			if p.rnd.IntN(2) == 0 {
				at := p.times[entry].Time()
				u = Until{Time: at}
				for i := entry + 1; i <= p.index; i++ { // others of the same millisecond
					if w, ok := p.times[i]; ok && w.Time().Equal(at) {
						want = p.digests[i]
					}
				}
			}
			done, err := restoreTo(t, h, u, ReplayOptions{})
			if err != nil || done.Reached != want {
				t.Fatalf("seed %d, %v (entry %d of %d): digest %v, want %v; %v", seed, u, entry, p.index, done.Reached, want, err)
			}
		}
	}
}

func TestTheWindowIsToldWhenATargetIsOutside(t *testing.T) {
	p := live(t, 7, 100)
	h := p.history()
	for _, u := range []Until{
		{Index: p.bases[0] - 1},
		{Index: p.index + 1},
		{Time: start.Time().Add(-time.Hour)},
		{Time: p.now.Time().Add(time.Second)},
		{Label: "none"},
		{Index: p.index, Timeline: record.Timeline{Number: 9, Salt: 9}},
	} {
		_, err := h.Plan(t.Context(), u)
		if fault.Of(err) != fault.NotFound {
			t.Errorf("%v: %v", u, err)
		}
		if u.Label == "" && !strings.Contains(err.Error(), fmt.Sprintf("index %d to %d of timeline %s", p.bases[0], p.index, timeline)) {
			t.Errorf("%v: the window is not told: %v", u, err)
		}
	}
	if _, err := h.Plan(t.Context(), Until{Index: 3, Latest: true}); fault.Of(err) != fault.Invalid {
		t.Errorf("two targets: %v", err)
	}
}

func TestThePlanSaysWhatIsUndone(t *testing.T) {
	p := live(t, 3, 50)
	p.cut()
	before := p.index
	label := wal.Label{Cluster: cluster, Timeline: timeline, Index: before, LogTime: record.LogTimeAt(p.now.Time()), Name: "before"}
	if err := wal.PutLabel(t.Context(), p.store, label); err != nil {
		t.Fatal(err)
	}
	p.write(&fsm.MoveSession{ID: sessionID(0), To: record.Dead, ByAdmin: true})
	p.write(p.register(77), p.register(78))
	p.cut()
	h := p.history()
	plan, err := h.Plan(t.Context(), Until{Label: "before"})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Index != before || plan.Undone.Commands["RegisterEntry"] != 2 || plan.Undone.Commands["MoveSession"] != 1 || plan.To.Number != timeline.Number+1 {
		t.Errorf("plan = index %d, undone %+v, to %v; want index %d", plan.Index, plan.Undone, plan.To, before)
	}
	latest, err := h.Plan(t.Context(), Until{Latest: true})
	if err != nil || latest.Index != p.index || len(latest.Undone.Commands) > 0 {
		t.Errorf("latest = %+v, %v", latest, err)
	}
}

// A damaged base is passed over; a damaged segment ends the restore, or stops it at
// the last entry in front of the damage.
func TestDamageRefusesOrStopsExactlyBefore(t *testing.T) {
	p := live(t, 11, 300)
	h := p.history()
	refs := h.Chains[0].Runs[0]
	victim := refs[len(refs)/2]
	whole := bytes.Clone(p.store.Bytes(victim.Name()))
	for _, at := range []int{3, len(whole) / 3, len(whole) / 2, len(whole) - 2} {
		p.store.Set(victim.Name(), flipped(whole, at))
		for _, u := range []Until{{Index: victim.Last}, {Latest: true}} {
			if u.Latest && p.bases[len(p.bases)-1] > victim.Last {
				continue // restored from a base behind the damage
			}
			_, err := restoreTo(t, h, u, ReplayOptions{})
			if fault.Of(err) != fault.Integrity || !strings.Contains(err.Error(), fmt.Sprint("segment ", victim.Sequence)) {
				t.Errorf("byte %d, %v: %v", at, u, err)
			}
			done, err := restoreTo(t, h, u, ReplayOptions{StopBeforeDamage: true})
			if err != nil || done.Stopped == nil {
				t.Fatalf("byte %d, %v, stopping: %v", at, u, err)
			}
			ok := false // it is the state at some entry in front of or in the segment
			for i := victim.First - 1; i < victim.Last && !ok; i++ {
				ok = p.digests[i] == done.Reached
			}
			if _, d := p.at(victim.First - 1); !ok && d != done.Reached {
				t.Errorf("byte %d, %v: stopped at a state that never was", at, u)
			}
		}
	}
	p.store.Set(victim.Name(), whole)
	base := h.bases(timeline)[0]
	name := fmt.Sprintf("v1/%s/state/%s/0001.state", cluster, base.ID)
	p.store.Set(name, flipped(p.store.Bytes(name), 100))
	_, want := p.at(p.index)
	told := ""
	done, err := restoreTo(t, h, Until{Index: p.index}, ReplayOptions{Note: func(s string) { told = s }})
	if err != nil || done.Reached != want || done.Base == base.ID || !strings.Contains(told, base.ID) {
		t.Errorf("with a damaged base: from %s, digest %v want %v, told %q, %v", done.Base, done.Reached, want, told, err)
	}
}

func flipped(data []byte, at int) []byte {
	data = bytes.Clone(data)
	data[at] ^= 1
	return data
}

// A recorded digest that is not the replayed one is never passed.
func TestADigestOnTheWayMustMatch(t *testing.T) {
	p := live(t, 5, 60)
	p.write(&fsm.DigestCheck{})
	c := p.m.Checks()[len(p.m.Checks())-1]
	c.Digest[0] ^= 1
	p.write(&fsm.DigestCheck{At: c.Index, Digest: c.Digest})
	p.cut()
	if _, err := restoreTo(t, p.history(), Until{Latest: true}, ReplayOptions{StopBeforeDamage: true}); fault.Of(err) != fault.Integrity || !strings.Contains(err.Error(), "digest") {
		t.Errorf("a wrong digest is passed: %v", err)
	}
}

// A drill restores the base before, replays up to the newest backup, and compares.
func TestADrillReplaysOneBackupToTheNext(t *testing.T) {
	p := live(t, 5, 60)
	p.backup()
	newest := p.history().List
	last := newest[len(newest)-1]
	plan, err := p.history().Plan(t.Context(), Until{Index: last.State.Index, Before: last.State.Index})
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	done, err := plan.Drill(t.Context(), "scratch", last.State, ReplayOptions{FS: fs})
	if err != nil || done.Entries == 0 {
		t.Errorf("drill = %+v, %v", done, err)
	}
	wrong := last.State
	wrong.Digest[3] ^= 1
	if _, err := plan.Drill(t.Context(), "scratch", wrong, ReplayOptions{FS: fs}); fault.Of(err) != fault.Integrity {
		t.Errorf("a wrong digest passes: %v", err)
	}
	if names, err := fs.List(""); err != nil || len(names) > 0 {
		t.Errorf("left is %v, %v", names, err)
	}
}

func TestClustersOfADestinationAreFound(t *testing.T) {
	p := live(t, 5, 20)
	for _, id := range []string{"v1/x/y", "v2/z", "v1/" + (record.ID{9}).String() + "/manifest/a.json", "v1/" + (record.ID{9}).String() + "/wal/b"} {
		if err := p.store.Put(t.Context(), id, io.LimitReader(strings.NewReader("x"), 1), blob.Replace); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := Clusters(t.Context(), p.store)
	if err != nil || len(ids) != 2 || ids[0] != cluster || ids[1] != (record.ID{9}) {
		t.Errorf("Clusters = %v, %v", ids, err)
	}
}
