package archive

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/test/model/bubble"
	"github.com/mcpraft/mcpraft/test/model/solo"
	"github.com/mcpraft/mcpraft/wal"
)

// A world is one replica, one destination, and archivers that share them.
type world struct {
	t       *testing.T
	replica *solo.Replica
	store   *blobtest.Memory
	policy  seal.Policy
	logs    map[string]Log // of other nodes, by name
	raised  raised
	history []wal.Entry // every entry there ever was; filled by remember
	written int
	newest  uint64 // index of what was written last
}

func newWorld(t *testing.T) *world {
	key, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, replica: solo.New(t), store: blobtest.NewMemory(), logs: map[string]Log{}, raised: raised{set: map[string]string{}},
		policy: seal.Policy{Compression: seal.Zstd, Cipher: seal.AESGCM, Ring: seal.NewRing(key)},
	}
}

func (w *world) archiver(p PITR) *Archiver {
	p.Enabled = true
	return w.make(Options{PITR: p})
}

func (w *world) make(o Options) *Archiver {
	o.Store, o.Policy = w.store, w.policy
	b := New(Config{
		Options: o,
		Replica: w.replica, Actor: self, Node: solo.Node, Process: record.ID{1}, Creator: "test", Scratch: w.t.TempDir(),
	})
	return NewArchiver(b, ArchiverConfig{Log: w.replica, Peers: (*fakePeers)(w), Alarms: &w.raised, Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil))})
}

// lead runs the duties of an archiver until the function it returns is called.
func (w *world) lead(a *Archiver) (depose func()) { return w.serve(a.Run, a.Rebase) }

// serve runs duties until the function it returns is called.
func (w *world) serve(duties ...func(context.Context, raftnode.Term) error) (depose func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	for _, duty := range duties {
		running.Go(func() {
			for ctx.Err() == nil {
				if duty(ctx, 1) != nil {
					sleep(ctx, time.Second)
				}
			}
		})
	}
	return func() { cancel(); running.Wait() }
}

// write changes the state n times, with that many bytes each.
func (w *world) write(n, size int) {
	w.t.Helper()
	for range n {
		w.written++
		w.replica.Must(w.t, self, &fsm.RegisterEntry{Entry: record.Entry{
			Type: record.TypeTool, Key: fmt.Sprint("k", w.written), Metadata: map[string]string{"v": strings.Repeat("x", size)},
		}})
	}
	w.remember()
	w.newest = w.history[len(w.history)-1].Index
}

// remember keeps the log's entries for archived, before somebody cuts them.
func (w *world) remember() {
	w.t.Helper()
	span, err := w.replica.LogRange()
	if err != nil {
		w.t.Fatal(err)
	}
	from := span.First
	if n := len(w.history); n > 0 {
		from = max(from, w.history[n-1].Index+1)
	}
	for e, err := range w.replica.Entries(from, span.Applied) {
		if err != nil {
			w.t.Fatal(err)
		}
		w.history = append(w.history, e)
	}
}

func (w *world) place() record.Archive {
	w.t.Helper()
	view, err := w.replica.Machine.View()
	if err != nil {
		w.t.Fatal(err)
	}
	defer view.Close()
	a, err := view.Archive()
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) chain() wal.Chain {
	w.t.Helper()
	refs, err := wal.List(w.t.Context(), w.store, record.ID{2})
	if err != nil {
		w.t.Fatal(err)
	}
	chains := wal.Chains(refs)
	if len(chains) != 1 {
		w.t.Fatalf("%d chains", len(chains))
	}
	return chains[0]
}

// check reads the whole archive and compares it with the log, entry by entry. It
// must end where the cluster says.
func (w *world) check() wal.Chain {
	w.t.Helper()
	w.remember()
	c, at := w.chain(), w.place()
	var last wal.Ref
	for _, run := range c.Runs {
		for _, ref := range run {
			last = ref
			w.compare(ref)
		}
	}
	isTip := func(r wal.Ref) bool {
		return r.Last == at.Last && r.Sequence == at.Sequence && r.Tag == wal.TagOf(at.Hash)
	}
	if !isTip(last) && !slices.ContainsFunc(c.Orphans, isTip) { // two that were uploaded last look alike
		w.t.Errorf("the archive ends with %v, the cluster says segment %d, index %d", last, at.Sequence, at.Last)
	}
	return c
}

