package fsm

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// Options of a Machine.
type Options struct {
	FS            vfs.FS // nil means the disk
	CacheBytes    int64  // of Pebble's block cache; 0 means 128 MiB
	MemTableBytes int64  // of one memtable, of which there are at most maxMemTables; 0 means 64 MiB

	// Fatal is told of a failure from which this process cannot recover: the
	// state cannot be written, or is damaged. It says why and exits; if it
	// returns, nothing that the Machine does after it can be relied on. It may be
	// called from any goroutine. nil means panic.
	Fatal func(error)

	// Notice is told, in words for people, what the disk does that somebody should
	// know: a stall, a slow write, background work that is tried again. It may be
	// called from any goroutine and must not block. nil means silence.
	Notice func(string)

	// Changed is told which followed records an Apply wrote or removed, after they
	// can be seen and before Apply returns; of a restore it is told ChangedAll. A
	// record may be named more than once. It is called where Apply is and must not
	// block. nil means nobody follows.
	Changed func([]Change)
}

func (o Options) withDefaults() *Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 128 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 64 << 20
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	if o.Changed == nil {
		o.Changed = func([]Change) {}
	}
	return &o
}

// A Machine is the replicated state of one node.
//
// Apply and Restore are for one goroutine, the one that gets the log's entries.
// All else may be called from any goroutine at any time, between Open and Close.
//
// Durability is the log's: Apply leaves its changes to the operating system, in
// the order of entries. After a crash the state is that of some prefix of what
// was applied, not shorter than at the last Sync, and the log has the rest.
type Machine struct {
	dir    string
	o      *Options
	blocks *pebble.Cache

	// applying serialises whatever changes the state; it is taken before mu.
	applying sync.Mutex
	state    *state
	retired  []*store // replaced by restores, perhaps still in use
	broken   error    // not nil: the fault after which everything is refused

	mu      sync.RWMutex // guards current and closed; held for pointers only
	current *store
	closed  bool

	newest    newest
	meta      atomic.Pointer[Meta]
	checks    atomic.Pointer[checkList]
	durable   atomic.Uint64
	hotHits   atomic.Uint64
	hotMisses atomic.Uint64
}

// state is what a Machine holds in memory of its current store. A restore makes
// a new one.
type state struct {
	store   *store
	hot     *hotCache
	keys    *keyFilter
	windows map[record.ID]*window
	cells   map[string]int // of the last batch, to be used again
	order   []cell         // the same
}

type checkList struct {
	list     []Check
	mismatch *Mismatch
}

// Open opens the state in dir, or makes an empty one. It removes what a crash
// in the middle of a restore left behind.
func Open(dir string, options Options) (*Machine, error) {
	m := &Machine{dir: dir, o: options.withDefaults()}
	m.blocks = newBlockCache(m.o)
	if err := m.open(); err != nil {
		m.blocks.Unref()
		return nil, err
	}
	return m, nil
}

func (m *Machine) open() error {
	fs := m.o.FS
	if err := makeDir(fs, m.dir); err != nil {
		return err
	}
	number, err := readPointer(fs, m.dir)
	if err != nil {
		return err
	}
	if number == 0 {
		number = firstDB
		if err := writePointer(fs, m.dir, number); err != nil {
			return err
		}
	}
	s, err := openStore(m.dir, number, m.o, m.blocks)
	if err != nil {
		return err
	}
	// Pebble holds the lock of the directory now: nobody else builds one.
	if err := m.adopt(s); err != nil {
		s.release()
		return err
	}
	if err := removeStale(fs, m.dir, number); err != nil {
		m.o.Notice("leftovers of a restore cannot be removed: " + err.Error())
	}
	return nil
}

// makeDir makes dir and its entry in its parent survive a power failure.
func makeDir(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(dir))
}

