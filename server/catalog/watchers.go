package catalog

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
)

const (
	// DefaultMaxBytes bounds the items of all upstreams in the catalogue, as they are
	// listed; in memory they take somewhat more than twice that.
	DefaultMaxBytes = 128 << 20

	maxWalks     = 16       // upstreams that are listed at once, each up to record.MaxSliceBytes in memory
	stageRate    = 4 << 20  // bytes a second of pages to the log, of all upstreams
	stageBurst   = 32 << 20 // at once
	sweepEvery   = time.Hour
	proposeLimit = 10 * time.Second
)

// A Replica is the state as the leader changes and reads it; *raftnode.Node is
// one.
type Replica interface {
	Reader
	Propose(ctx context.Context, r raftnode.Request) (raftnode.Receipt, error)
}

// Upstreams reach what is registered. All methods may be called from any goroutine,
// and end when their context does.
type Upstreams interface {
	// Open makes sure that there is a way to the upstream and gives what it says of
	// itself.
	Open(ctx context.Context, alias string) (Opened, error)
	// Request gives the result of a request. What the upstream answers as a JSON-RPC
	// error is a *mcp.Error.
	Request(ctx context.Context, alias, method string, params []byte) (result []byte, err error)
	// Listen tells of notifications of the upstream by their methods, and of gaps
	// after which some may have been missed, by one goroutine at a time. It
	// reconnects by itself and returns when ctx ends or the upstream is no longer
	// there to be listened to.
	Listen(ctx context.Context, alias string, heard func(method string), gap func()) error
}

// WatchersConfig is what Watchers are made of.
type WatchersConfig struct {
	Replica   Replica
	Upstreams Upstreams
	Actor     record.Principal // this node
	MaxBytes  int              // of the items of all upstreams; 0 means DefaultMaxBytes
	Metrics   *Metrics         // nil means unregistered
	Logger    *slog.Logger     // nil means discard
}

// Watchers list upstreams for the whole cluster, on the node that leads. Each
// upstream has one watcher; why they are not spread over the nodes the package
// comment tells.
type Watchers struct {
	c      WatchersConfig
	wake   chan struct{}
	walks  *semaphore.Weighted
	staged *rate.Limiter
	paces  map[string]*pace // by alias; used by one Run at a time
}

// A pace is when an upstream may be listed again. It outlives the watcher: a record
// that is changed again and again is no way around it.
type pace struct {
	next time.Time
	warn rate.Sometimes
}

// NewWatchers makes Watchers; Run runs them.
func NewWatchers(c WatchersConfig) *Watchers {
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Watchers{
		c: c, wake: make(chan struct{}, 1), walks: semaphore.NewWeighted(maxWalks),
		staged: rate.NewLimiter(stageRate, stageBurst), paces: make(map[string]*pace),
	}
}

// Changed is told of every change of this replica (raftnode.Node.Watch). It does
// not block.
func (w *Watchers) Changed(changes []fsm.Change) {
	for i := range changes {
		if n := changes[i].Noun; n == fsm.ChangedUpstream || n == fsm.ChangedAll {
			select {
			case w.wake <- struct{}{}:
			default:
			}
			return
		}
	}
}

// Run is the duty of the leader of term (raftnode.Node.Duty): it watches all
// upstreams that are enabled until ctx ends, and waits for its watchers. What they
// propose takes effect in that term only. It returns an error when the replica
// cannot be read, to be called again.
func (w *Watchers) Run(ctx context.Context, term raftnode.Term) error {
	ctx, stop := context.WithCancel(ctx)
	running := make(map[string]*watcher)
	defer func() {
		stop()
		for _, one := range running {
			<-one.ended
		}
	}()
	sweep := time.NewTimer(0)
	defer sweep.Stop()
	for {
		if err := w.reconcile(ctx, term, running); err != nil {
			return err
		}
		select {
		case <-w.wake:
		case <-sweep.C:
			if err := w.sweep(ctx, term); err != nil {
				w.c.Logger.Warn("pages of old lists stay for now", "err", err)
			}
			sweep.Reset(sweepEvery)
		case <-ctx.Done():
			return nil
		}
	}
}