func (w *world) compare(ref wal.Ref) {
	w.t.Helper()
	want := slices.DeleteFunc(slices.Clone(w.history), func(e wal.Entry) bool { return e.Index < ref.First || e.Index > ref.Last })
	o, err := wal.Open(w.t.Context(), w.store, w.policy.Ring, ref)
	if err != nil {
		w.t.Fatal(err)
	}
	defer o.Close()
	n := 0
	for e, err := range o.Entries() {
		if err != nil {
			w.t.Fatal(err)
		}
		if n >= len(want) || e.Index != want[n].Index || e.Term != want[n].Term || e.LogTime != want[n].LogTime || !bytes.Equal(e.Data, want[n].Data) {
			w.t.Fatalf("%v: entry %d is not that of the log", ref, e.Index)
		}
		n++
	}
	if n != len(want) {
		w.t.Errorf("%v has %d entries of %d", ref, n, len(want))
	}
}

// archived reports whether everything that was written is archived.
func (w *world) archived() bool {
	w.t.Helper()
	return w.place().Last >= w.newest
}

// raised are the alarms.
type raised struct {
	mu   sync.Mutex
	set  map[string]string
	ever []string // in the order in which they were raised
}

func (r *raised) Raise(name, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.set[name] == "" {
		r.ever = append(r.ever, name)
	}
	r.set[name] = message
}

func (r *raised) Clear(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.set, name)
}

func (r *raised) now(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set[name]
}

// fakePeers are nodes that answer with the logs of the world; one whose log is nil
// does not answer.
type fakePeers world

func (*fakePeers) Handle(uint16, peer.Handler) {}

func (*fakePeers) Leader() (node, addr string, ok bool) { return solo.Node, "h:1", true }

func (p *fakePeers) Call(ctx context.Context, node string, op uint16, body []byte) ([]byte, error) {
	log := p.logs[node]
	if log == nil || op != opEntries {
		return nil, fault.New(fault.Unreachable, "node %s does not answer", node)
	}
	var q entriesRequest
	if err := record.Decode(body, &q); err != nil {
		return nil, err
	}
	a := Archiver{c: ArchiverConfig{Log: log}}
	answer, err := a.serveEntries(ctx, &q)
	if err != nil {
		return nil, err
	}
	return record.Encode(answer)
}

// TestArchiverInTime runs every story in one bubble.
func TestArchiverInTime(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		for _, s := range []struct {
			name string
			tell func(*world)
		}{
			{"a change is archived a flush interval later, and upkeep never by itself", changesAreArchivedInTime},
			{"much is archived at once, in segments of their size", muchIsArchivedAtOnce},
			{"a flush archives what was acknowledged", flushArchivesWhatWasAcknowledged},
			{"a dead destination for hours costs nothing but the lag", deadDestinationCostsNothing},
			{"a destination that changes bytes is not believed", changedBytesAreNotBelieved},
			{"two uploaders make one chain", twoUploadersMakeOneChain},
			{"leaders that change make one chain", changingLeadersMakeOneChain},
			{"what is on its way survives a cut of the log", whatIsOnItsWaySurvives},
			{"what this node lacks comes from another", entriesComeFromAnother},
			{"a node that does not answer is waited for, then there is a gap, which a backup closes", silentNodeIsWaitedFor},
			{"labels are archived with their segment", labelsAreArchived},
			{"the log is cut up to the archive, or when it is full", floorFollowsTheArchive},
			{"a backup that was taken away is taken again", lostBackupIsTakenAgain},
		} {
			t.Log(s.name)
			w := newWorld(t)
			s.tell(w)
			if t.Failed() {
				t.Fatalf("failed: %s", s.name)
			}
		}
	})
}

