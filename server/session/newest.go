package session

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

const (
	settleInterval = 5 * time.Second // between looks at who has the newest GET stream
	settleWait     = time.Second     // for the other nodes
	listenBatch    = 256             // sessions of one message
)

// Which GET stream of a session is the newest is settled without the log: every
// node tells the others which it has whenever that changes, each with a rank above
// all that it had heard of, and they answer with theirs. The highest rank is the
// newest, of equal ones that on the node whose name is higher, so that nodes which
// know the same agree. Those that could not be asked are asked again every
// settleInterval, which is also how the loss of a node is noticed.

// A standing is what another node has of a session's GET streams.
type standing struct {
	rank  uint64 // of its newest
	count int
}

// outranks reports whether rank on node is newer than other on otherNode.
func outranks(rank uint64, node string, other uint64, otherNode string) bool {
	return cmp.Or(cmp.Compare(rank, other), cmp.Compare(node, otherNode)) > 0
}

// enter makes l the newest GET stream of its session, and closes the oldest if
// there are too many. It reports whether the session has had one before.
func (s *Sessions) enter(ctx context.Context, l *Listener) (before bool) {
	sh := s.shard(l.live.Record.ID)
	sh.mu.Lock()
	h := sh.hubFor(l.live)
	before = h.listened
	h.listened = true
	h.add(l)
	s.rank(h)
	sh.mu.Unlock()

	answers := s.announce(ctx, h.session)
	overtaken := false
	sh.mu.Lock()
	for _, a := range answers {
		before = before || a.Before || len(a.Ranks) > 0
	}
	if l.newer { // others had newer ones that were not heard of
		overtaken = true
		h.remove(l)
		h.add(l)
		s.rank(h)
	}
	sh.mu.Unlock()
	if overtaken {
		answers = s.announce(ctx, h.session)
	}
	s.closeOldest(ctx, h.session, answers)
	return before
}

// exit takes l away; an older stream may be the newest then.
func (s *Sessions) exit(ctx context.Context, l *Listener) {
	l.asks.close()
	sh := s.shard(l.live.Record.ID)
	sh.mu.Lock()
	h := sh.hubs[l.live.Record.ID]
	h.remove(l)
	h.used = time.Now()
	s.rank(h)
	tell := len(h.remote) > 0 || !h.settled
	if len(h.listeners) == 0 {
		h.remote = nil
	}
	sh.mu.Unlock()
	if tell {
		s.announce(context.WithoutCancel(ctx), l.live.Record.ID)
	}
}

// add puts l behind all streams that are known. The shard is locked.
func (h *hub) add(l *Listener) {
	l.rank = 0
	for _, other := range h.listeners {
		l.rank = max(l.rank, other.rank)
	}
	for _, other := range h.remote {
		l.rank = max(l.rank, other.rank)
	}
	l.rank++
	h.listeners = append(h.listeners, l)
	h.settled = false
}

func (h *hub) remove(l *Listener) {
	h.listeners = slices.DeleteFunc(h.listeners, func(other *Listener) bool { return other == l })
}

// rank tells each stream here whether there is a newer one. The shard is locked.
func (s *Sessions) rank(h *hub) {
	newest := len(h.listeners) - 1
	for i, l := range h.listeners {
		newer := i != newest
		for node, other := range h.remote {
			newer = newer || outranks(other.rank, node, l.rank, s.c.Self)
		}
		l.setNewer(newer)
	}
}

// openHere is what this node has of a session. The shard is locked.
func (h *hub) openHere() openStreams {
	o := openStreams{Session: h.session, Before: h.listened}
	for _, l := range h.listeners {
		if l.cause == nil {
			o.Ranks, o.Streams = append(o.Ranks, l.rank), append(o.Streams, l.id)
		}
	}
	return o
}

// hearOf takes up what another node has. The shard is locked.
func (s *Sessions) hearOf(h *hub, node string, o *openStreams) {
	if len(o.Ranks) == 0 {
		delete(h.remote, node)
	} else {
		if h.remote == nil {
			h.remote = make(map[string]standing)
		}
		h.remote[node] = standing{rank: slices.Max(o.Ranks), count: len(o.Ranks)}
	}
	s.rank(h)
}

// announce tells the other nodes what this one has of a session, takes up what
// they answer, and returns it by node.
func (s *Sessions) announce(ctx context.Context, session string) map[string]openStreams {
	sh := s.shard(session)
	sh.mu.Lock()
	q := listenRequest{Sessions: []openStreams{{Session: session}}}
	if h := sh.hubs[session]; h != nil {
		q.Sessions[0] = h.openHere()
	}
	sh.mu.Unlock()
	answers, all := askOthers[listenAnswer](ctx, s, settleWait, opListen, &q)
	found := make(map[string]openStreams, len(answers))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	h := sh.hubs[session]
	for node, a := range answers {
		if len(a.Sessions) != 1 || len(a.Sessions[0].Ranks) != len(a.Sessions[0].Streams) {
			continue
		}
		found[node] = a.Sessions[0]
		if h != nil && len(h.listeners) > 0 {
			s.hearOf(h, node, &a.Sessions[0])
		}
	}
	if h != nil {
		h.settled = all
	}
	return found
}