// adopt makes s the current store and reads what is held in memory.
func (m *Machine) adopt(s *store) error {
	// What was read back from the WAL may lie in the page cache only.
	if err := s.db.Flush(); err != nil {
		return err
	}
	meta, err := readMeta(s.db, nil)
	if err != nil {
		return err
	}
	windows, err := loadWindows(s.db)
	if err != nil {
		return err
	}
	checks, err := loadChecks(s.db)
	if err != nil {
		return err
	}
	keys, err := loadFilter(s.db)
	if err != nil {
		return err
	}
	m.state = &state{store: s, hot: newHotCache(), keys: keys, windows: windows, cells: make(map[string]int)}
	m.mu.Lock()
	m.current = s
	m.meta.Store(&meta)
	m.checks.Store(checks)
	m.durable.Store(meta.Index)
	m.mu.Unlock()
	m.newest.forget()
	return nil
}

// Apply applies committed entries in the order of the log and commits all their
// effects as one batch. Entries at or below the applied index have an empty
// Result. An error is a fault: nothing of these entries is applied, and the
// Machine refuses every call of Apply and Restore from then on.
func (m *Machine) Apply(entries []Entry) ([]Result, error) {
	m.applying.Lock()
	defer m.applying.Unlock()
	if m.broken != nil {
		return nil, m.broken
	}
	results, err := m.apply(entries)
	if err != nil {
		m.broken = err
	}
	return results, err
}

func (m *Machine) apply(entries []Entry) ([]Result, error) {
	t := m.begin()
	defer t.batch.Close()
	results := make([]Result, len(entries))
	for i := range entries {
		if entries[i].Index <= t.meta.Index {
			continue
		}
		result, err := t.applyEntry(&entries[i])
		if err != nil {
			return nil, fault.New(fault.Of(err), "entry %d of the log, term %d, cannot be applied: %w", entries[i].Index, entries[i].Term, err)
		}
		results[i] = result
	}
	if t.meta.Index == m.meta.Load().Index {
		return results, nil
	}
	return results, m.commit(t)
}

func (m *Machine) begin() *tx {
	meta, checks := *m.meta.Load(), m.checks.Load()
	clear(m.state.cells)
	return &tx{
		state:    m.state,
		batch:    m.state.store.db.NewBatch(),
		cells:    m.state.cells,
		order:    m.state.order[:0],
		meta:     meta,
		sum:      sumOf(meta.Digest),
		checks:   checks.list,
		mismatch: checks.mismatch,
	}
}

func (m *Machine) commit(t *tx) error {
	t.meta.Digest = t.sum.digest()
	if err := writeMeta(t.batch, t.meta, t.reconfigured); err != nil {
		return err
	}
	t.storeChecks()
	t.write()
	if t.err != nil {
		return t.err
	}
	if err := t.batch.Commit(pebble.NoSync); err != nil {
		return fault.New(fault.Integrity, "the state cannot be written: %w", err).
			WithHint("check the disk, then start the node again; it re-reads its log")
	}
	if err := m.state.store.failure(); err != nil {
		return err
	}
	t.settle()
	m.state.order = t.order
	m.meta.Store(&t.meta)
	m.newest.forget()
	if t.checked {
		m.checks.Store(&checkList{t.checks, t.mismatch})
	}
	m.hotHits.Add(t.hits)
	m.hotMisses.Add(t.misses)
	if len(t.changes) > 0 {
		m.o.Changed(t.changes)
	}
	return nil
}

func (t *tx) applyEntry(e *Entry) (Result, error) {
	var result Result
	t.index, t.term = e.Index, e.Term
	switch e.Kind {
	case EntryConfiguration:
		if err := t.setConfiguration(e.Data); err != nil {
			return nil, err
		}
	case EntryCommands:
		envelope, err := parseEnvelope(e.Data)
		if err != nil {
			return nil, err
		}
		result = t.applyEnvelope(envelope)
	default:
		return nil, fault.New(fault.Unsupported, "entry kind %d is unknown to this binary", e.Kind)
	}
	t.meta.Index, t.meta.Term = e.Index, e.Term
	return result, t.err
}

func (t *tx) setConfiguration(data []byte) error {
	if len(data) > maxConfiguration {
		return fault.New(fault.TooLarge, "configuration has %d bytes, the limit is %d", len(data), maxConfiguration)
	}
	t.meta.Configuration = append([]byte(nil), data...)
	t.meta.ConfigurationIndex = t.index
	t.reconfigured = true
	return nil
}