func changesAreArchivedInTime(w *world) {
	a := w.archiver(PITR{})
	defer w.lead(a)()
	w.write(3, 10)
	time.Sleep(DefaultFlush - time.Second)
	if lag, err := a.Lag(w.t.Context()); err != nil || lag.Age(time.Now()) != DefaultFlush-time.Second || lag.Entries != 5 {
		w.t.Errorf("lag is %+v, %v", lag, err)
	}
	time.Sleep(2 * time.Second)
	if at := w.place(); at.Last < 5 || len(w.store.Names()) == 0 {
		w.t.Errorf("not archived in time: %+v", at)
	}
	time.Sleep(time.Minute) // the first backup
	before := w.place()
	if before.Backup == nil || !before.Based() {
		w.t.Errorf("no backup to start from: %+v", before)
	}
	time.Sleep(24 * time.Hour)
	if at := w.place(); at.Sequence != before.Sequence {
		w.t.Errorf("a day of nothing made %d segments", at.Sequence-before.Sequence)
	}
	w.write(1, 10)
	time.Sleep(DefaultFlush + time.Second)
	if c := w.check(); len(c.Runs) != 1 || len(c.Orphans) != 0 || len(c.Gaps) != 0 {
		w.t.Errorf("chain is %+v", c)
	}
}

func muchIsArchivedAtOnce(w *world) {
	a := w.archiver(PITR{SegmentBytes: 100_000})
	w.write(100, 4000)
	defer w.lead(a)()
	time.Sleep(time.Second)
	if at := w.place(); at.Sequence < 3 || at.Sequence > 5 {
		w.t.Errorf("archived in %d segments", at.Sequence)
	}
	time.Sleep(DefaultFlush)
	w.check()
}

func flushArchivesWhatWasAcknowledged(w *world) {
	a := w.archiver(PITR{Flush: time.Hour})
	defer w.lead(a)()
	for range 3 {
		w.write(2, 10)
		start := time.Now()
		if err := a.Flush(w.t.Context()); err != nil || time.Since(start) > time.Second || !w.archived() {
			w.t.Errorf("Flush = %v after %v, archived %v", err, time.Since(start), w.archived())
		}
	}
	w.check()
	w.store.Inject(blobtest.Fault{Err: blobtest.ErrBusy})
	w.write(1, 10)
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := a.Flush(ctx); fault.Of(err) != fault.Timeout {
		w.t.Errorf("Flush into a dead destination = %v", err)
	}
}

func deadDestinationCostsNothing(w *world) {
	a := w.archiver(PITR{SegmentBytes: 20_000})
	defer w.lead(a)()
	w.write(1, 10)
	time.Sleep(time.Minute)
	for i, broken := range []blobtest.Fault{
		{Err: blobtest.ErrBusy},
		{Op: blobtest.Put, After: 100, Err: blobtest.ErrBroken},
		{Op: blobtest.Get, After: 100, Err: blobtest.ErrBroken},
		{Op: blobtest.Put, Delay: time.Hour},
	} {
		w.store.Inject(broken)
		begin := time.Now()
		for time.Since(begin) < 90*time.Minute {
			w.write(1, 1000)
			time.Sleep(2 * time.Minute)
		}
		if w.raised.now(raftnode.AlarmArchive) == "" {
			w.t.Errorf("fault %d raised no alarm", i)
		}
		lag, err := a.Lag(w.t.Context())
		if age := lag.Age(time.Now()); err != nil || age < 90*time.Minute || age > 93*time.Minute {
			w.t.Errorf("fault %d: lag is %v, %v", i, age, err)
		}
		w.store.Heal()
		time.Sleep(maxPause + deliverTimeout + DefaultFlush)
		if !w.archived() || w.raised.now(raftnode.AlarmArchive) != "" {
			w.t.Errorf("fault %d: archived %v, alarm %q", i, w.archived(), w.raised.now(raftnode.AlarmArchive))
		}
		if c := w.check(); len(c.Gaps) != 0 || len(c.Orphans) != 0 {
			w.t.Errorf("fault %d: chain is %+v", i, c)
		}
	}
}