// closeOldest closes streams of a session until no more than maxListeners are left
// of those that are known.
func (s *Sessions) closeOldest(ctx context.Context, session string, elsewhere map[string]openStreams) {
	type open struct {
		node string
		id   record.ID
		rank uint64
	}
	var all []open
	add := func(node string, o openStreams) {
		for i := range o.Ranks {
			all = append(all, open{node, o.Streams[i], o.Ranks[i]})
		}
	}
	for node, o := range elsewhere {
		add(node, o)
	}
	sh := s.shard(session)
	sh.mu.Lock()
	if h := sh.hubs[session]; h != nil {
		add(s.c.Self, h.openHere())
	}
	sh.mu.Unlock()
	slices.SortFunc(all, func(a, b open) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.node, b.node)) })
	for ; len(all) > maxListeners; all = all[1:] {
		q := &closeRequest{Session: session, Stream: all[0].id}
		if all[0].node == s.c.Self {
			s.closeListener(q)
			continue
		}
		limited, cancel := context.WithTimeout(ctx, settleWait)
		if _, err := call[empty](limited, s, all[0].node, opClose, q); err != nil {
			s.log.Debug("a GET stream too many was not closed", "node", all[0].node, "error", err)
		}
		cancel()
	}
}

func (s *Sessions) closeListener(q *closeRequest) {
	sh := s.shard(q.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	h := sh.hubs[q.Session]
	if h == nil {
		return
	}
	for _, l := range h.listeners {
		if l.id == q.Stream {
			l.close(fault.New(fault.Quota, "the session has more than %d GET streams, and this was the oldest", maxListeners))
		}
	}
}

func (s *Sessions) serveClose(_ context.Context, _ peer.From, q *closeRequest) (empty, error) {
	s.closeListener(q)
	return empty{}, nil
}

func (s *Sessions) serveListen(_ context.Context, from peer.From, q *listenRequest) (listenAnswer, error) {
	if len(q.Sessions) > listenBatch {
		return listenAnswer{}, fault.New(fault.Invalid, "node %s told of %d sessions at once, the limit is %d", from.Node, len(q.Sessions), listenBatch)
	}
	a := listenAnswer{Sessions: make([]openStreams, len(q.Sessions))}
	for i := range q.Sessions {
		a.Sessions[i] = s.hearFrom(from.Node, &q.Sessions[i])
	}
	return a, nil
}

// hearFrom takes up what a node has of a session and gives what this one has.
func (s *Sessions) hearFrom(node string, o *openStreams) openStreams {
	sh := s.shard(o.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	h := sh.hubs[o.Session]
	if h == nil {
		return openStreams{Session: o.Session}
	}
	if len(h.listeners) > 0 {
		s.hearOf(h, node, o)
	}
	return h.openHere()
}

// settleListeners looks again, every settleInterval, at the sessions whose GET
// streams are not all known or not all here.
func (s *Sessions) settleListeners(ctx context.Context) {
	tick := time.NewTicker(settleInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for batch := range slices.Chunk(s.unsettled(), listenBatch) {
			if ctx.Err() != nil {
				return
			}
			s.settle(ctx, batch)
		}
	}
}

func (s *Sessions) unsettled() (list []openStreams) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, h := range sh.hubs {
			if len(h.listeners) > 0 && (!h.settled || len(h.remote) > 0) {
				list = append(list, h.openHere())
			}
		}
		sh.mu.Unlock()
	}
	return list
}

// settle tells the other nodes about a batch of sessions and takes up what they
// answer; one that does not answer has nothing.
func (s *Sessions) settle(ctx context.Context, batch []openStreams) {
	answers, all := askOthers[listenAnswer](ctx, s, settleWait, opListen, &listenRequest{Sessions: batch})
	nodes := s.others()
	for i := range batch {
		sh := s.shard(batch[i].Session)
		sh.mu.Lock()
		h := sh.hubs[batch[i].Session]
		if h == nil || len(h.listeners) == 0 {
			sh.mu.Unlock()
			continue
		}
		h.settled = all
		maps.DeleteFunc(h.remote, func(node string, _ standing) bool { return !slices.Contains(nodes, node) })
		for _, node := range nodes {
			o := openStreams{}
			if a := answers[node]; len(a.Sessions) == len(batch) {
				o = a.Sessions[i]
			}
			s.hearOf(h, node, &o)
		}
		sh.mu.Unlock()
	}
}
