// Package memnet is a network in memory for tests: named hosts, listeners,
// buffered connections with deadlines, latency, and faults between any two hosts.
// Nothing in it does real I/O or reads a clock but time.Now, so that a whole
// cluster runs in a testing/synctest bubble in virtual time: every wait is on a
// condition made in the bubble, and a bubble with nothing else to do moves its
// clock to the next delivery or deadline.
//
//	n := memnet.New()
//	ln, err := n.Host("n1").Listen("n1:7442")
//	nc, err := n.Host("n2").Dial(ctx, "n1:7442")
//	n.Cut("n1", "n2", memnet.Drop)
//	n.Heal("n1", "n2")
//	n.Host("n1").Kill()
//
// # What it is like
//
// A connection behaves like TCP: a stream of bytes each way, in order, with a
// window of [Window] bytes that a writer fills before it blocks. Close lets the
// other end read what was sent and then end-of-file; after it, writing to the
// closed end is a reset.
//
// A link that drops loses nothing of a stream, as TCP does not: bytes wait and
// arrive when it heals. Only who waits with a deadline notices. A link that
// resets ends its connections on both ends at once and refuses new ones. A
// connection begins only if packets pass both ways.
//
// A killed host closes its listeners and connections like a killed process on a
// living machine: the other ends see a reset, unless their link to it drops; then
// they see it when the link heals, as if they had asked again. The same name can
// listen again at once.
package memnet

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Window is how many bytes one direction of a connection holds, sent and not yet
// read, before its writer waits.
const Window = 256 << 10

// backlog is how many connections a listener holds that were not accepted yet.
const backlog = 128

// A Mode is what a link does with packets.
type Mode uint8

const (
	Pass  Mode = 0 // deliver them
	Drop  Mode = 1 // lose them; streams wait, dials hang
	Reset Mode = 2 // answer them with a reset; dials are refused
)

// A Network connects its hosts. Methods may be called by any goroutine at once.
type Network struct {
	// One lock for everything: traffic of a test is small, and a fault changes
	// many connections at the same instant. Nothing blocks under it but the
	// conditions that release it.
	mu        sync.Mutex
	changed   *sync.Cond // a listener or the mode of a link changed
	listeners map[string]*listener
	links     map[direction]*link
	conns     map[*conn]struct{}
	nextPort  int
}

// A direction is from one host to another.
type direction struct{ from, to string }

// A link is one direction between two hosts.
type link struct {
	mode    Mode
	latency time.Duration
}

// New makes a network without faults or latency.
func New() *Network {
	n := &Network{
		listeners: make(map[string]*listener),
		links:     make(map[direction]*link),
		conns:     make(map[*conn]struct{}),
		nextPort:  40000,
	}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// A Host is a machine by name.
type Host struct {
	net  *Network
	name string
}

// Host is the machine of that name. There is nothing to make first.
func (n *Network) Host(name string) *Host { return &Host{net: n, name: name} }

// linkLocked is the state of one direction; a host reaches itself in all faults.
func (n *Network) linkLocked(from, to string) *link {
	d := direction{from, to}
	l := n.links[d]
	if l == nil {
		l = new(link)
		n.links[d] = l
	}
	return l
}

// SetLatency makes packets between a and b take d each way from now on.
func (n *Network) SetLatency(a, b string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.linkLocked(a, b).latency = d
	n.linkLocked(b, a).latency = d
}

// Cut makes packets between a and b, both ways, drop or reset.
func (n *Network) Cut(a, b string, m Mode) {
	n.CutOneWay(a, b, m)
	n.CutOneWay(b, a, m)
}

// CutOneWay does it for packets from one host to another only. A reset ends
// connections on both ends all the same.
func (n *Network) CutOneWay(from, to string, m Mode) {
	if from == to {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.linkLocked(from, to).mode = m
	n.wakeLocked(func(c *conn) bool { return c.between(from, to) })
}

// Heal lets packets between a and b pass both ways.
func (n *Network) Heal(a, b string) { n.Cut(a, b, Pass) }

// HealAll lets all packets pass. Latencies stay.
func (n *Network) HealAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.mode = Pass
	}
	n.wakeLocked(func(*conn) bool { return true })
}

// Partition cuts every host of one group from every host of another, with m, and
// heals within groups. Hosts that are in no group are left as they are.
func (n *Network) Partition(m Mode, groups ...[]string) {
	for i, group := range groups {
		for j, other := range groups {
			for _, a := range group {
				for _, b := range other {
					if i == j {
						n.CutOneWay(a, b, Pass)
					} else {
						n.CutOneWay(a, b, m)
					}
				}
			}
		}
	}
}