func changedBytesAreNotBelieved(w *world) {
	a := w.archiver(PITR{})
	w.write(3, 10)
	w.store.Inject(blobtest.Fault{Op: blobtest.Get, Prefix: wal.Folder(record.ID{2}), Delay: 5 * time.Second, Count: 1})
	defer w.lead(a)()
	synctest.Wait()
	time.Sleep(DefaultFlush + 2*time.Second) // stored, and not yet read back
	name := w.store.Names()[0]
	data := w.store.Bytes(name)
	data[len(data)/2] ^= 1
	w.store.Set(name, data)
	time.Sleep(time.Minute)
	if c := w.check(); len(c.Orphans) != 1 || c.Orphans[0].Name() != name || len(c.Gaps) != 0 {
		w.t.Errorf("chain is %+v", c)
	}
}

func twoUploadersMakeOneChain(w *world) {
	a, b := w.archiver(PITR{SegmentBytes: 20_000}), w.archiver(PITR{SegmentBytes: 30_000})
	defer w.lead(a)()
	defer w.lead(b)()
	for range 50 {
		w.write(5, 1000)
		time.Sleep(3 * time.Second)
	}
	time.Sleep(DefaultFlush + time.Second)
	if c := w.check(); len(c.Runs) != 1 || len(c.Gaps) != 0 || !w.archived() {
		w.t.Errorf("%d runs, gaps %v", len(c.Runs), c.Gaps)
	}
}

func changingLeadersMakeOneChain(w *world) {
	for i := range 60 {
		w.store.Inject(blobtest.Fault{Delay: 300 * time.Millisecond})
		depose := w.lead(w.archiver(PITR{Flush: time.Second}))
		w.write(3, 1000)
		time.Sleep(time.Duration(i) * 100 * time.Millisecond)
		depose()
		w.store.Heal()
	}
	a := w.archiver(PITR{})
	defer w.lead(a)()
	time.Sleep(time.Minute)
	if c := w.check(); len(c.Runs) != 1 || len(c.Gaps) != 0 || !w.archived() {
		w.t.Errorf("%d runs, gaps %v", len(c.Runs), c.Gaps)
	}
}

func whatIsOnItsWaySurvives(w *world) {
	a := w.archiver(PITR{})
	defer w.lead(a)()
	w.write(3, 10)
	time.Sleep(time.Minute)
	first := w.place()
	w.store.Inject(blobtest.Fault{Err: blobtest.ErrBusy})
	w.write(10, 10)
	time.Sleep(time.Second)
	w.replica.Cut(first.Last + 8)
	time.Sleep(time.Hour)
	w.store.Heal()
	time.Sleep(2 * time.Minute)
	if at := w.place(); at.Gaps != 0 || !w.archived() {
		w.t.Errorf("archive is %+v", at)
	}
	w.check()
}

func entriesComeFromAnother(w *world) {
	w.write(300, 4000)
	span, err := w.replica.LogRange()
	if err != nil {
		w.t.Fatal(err)
	}
	w.member("b")
	w.remember()
	w.logs["b"] = keptLog(slices.Clone(w.history))
	w.replica.Must(w.t, self, &fsm.ArchiveAdvance{
		Timeline: record.Timeline{Number: 1, Salt: 0xabcd}, Sequence: 1, First: 1, Last: 2, Hash: record.Hash{1},
	})
	w.replica.Cut(span.Applied - 5)
	w.remember()
	a := w.archiver(PITR{SegmentBytes: 200_000})
	defer w.lead(a)()
	time.Sleep(time.Minute)
	if at := w.place(); at.Gaps != 0 || !w.archived() {
		w.t.Errorf("archive is %+v", at)
	}
	if c := w.check(); c.Runs[0].First() != 3 {
		w.t.Errorf("chain is %+v", c)
	}
}

