package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	listEvery   = time.Second      // at most, one upstream
	listBytes   = 256 << 10        // a second that one upstream may have listed; a larger list waits longer
	listTimeout = 30 * time.Second // to open, and then again to list
	defaultTTL  = 5 * time.Minute  // of a list whose upstream does not say
	longestTTL  = time.Hour        //
	firstRetry  = time.Second      // after a listing that failed
	lastRetry   = 30 * time.Second //
	manyChanges = 20               // between two listings: worth a warning
	maxNamed    = 8                // quarantined items in the log, of one listing
)

// A watcher keeps the slice of one upstream as the upstream lists it: when it is
// registered or its record changes, when it says that a list changed, when it can be
// heard again after a gap, and when its lists are old.
type watcher struct {
	of     *Watchers
	record record.Upstream
	term   raftnode.Term
	pace   *pace
	log    *slog.Logger
	stop   context.CancelFunc
	ended  chan struct{}
	wake   chan struct{}

	mu      sync.Mutex
	heard   [kinds]bool // lists that the upstream said have changed
	changes int         // how often, since the last listing
}

// listen hears of changes until ctx ends.
func (w *watcher) listen(ctx context.Context) {
	err := w.of.c.Upstreams.Listen(ctx, w.record.Alias, w.changed, w.nudge)
	if err != nil && ctx.Err() == nil {
		w.log.Info("changes of the lists are found by listing only", "err", err)
	}
}

// changed is told of a notification.
func (w *watcher) changed(method string) {
	w.mu.Lock()
	switch method {
	case mcp.ToolsListChanged:
		w.heard[Tool] = true
	case mcp.PromptsListChanged:
		w.heard[Prompt] = true
	case mcp.ResourcesListChanged:
		w.heard[Resource], w.heard[Template] = true, true
	default:
		w.mu.Unlock()
		return
	}
	w.changes++
	w.mu.Unlock()
	w.of.c.Metrics.heard.WithLabelValues(w.record.Alias).Inc()
	w.nudge()
}

