package peer

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	// steady is how long a connection must have lived for its end not to count as
	// a failed dial: a node that hangs up at once is not dialled in a tight loop.
	steady = time.Second

	// wanted is how long after the last call a link keeps dialling by itself.
	wanted = time.Minute
)

// A link is the way to one node: at most one connection, made when a call needs
// it and kept, as long as the node is called now and then, by one goroutine.
//
// Calls wait for the first dial after a time of success. After it failed they
// fail at once with its error while the link goes on dialling, so that a node
// that is down costs its callers nothing.
type link struct {
	port *Port
	node string
	kick chan struct{} // capacity 1: do not wait for the end of the pause

	mu       sync.Mutex    // nothing blocks under it
	running  bool          // the goroutine exists
	called   time.Time     // when a call last needed the link
	up       *connection   // nil: not connected
	dialling chan struct{} // of the dial that calls wait for, closed at its end; not nil if running, up is nil and failures is 0
	failures int           // dials in a row that failed or brought a connection that did not last
	since    time.Time     // connected, or not, since
	last     error         // why there is no connection, or why the one before broke
	addr     string        // where the node was last looked for
	rtt      time.Duration // of the newest ping on up
}

// link finds or makes the link to a node that is known.
func (p *Port) link(node string) (*link, error) {
	p.mu.Lock()
	l := p.links[node]
	p.mu.Unlock()
	if l != nil {
		return l, nil
	}
	if _, err := p.resolve(node); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links[node] == nil {
		p.links[node] = &link{port: p, node: node, kick: make(chan struct{}, 1)}
	}
	return p.links[node], nil
}

// resolve is the goal of calls to a node. The link of a node that nobody knows
// any more is dropped.
func (p *Port) resolve(node string) (goal, error) {
	addr, disk, ok := p.o.Resolve(node)
	if ok {
		return goal{protocol: protocolCalls, addr: addr, node: node, disk: disk}, nil
	}
	p.mu.Lock()
	delete(p.links, node)
	p.mu.Unlock()
	return goal{}, refuse(ReasonUnknownNode, fault.Unreachable, "node %s is not known here", node)
}

// greeted notes that a node has just connected to us, so that it is worth trying.
func (p *Port) greeted(node string) {
	p.mu.Lock()
	l := p.links[node]
	p.mu.Unlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up != nil || l.failures == 0 {
		return
	}
	l.failures, l.dialling = 0, make(chan struct{})
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// connection is the one that is up, or the outcome of the dial that this call
// waits for. While the node is known to be down it fails at once.
func (l *link) connection(ctx context.Context) (*connection, error) {
	for {
		c, wait, err := l.state()
		if c != nil || err != nil {
			return c, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, fault.New(fault.Timeout, "node %s is not connected yet: %w", l.node, context.Cause(ctx))
		}
	}
}

// state answers with a connection, something to wait for, or an error. It starts
// the goroutine when there is none.
func (l *link) state() (*connection, <-chan struct{}, error) {
	own := l.port.o.Identity()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.called = time.Now()
	if c := l.up; c != nil {
		if c.own != own {
			c.end(errAdopted)
		} else if c.frames.Err() == nil {
			return c, nil, nil
		}
		return nil, c.gone, nil
	}
	if !l.running {
		if !l.port.spawn(l.run) {
			return nil, nil, errStopped
		}
		l.running, l.failures, l.dialling = true, 0, make(chan struct{})
	}
	if l.failures > 0 {
		return nil, nil, l.last
	}
	return nil, l.dialling, nil
}

// Why a connection that works is ended here.
var (
	errAdopted = errors.New("this node has adopted a cluster and must say so")
	errMoved   = errors.New("the node is to be found elsewhere")
)

// run keeps the link connected until nobody has called for a while.
func (l *link) run() {
	for {
		c, err := l.dial()
		pause := l.dialled(c, err)
		if err == nil {
			pause = l.keep(c)
		}
		if !l.rest(pause) {
			return
		}
	}
}

func (l *link) dial() (*connection, error) {
	g, err := l.port.resolve(l.node)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.addr = g.addr
	l.mu.Unlock()
	return l.port.dialCalls(l.port.ctx, g)
}

// dialled notes the end of a dial. After a failure it returns the pause.
func (l *link) dialled(c *connection, err error) (pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		pause = l.failedLocked(err)
	} else {
		l.up, l.since, l.rtt = c, time.Now(), 0
	}
	if l.dialling != nil {
		close(l.dialling)
		l.dialling = nil
	}
	return pause
}