// wakeLocked applies the mode of links to those connections for which it may have
// changed, and wakes whoever waits on them.
func (n *Network) wakeLocked(affected func(*conn) bool) {
	for c := range n.conns {
		if !affected(c) {
			continue
		}
		if n.modeLocked(c.local.host, c.remote.host) == Reset || c.other.gone && n.passesLocked(c.remote.host, c.local.host) {
			c.resetLocked()
		}
		c.in.cond.Broadcast()
		c.out.cond.Broadcast()
	}
	n.changed.Broadcast()
}

// modeLocked is the worse of the two directions between a and b.
func (n *Network) modeLocked(a, b string) Mode {
	return max(n.linkLocked(a, b).mode, n.linkLocked(b, a).mode)
}

func (n *Network) passesLocked(from, to string) bool { return n.linkLocked(from, to).mode == Pass }

// An addr is a net.Addr of this network.
type addr struct {
	host string
	port int
}

func (addr) Network() string  { return "mem" }
func (a addr) String() string { return net.JoinHostPort(a.host, strconv.Itoa(a.port)) }

// Listen opens host:port, where host is h or empty, and port 0 is any free one.
func (h *Host) Listen(hostport string) (net.Listener, error) {
	at, err := h.parse(hostport)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "mem", Err: err}
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if at.port == 0 {
		at.port = h.net.nextPort
		h.net.nextPort++
	}
	if h.net.listeners[at.String()] != nil {
		return nil, &net.OpError{Op: "listen", Net: "mem", Addr: at, Err: syscall.EADDRINUSE}
	}
	ln := &listener{net: h.net, addr: at}
	ln.cond = sync.NewCond(&h.net.mu)
	h.net.listeners[at.String()] = ln
	return ln, nil
}

func (h *Host) parse(hostport string) (addr, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return addr{}, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return addr{}, fmt.Errorf("port %q is not a number", port)
	}
	if host != "" && host != h.name {
		return addr{}, fmt.Errorf("host %q is not this host, %q", host, h.name)
	}
	return addr{h.name, int(number)}, nil
}

// Dial connects h to a listener. It waits, until ctx ends, while a link drops.
func (h *Host) Dial(ctx context.Context, hostport string) (net.Conn, error) {
	nc, err := h.dial(ctx, hostport)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: name(hostport), Err: err}
	}
	return nc, nil
}

// name is an address as it was asked for.
type name string

func (name) Network() string  { return "mem" }
func (n name) String() string { return string(n) }

func (h *Host) dial(ctx context.Context, hostport string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	n := h.net
	defer context.AfterFunc(ctx, n.wakeDials)()
	if err := n.travel(ctx, h.name, host); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.modeLocked(h.name, host) == Drop && ctx.Err() == nil {
		n.changed.Wait()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	ln := n.listeners[hostport]
	if ln == nil || n.modeLocked(h.name, host) == Reset || len(ln.waiting) == backlog {
		return nil, syscall.ECONNREFUSED
	}
	n.nextPort++
	near, far := pipe(n, addr{h.name, n.nextPort}, ln.addr)
	ln.waiting = append(ln.waiting, far)
	ln.cond.Signal()
	return near, nil
}

func (n *Network) wakeDials() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changed.Broadcast()
}

// travel waits for the round trip of opening a connection.
func (n *Network) travel(ctx context.Context, from, to string) error {
	n.mu.Lock()
	trip := n.linkLocked(from, to).latency + n.linkLocked(to, from).latency
	n.mu.Unlock()
	if trip == 0 {
		return nil
	}
	timer := time.NewTimer(trip)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Kill closes all listeners and connections of h.
func (h *Host) Kill() {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for at, ln := range n.listeners {
		if ln.addr.host == h.name {
			delete(n.listeners, at)
			ln.closeLocked()
		}
	}
	for c := range n.conns {
		if c.local.host == h.name {
			c.killLocked()
		}
	}
}

// Listening are the addresses that are open, sorted.
func (n *Network) Listening() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]string, 0, len(n.listeners))
	for at := range n.listeners {
		all = append(all, at)
	}
	slices.Sort(all)
	return all
}

// A listener is the net.Listener of Host.Listen.
type listener struct {
	net  *Network
	addr addr

	// guarded by net.mu
	cond    *sync.Cond
	waiting []*conn
	closed  bool
}

// Accept waits for a connection or for Close.
func (l *listener) Accept() (net.Conn, error) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	for len(l.waiting) == 0 && !l.closed {
		l.cond.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: "mem", Addr: l.addr, Err: net.ErrClosed}
	}
	c := l.waiting[0]
	l.waiting = l.waiting[1:]
	return c, nil
}

// Close frees the address and resets connections that were not accepted.
func (l *listener) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: "mem", Addr: l.addr, Err: net.ErrClosed}
	}
	delete(l.net.listeners, l.addr.String())
	l.closeLocked()
	return nil
}

func (l *listener) closeLocked() {
	l.closed = true
	for _, c := range l.waiting {
		c.killLocked()
	}
	l.waiting = nil
	l.cond.Broadcast()
}

func (l *listener) Addr() net.Addr { return l.addr }