// reconcile gives each enabled upstream a watcher of its newest record, and ends the
// others.
func (w *Watchers) reconcile(ctx context.Context, term raftnode.Term, running map[string]*watcher) error {
	records, err := w.records(ctx)
	if err != nil {
		return err
	}
	for alias, one := range running {
		if u, ok := records[alias]; ok && u.Revision == one.record.Revision {
			continue
		}
		one.stop()
		<-one.ended
		delete(running, alias)
	}
	for _, alias := range slices.Sorted(maps.Keys(records)) {
		if running[alias] == nil {
			running[alias] = w.start(ctx, term, records[alias])
		}
	}
	maps.DeleteFunc(w.paces, func(alias string, p *pace) bool {
		gone := running[alias] == nil && time.Now().After(p.next)
		if gone {
			w.c.Metrics.forget(alias)
		}
		return gone
	})
	return nil
}

// records are the upstreams that are enabled.
func (w *Watchers) records(ctx context.Context) (map[string]record.Upstream, error) {
	view, _, err := w.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return nil, err
	}
	defer view.Close()
	found := make(map[string]record.Upstream)
	for u, err := range view.Upstreams(0, "") {
		if err != nil {
			return nil, err
		}
		if !u.Disabled {
			found[u.Alias] = u
		}
	}
	return found, nil
}

func (w *Watchers) start(ctx context.Context, term raftnode.Term, u record.Upstream) *watcher {
	p := w.paces[u.Alias]
	if p == nil {
		p = &pace{warn: rate.Sometimes{Interval: time.Minute}}
		w.paces[u.Alias] = p
	}
	ctx, stop := context.WithCancel(ctx)
	one := &watcher{
		of: w, record: u, term: term, pace: p, stop: stop,
		ended: make(chan struct{}), wake: make(chan struct{}, 1),
		log: w.c.Logger.With("upstream", u.Alias),
	}
	var wg sync.WaitGroup
	wg.Go(func() { one.listen(ctx) })
	wg.Go(func() { one.run(ctx) })
	go func() { // waited for through ended
		defer close(one.ended)
		wg.Wait()
		stop()
	}()
	return one
}

// propose has a command applied in the term.
func (w *Watchers) propose(ctx context.Context, term raftnode.Term, c fsm.Command) (fsm.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeLimit)
	defer cancel()
	receipt, err := w.c.Replica.Propose(ctx, raftnode.Request{Actor: w.c.Actor, Term: uint64(term), Command: c})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	return receipt.Outcome, err
}

// sweep drops the pages that nothing refers to.
func (w *Watchers) sweep(ctx context.Context, term raftnode.Term) error {
	loose, err := w.loose(ctx)
	if err != nil {
		return err
	}
	return w.drop(ctx, term, loose)
}

func (w *Watchers) drop(ctx context.Context, term raftnode.Term, pages []record.PageID) error {
	for batch := range slices.Chunk(pages, fsm.MaxDropPages) {
		if _, err := w.propose(ctx, term, &fsm.DropPages{Pages: batch}); err != nil {
			return err
		}
	}
	return nil
}

func (w *Watchers) loose(ctx context.Context) ([]record.PageID, error) {
	view, _, err := w.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return nil, err
	}
	defer view.Close()
	var list []record.PageID
	for id, err := range view.LoosePages(0) {
		if err != nil {
			return nil, err
		}
		list = append(list, id)
	}
	return list, nil
}

// room reports how many bytes the slice of an upstream may have beside those of the
// others.
func (w *Watchers) room(view *fsm.View, alias string) (int, error) {
	left := w.c.MaxBytes
	for s, err := range view.Slices(0) {
		if err != nil {
			return 0, err
		}
		if s.ID.Alias != alias {
			left -= int(s.Bytes)
		}
	}
	return left, nil
}