// nudge has the upstream listed soon.
func (w *watcher) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run lists until ctx ends.
func (w *watcher) run(ctx context.Context) {
	retry := firstRetry
	for {
		if sleep(ctx, time.Until(w.pace.next)) != nil {
			return
		}
		begun := time.Now()
		select {
		case <-w.wake: // what is said from here on is for the next listing
		default:
		}
		heard := w.take()
		w.pace.next = begun.Add(listEvery) // also for whoever watches after this one was stopped
		size, ttl, err := w.list(ctx, heard)
		if ctx.Err() != nil {
			return
		}
		w.pace.next = begun.Add(max(listEvery, time.Duration(size)*time.Second/listBytes))
		pause := ttl
		if err == nil {
			retry = firstRetry
		} else {
			w.untake(heard)
			pause = retry/2 + rand.N(retry/2)
			retry = min(2*retry, lastRetry)
		}
		select {
		case <-w.wake:
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func (w *watcher) take() []Kind {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []Kind
	for _, k := range Kinds() {
		if w.heard[k] {
			list = append(list, k)
		}
	}
	if changes := w.changes; changes >= manyChanges {
		w.pace.warn.Do(func() {
			w.log.Warn("the upstream says all the time that its lists changed; it is listed once a second at most", "times", changes)
		})
	}
	w.heard, w.changes = [kinds]bool{}, 0
	return list
}

// untake is for a listing that failed: the word of a change is not passed on yet.
func (w *watcher) untake(list []Kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range list {
		w.heard[k] = true
	}
}

// list asks for all lists and has them written down. It gives how large they were,
// and how long they are good for.
func (w *watcher) list(ctx context.Context, heard []Kind) (size int, ttl time.Duration, err error) {
	found, err := w.walk(ctx)
	blame := err != nil && fault.Of(err) != fault.NotFound // a record that is gone ends the watcher, too
	if err == nil {
		err = w.write(ctx, found, heard)
		blame = fault.Of(err) == fault.Quota
	}
	switch {
	case ctx.Err() != nil:
		return 0, 0, ctx.Err()
	case blame:
		w.fail(ctx, err)
	case err != nil:
		w.log.Info("what the upstream lists is not in the state yet", "err", err)
	}
	if err != nil {
		w.of.c.Metrics.listings.WithLabelValues("failed").Inc()
		return 0, 0, err
	}
	return found.bytes, found.ttl(), nil
}

// ttl is how long the lists are good for: what the upstream says, within bounds.
func (l *listing) ttl() time.Duration {
	if l.slice.TTL == 0 {
		return defaultTTL
	}
	said := time.Duration(min(l.slice.TTL, uint64(longestTTL/time.Millisecond))) * time.Millisecond
	return max(said, listEvery)
}

// walk lists the upstream.
func (w *watcher) walk(ctx context.Context) (*listing, error) {
	alias := w.record.Alias
	opening, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	opened, err := w.of.c.Upstreams.Open(opening, alias)
	if err != nil {
		return nil, err
	}
	// An upstream that cannot be reached has not taken a place from the others.
	if err := w.of.walks.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer w.of.walks.Release(1)
	walking, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	l := newListing(alias, opened)
	err = l.walk(walking, func(ctx context.Context, method string, params []byte) ([]byte, error) {
		return w.of.c.Upstreams.Request(ctx, alias, method, params)
	})
	if err != nil {
		return nil, err
	}
	l.finish()
	l.slice.Upstream = w.record.Revision
	return l, nil
}

// write makes the slice what was found, if that is new, and passes the word of
// changes on.
func (w *watcher) write(ctx context.Context, l *listing, heard []Kind) error {
	old, room, err := w.before(ctx)
	if err != nil {
		return err
	}
	same := old != nil && slices.Equal(old.Digest, l.slice.Digest)
	if same && old.Error == "" && old.Upstream == l.slice.Upstream && len(heard) == 0 {
		w.of.c.Metrics.listings.WithLabelValues("same").Inc()
		return nil
	}
	if old != nil && old.Error != "" {
		heard = l.kinds(heard) // clients may have seen calls fail: the upstream is back
	}
	if same {
		l.slice.Generation, l.slice.Pages = old.Generation, old.Pages
	} else {
		if l.bytes > room {
			return fault.New(fault.Quota, "its lists have %d bytes, the catalogue has room for %d", l.bytes, max(room, 0))
		}
		if err := w.stage(ctx, l); err != nil {
			return err
		}
	}
	if _, err := w.of.propose(ctx, w.term, &fsm.SwapSlice{Slice: l.slice, Announce: heard}); err != nil {
		return err
	}
	w.of.c.Metrics.listings.WithLabelValues("written").Inc()
	w.tell(old, l)
	if old != nil && !same {
		w.drop(ctx, old)
	}
	return nil
}

// before is the slice as it stands, nil if there is none, and how many bytes it may
// have.
func (w *watcher) before(ctx context.Context) (*record.Slice, int, error) {
	view, _, err := w.of.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return nil, 0, err
	}
	defer view.Close()
	room, err := w.of.room(view, w.record.Alias)
	if err != nil {
		return nil, 0, err
	}
	s, err := view.Slice(0, record.SliceID{Alias: w.record.Alias})
	if fault.Of(err) == fault.NotFound {
		return nil, room, nil
	}
	return &s, room, err
}

// kinds are those of which something is listed, and those of heard.
func (l *listing) kinds(heard []Kind) []Kind {
	list := slices.Clone(heard)
	for i := range l.items {
		list = append(list, l.items[i].Kind)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// stage writes the pages of a new generation.
func (w *watcher) stage(ctx context.Context, l *listing) error {
	l.slice.Generation, l.slice.Pages = 0, 0
	for _, items := range l.pages() {
		page := record.SlicePage{Slice: l.slice.ID, Generation: l.slice.Generation, Number: l.slice.Pages, Items: items}
		if err := w.of.staged.WaitN(ctx, page.Size()); err != nil {
			return err
		}
		o, err := w.of.propose(ctx, w.term, &fsm.StagePage{Page: page})
		if err != nil {
			return err
		}
		if l.slice.Pages == 0 {
			l.slice.Generation = o.Revision
		}
		l.slice.Pages++
	}
	return nil
}

// drop forgets the pages of the generation that was replaced. What it leaves, the
// sweep finds.
func (w *watcher) drop(ctx context.Context, old *record.Slice) {
	var pages []record.PageID
	for n := range old.Pages {
		pages = append(pages, record.PageID{Slice: old.ID, Generation: old.Generation, Number: n})
	}
	if err := w.of.drop(ctx, w.term, pages); err != nil {
		w.log.Debug("pages of the old list stay for now", "err", err)
	}
}

// fail notes why the upstream could not be listed, unless that is known.
func (w *watcher) fail(ctx context.Context, cause error) {
	text := printable(reason(cause), record.MaxSliceError)
	old, _, err := w.before(ctx)
	if err != nil || old != nil && old.Error == text && old.Upstream == w.record.Revision {
		return
	}
	w.log.Warn("the upstream could not be listed; what it listed before stays", "err", cause)
	_, err = w.of.propose(ctx, w.term, &fsm.FailSlice{ID: record.SliceID{Alias: w.record.Alias}, Upstream: w.record.Revision, Error: text})
	if err != nil && ctx.Err() == nil {
		w.log.Debug("the failure is not in the state", "err", err)
	}
}

// reason is what may be told to strangers of an error.
func reason(err error) string {
	if e := fault.As(err); e.Message != "" {
		return e.Message
	}
	return "failed: " + fault.Of(err).String()
}

// tell logs what is wrong with a list, the first time.
func (w *watcher) tell(old *record.Slice, l *listing) {
	var known []record.Quarantined
	if old != nil {
		known = old.Quarantined
	}
	named := 0
	for _, q := range l.slice.Quarantined {
		if slices.Contains(known, q) {
			continue
		}
		if named++; named > maxNamed {
			break
		}
		w.log.Warn("quarantined: nobody is shown it", "kind", strings.TrimSuffix(q.Kind.String(), "s"), "name", q.Name, "reason", q.Reason)
	}
	if named > 0 {
		w.log.Warn("items of the lists are quarantined", "items", l.slice.Hidden)
	}
	if l.slice.Truncated && (old == nil || !old.Truncated) {
		w.log.Warn(fmt.Sprintf("the upstream lists more than may be kept (%d items, %d bytes); the rest is not shown", record.MaxSliceItems, record.MaxSliceBytes), "items", len(l.items))
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