// keep runs a connection to its end. If it did not last it returns a pause.
func (l *link) keep(c *connection) (pause time.Duration) {
	log := l.port.log.With("node", l.node, "addr", c.goal.addr)
	log.Info("connected to a peer")
	defer c.end(nil)
	var wg sync.WaitGroup
	wg.Go(func() { l.watch(c) })
	err := c.frames.Run(c.ctx)
	wg.Wait()
	log.Info("connection to a peer ended", "error", err)

	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(c.gone)
	lived := time.Since(l.since)
	l.up, l.since, l.last = nil, time.Now(), unreachable(c.goal, err)
	if lived < steady && !errors.Is(err, errAdopted) {
		return l.failedLocked(l.last)
	}
	l.failures, l.dialling = 0, make(chan struct{})
	return 0
}

// rest waits between dials. It reports false when there shall be no other: the
// link is not needed for now, or the Port stops.
func (l *link) rest(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.kick:
	case <-l.port.ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.port.ctx.Err() == nil && time.Since(l.called) < wanted {
		return true
	}
	l.running, l.failures = false, 0
	if l.dialling != nil { // who waits asks again, and starts over
		close(l.dialling)
		l.dialling = nil
	}
	return false
}

// failedLocked notes a failure and returns the pause that it costs.
func (l *link) failedLocked(err error) time.Duration {
	o := l.port.o.Limits
	pause := min(o.RedialMax, o.RedialMin<<min(l.failures, 16))
	l.failures++
	if l.failures == 1 {
		l.since = time.Now()
	}
	l.last = err
	if reason := ReasonOf(err); l.port.rare.allow("dial " + l.node + string(reason)) {
		l.port.log.Log(context.Background(), reason.Level(), "no connection to a peer", "node", l.node, "addr", l.addr, "error", err)
	}
	return pause/2 + rand.N(pause/2+1) // apart from others that lost the same node
}

// watch measures the round trip of c while it lives, and ends it when the node is
// now to be found elsewhere.
func (l *link) watch(c *connection) {
	tick := time.NewTicker(l.port.o.Limits.PingInterval)
	defer tick.Stop()
	for {
		l.ping(c)
		select {
		case <-tick.C:
		case <-c.frames.Done():
			return
		}
		if g, err := l.port.resolve(l.node); err != nil || g.addr != c.goal.addr || !g.disk.IsZero() && g.disk != c.other.Disk {
			c.end(errMoved)
			return
		}
	}
}

// ping fails only together with the connection.
func (l *link) ping(c *connection) {
	start := time.Now()
	if _, err := c.call(l.port.ctx, opPing, nil); err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rtt = time.Since(start)
	l.port.o.Metrics.rtt.WithLabelValues(l.node).Set(l.rtt.Seconds())
}

// A Status is what is known of the way to a node.
type Status struct {
	Node      string
	Addr      string // where it was last looked for
	Connected bool
	Since     time.Time     // of the connection, or of its absence; zero: never tried
	RTT       time.Duration // of the last ping; 0: none yet
	Err       error         // why it is not connected, or why the last connection broke
}

// Peers tells of every node that this node has called, by name.
func (p *Port) Peers() []Status {
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for _, l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	all := make([]Status, 0, len(links))
	for _, l := range links {
		all = append(all, l.status())
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Node, b.Node) })
	return all
}

func (l *link) status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := Status{Node: l.node, Addr: l.addr, Since: l.since, RTT: l.rtt, Err: l.last}
	st.Connected = l.up != nil && l.up.frames.Err() == nil
	return st
}