func (t *tx) applyEnvelope(e *Envelope) Result {
	t.now = max(t.meta.LogTime+1, e.Time)
	t.meta.LogTime = t.now
	result := make(Result, len(e.Proposals))
	for i := range e.Proposals {
		result[i] = t.execute(&e.Proposals[i])
	}
	t.storeWindows()
	return result
}

// execute answers a proposal: from the window of its producer if it was applied
// before, else by applying it.
func (t *tx) execute(p *Proposal) Outcome {
	if err := p.Validate(); err != nil {
		return rejectErr(err)
	}
	if o, done := t.recall(p); done {
		return o
	}
	o := t.decide(p)
	t.remember(p, o)
	return o
}

func (t *tx) decide(p *Proposal) Outcome {
	if p.Term != 0 && p.Term != t.term {
		return reject(fault.Fenced, "the command was made in term %d and reached the log in term %d", p.Term, t.term)
	}
	t.scope, t.actor = p.Scope, p.Actor
	if p.Idempotency != nil {
		return t.applyOnce(p)
	}
	return t.apply(p.Command)
}

// apply runs a command. An accepted one takes the next revision: a number of its
// own, because two commands of one entry share its index.
func (t *tx) apply(c Command) Outcome {
	t.revision = t.meta.Revision + 1
	o := c.apply(t)
	if o.Kind != 0 {
		return o
	}
	t.meta.Revision = t.revision
	if !kinds[c.kind()].housekeeping {
		t.meta.SinceCheck++
	}
	o.Revision, o.Time = t.revision, t.now
	return o
}

// Meta is where the newest applied entry left the state.
func (m *Machine) Meta() Meta { return *m.meta.Load() }

// Checks are the newest digest checks, at most MaxChecks, oldest first.
func (m *Machine) Checks() []Check {
	return append([]Check(nil), m.checks.Load().list...)
}

// Mismatch is the first check at which this replica's digest was not the
// leader's, or nil. It survives restarts and ends with a restore.
func (m *Machine) Mismatch() *Mismatch { return m.checks.Load().mismatch }

// Sync returns when everything that was applied before the call survives a
// power failure. A disk that refuses is told to Fatal, too: what became of the
// bytes nobody knows, and asking again may well be answered with success.
func (m *Machine) Sync() error {
	s, err := m.use()
	if err != nil {
		return err
	}
	defer s.release()
	index := m.Meta().Index
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		return fault.New(fault.Integrity, "the state cannot be synced: %w", err).
			WithHint("check the disk, then start the node again; it re-reads its log")
	}
	if err := s.failure(); err != nil {
		return err
	}
	m.raiseDurable(s, index)
	return nil
}

// raiseDurable notes what was synced, unless s was replaced meanwhile.
func (m *Machine) raiseDurable(s *store, index uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for m.current == s {
		old := m.durable.Load()
		if index <= old || m.durable.CompareAndSwap(old, index) {
			return
		}
	}
}

// DurableIndex is an index that the state survives a power failure with. The log
// must keep every entry above it.
func (m *Machine) DurableIndex() uint64 { return m.durable.Load() }

// use takes a use of the current store; the caller releases it.
func (m *Machine) use() (*store, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, fault.New(fault.Unavailable, "the state machine is closed")
	}
	m.current.users.Add(1)
	return m.current, nil
}

// Close waits until every View and Snapshot is closed, then closes the state.
// What was applied is durable if it returns nil.
func (m *Machine) Close() error {
	m.applying.Lock()
	defer m.applying.Unlock()
	if err := m.Sync(); err != nil && m.broken == nil {
		m.broken = err
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	s := m.current
	m.mu.Unlock()

	m.newest.forget()
	s.release()
	for _, used := range append(m.retired, s) {
		<-used.drained
	}
	m.blocks.Unref()
	if m.broken == nil {
		m.broken = fault.New(fault.Unavailable, "the state machine is closed")
		return s.err
	}
	return fmt.Errorf("closed after a fault: %w", m.broken)
}