func silentNodeIsWaitedFor(w *world) {
	a := w.archiver(PITR{})
	w.write(3, 10)
	if err := w.led(a, time.Minute); err != nil {
		w.t.Fatal(err)
	}
	first := w.place()
	w.member("b")
	w.write(10, 10)
	w.replica.Cut(first.Last + 8)
	defer w.lead(a)()
	time.Sleep(voterPatience - time.Minute)
	if at := w.place(); at.Gaps != 0 || at.Sequence != first.Sequence || w.raised.now(raftnode.AlarmArchive) == "" {
		w.t.Errorf("archive is %+v while a node may have the entries, alarm %q", at, w.raised.now(raftnode.AlarmArchive))
	}
	time.Sleep(3 * time.Minute)
	at := w.place()
	if at.Gaps != 1 || at.First != first.Last+9 || !at.Based() || !w.archived() {
		w.t.Errorf("archive is %+v", at)
	}
	if !slices.Contains(w.raised.ever, raftnode.AlarmGap) || w.raised.now(raftnode.AlarmGap) != "" {
		w.t.Errorf("alarms were %v, the gap is %q", w.raised.ever, w.raised.now(raftnode.AlarmGap))
	}
	c := w.check()
	if len(c.Runs) != 2 || len(c.Gaps) != 1 || !c.Gaps[0].Recorded || c.Gaps[0].First != first.Last+1 || c.Gaps[0].Last != first.Last+8 {
		w.t.Errorf("chain is %+v", c)
	}
}

func labelsAreArchived(w *world) {
	a := w.archiver(PITR{Flush: time.Hour})
	w.write(1, 10)
	at := w.replica.Must(w.t, self, &fsm.PutLabel{Name: "before-upgrade"})
	defer w.lead(a)()
	if err := a.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	labels, err := wal.Labels(w.t.Context(), w.store, record.ID{2})
	if err != nil || len(labels) != 1 || labels[0].Name != "before-upgrade" || labels[0].LogTime != record.LogTimeAt(at.Time.Time()) || labels[0].Index > w.place().Last {
		w.t.Errorf("labels are %+v, %v", labels, err)
	}
}

func floorFollowsTheArchive(w *world) {
	p := PITR{SpoolBytes: 50_000}
	f := NewFloor(p)
	if f.Index() != 0 {
		w.t.Error("cut before the node is there")
	}
	f.Attach(w.replica, w.replica)
	w.write(3, 1000)
	if f.Index() != 0 {
		w.t.Error("cut before anything is archived")
	}
	if err := w.led(w.archiver(p), time.Minute); err != nil {
		w.t.Fatal(err)
	}
	last := w.place().Last
	w.write(3, 1000)
	if f.Index() != last || last == 0 {
		w.t.Errorf("the floor is %d, the archive ends at %d", f.Index(), last)
	}
	w.write(50, 1000)
	if f.Index() < 1<<60 {
		w.t.Errorf("the floor is %d, though the log is full", f.Index())
	}
	f.pitr.KeepSpool = true
	if f.Index() != last {
		w.t.Errorf("the floor is %d, though the log is to be kept", f.Index())
	}
}

func lostBackupIsTakenAgain(w *world) {
	a := w.archiver(PITR{})
	w.write(3, 10)
	defer w.lead(a)()
	time.Sleep(time.Minute)
	old := w.place().Backup
	w.store.Set("v1/"+record.ID{2}.String()+"/manifest/"+old.ID+".json", nil)
	w.write(1, 10)
	time.Sleep(baseCheck + time.Minute)
	if now := w.place().Backup; now.ID == old.ID {
		w.t.Error("the lost backup is the newest")
	}
}

// led lets a lead for d.
func (w *world) led(a *Archiver, d time.Duration) error {
	depose := w.lead(a)
	time.Sleep(d)
	depose()
	_, err := a.Lag(w.t.Context())
	return err
}

// member adds a node to the cluster.
func (w *world) member(node string) {
	w.replica.Must(w.t, self, &fsm.PutMember{Member: record.Member{Node: node, Disk: record.ID{8}, Process: record.ID{9}, PeerAddr: "h:1"}})
}

// keptLog is the log of another node.
type keptLog []wal.Entry

func (l keptLog) LogRange() (raftnode.LogRange, error) {
	return raftnode.LogRange{First: l[0].Index, Applied: l[len(l)-1].Index}, nil
}

func (l keptLog) LogBytes() int64 { return 0 }

func (l keptLog) Entries(from, to uint64) iter.Seq2[wal.Entry, error] {
	return func(yield func(wal.Entry, error) bool) {
		for _, e := range l {
			if e.Index >= from && e.Index <= to && !yield(e, nil) {
				return
			}
		}
	}
}
