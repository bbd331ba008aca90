package session

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// A Place is where this node's replica stands; *raftnode.Node is one.
type Place interface {
	Timeline() record.Timeline
	Meta() fsm.Meta
	Watch(func(changes []fsm.Change))
}

// Peers are the other nodes; *raftnode.Node is one.
type Peers interface {
	Handle(op uint16, h peer.Handler)
	Call(ctx context.Context, node string, op uint16, body []byte) ([]byte, error)
	Status() raftnode.Status
}

// A Node is what Sessions stands on; *raftnode.Node is one.
type Node interface {
	Replica
	Place
	Peers
}

// Defaults of Config.
const (
	DefaultCreateRate  = 50 // sessions a second of one principal on one node
	DefaultCreateBurst = 100
	DefaultRingBytes   = 128 << 20
)

// Config is what Sessions is made of. Zero values mean the defaults.
type Config struct {
	Node     Node
	Self     string           // name of this node
	Actor    record.Principal // this node
	Keys     Keys
	Sealer   Sealer
	Activity *Activity

	// Ended is told, on the goroutine of Run, of a session that this node has
	// served and that has ended, wherever and for whatever reason, with its last
	// record; where that is gone already, with the id alone. It must not block. Nil:
	// nobody is told.
	Ended func(s *record.Session)

	CreateRate  float64 // sessions a second that one principal may begin on this node
	CreateBurst int     // at once
	RingBytes   int64   // bound on the events that this node keeps for resumption

	Metrics *Metrics     // nil means unregistered
	Logger  *slog.Logger // nil means discard
}

// Sessions is the node half of all sessions but their activity: what is known of
// them, and the streams and calls that this node holds. Its methods may be called
// from any goroutine. Run is called once, and until it runs nothing is known.
type Sessions struct {
	c       Config
	node    Node
	keys    Keys
	log     *slog.Logger
	metrics *Metrics

	shards  [shardCount]sessionShard
	starts  limiter
	victims evictions
	events  budget
	records callRecords
	nodes   nodeList

	process [8]byte // first half of every stream id of this process
	streams atomic.Uint64

	moves    chan *Live    // to be made active
	changed  changedSet    // ids whose records changed
	draining chan struct{} // closed by Drain when it begins
	shut     chan struct{} // closed by Drain when no more calls are taken
	late     atomic.Uint64 // calls that began after Drain
}

// A sessionShard is a part of the sessions, by the id of their records. No lock
// is taken while mu is held, but that of a stream's ring.
type sessionShard struct {
	mu         sync.Mutex
	generation uint64           // counts changes: what was read before one is not stored
	live       map[string]*Live // at most maxKnown/shardCount
	hubs       map[string]*hub  // sessions with something open on this node
}

// maxKnown is how many sessions a node keeps in memory; the rest is read from the
// replica when it is asked for.
const maxKnown = 1 << 18

// New makes Sessions, registers their operations with the node, and follows its
// state. It is called before the node serves.
func New(c Config) *Sessions {
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.CreateRate = orDefault(c.CreateRate, DefaultCreateRate)
	c.CreateBurst = orDefault(c.CreateBurst, DefaultCreateBurst)
	c.RingBytes = orDefault(c.RingBytes, DefaultRingBytes)
	s := &Sessions{
		c: c, node: c.Node, keys: c.Keys, log: c.Logger, metrics: c.Metrics,
		starts:   newLimiter(c.CreateRate, c.CreateBurst),
		victims:  newEvictions(),
		events:   budget{limit: c.RingBytes, used: c.Metrics.ringBytes},
		records:  newCallRecords(),
		moves:    make(chan *Live, maxMoves),
		changed:  newChangedSet(),
		draining: make(chan struct{}),
		shut:     make(chan struct{}),
	}
	for i := range s.shards {
		s.shards[i].live = make(map[string]*Live)
		s.shards[i].hubs = make(map[string]*hub)
	}
	_, _ = rand.Read(s.process[:]) // never fails
	s.serve()
	s.node.Watch(s.watch)
	return s
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// shard is where the session of that record id is.
func (s *Sessions) shard(id string) *sessionShard {
	// Record ids are random: their first characters are a hash.
	var h byte
	for i := range min(len(id), 4) {
		h = h*31 + id[i]
	}
	return &s.shards[h%shardCount]
}

// newStreamID is unique in the cluster, for all practical purposes.
func (s *Sessions) newStreamID() record.ID {
	var id record.ID
	copy(id[:], s.process[:])
	binary.BigEndian.PutUint64(id[8:], s.streams.Add(1))
	return id
}

// ours reports whether this process made the stream id.
func (s *Sessions) ours(id record.ID) bool { return [8]byte(id[:8]) == s.process }

// Intervals of Run.
const (
	sweepInterval = time.Second
	openTouch     = ReportInterval // sessions with something open count as used
)

// Run does the work of this node that no request does, until ctx ends: it takes
// up changes of the state, makes sessions active, writes call records, and
// forgets what has served its time. It waits for everything it started.
func (s *Sessions) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.follow(ctx) })
	wg.Go(func() { s.move(ctx) })
	wg.Go(func() { s.writeCalls(ctx) })
	wg.Go(func() { s.settleListeners(ctx) })
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	touched := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
		}
		touch := time.Since(touched) >= openTouch
		if touch {
			touched = time.Now()
		}
		s.sweep(touch)
	}
}

// sweep forgets what has served its time, and with touch notes that sessions
// with something open are in use.
func (s *Sessions) sweep(touch bool) {
	now := time.Now()
	known := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		known += len(sh.live)
		for id, h := range sh.hubs {
			if touch && h.inUse() {
				s.c.Activity.Touch(id, h.ttl)
			}
			if h.sweep(now) {
				delete(sh.hubs, id)
			}
		}
		sh.mu.Unlock()
	}
	s.metrics.known.Set(float64(known))
	s.starts.sweep(now)
	s.victims.sweep(now)
}
