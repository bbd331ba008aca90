// Package network joins the nodes of a cluster under test by links that can be
// broken one by one and in one direction. Two carriers exist, chosen by what the
// machine allows:
//
//   - [Switch]: every node lives in a network namespace of its own with one TUN
//     device; this process is the cable between them and decides about every
//     packet: cuts, delay, jitter, loss, duplicates, reordering. Needs root.
//   - [Proxies]: every node listens behind a TCP proxy in this process, which finds
//     out from the kernel which node dials. Cuts (silent, or by reset) and delays;
//     nothing below TCP. Needs no privileges.
//
// A kernel's own tools (netem, nft) are not used: netem is missing from the
// kernels of many containers, and what a packet filter can do the switch does too.
package network

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Client is the name of the harness on the network: clients and upstreams.
const Client = "client"

// A Link is one direction between two nodes.
type Link struct{ From, To string }

// Both are the links between any of some and any of others, in both directions.
func Both(some, others []string) []Link { return append(OneWay(some, others), OneWay(others, some)...) }

// OneWay are the links from any of some to any of others.
func OneWay(some, others []string) []Link {
	var list []Link
	for _, a := range some {
		for _, b := range others {
			if a != b {
				list = append(list, Link{a, b})
			}
		}
	}
	return list
}

// A Condition is what is wrong with a link. Proxies know Cut, Reset and Delay.
type Condition struct {
	Cut       bool
	Reset     bool          // connections that are open end at once; new ones are refused
	Delay     time.Duration // of every packet
	Jitter    time.Duration // up to so much more; packets may overtake each other
	Loss      float64       // probability
	Duplicate float64
}

// An Impairment is a Condition on some links, until it is lifted.
type Impairment struct {
	condition Condition
	links     map[Link]bool
	hits      atomic.Int64
	weather   *Weather
}

// Hits is how many packets, chunks or connections it has touched.
func (i *Impairment) Hits() int64 { return i.hits.Load() }

// Lift ends the impairment.
func (i *Impairment) Lift() {
	w := i.weather
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, i)
	close(w.changed)
	w.changed = make(chan struct{})
}

// Weather is the state of all links. Any goroutine may use it.
type Weather struct {
	mu      sync.Mutex
	rng     *rand.Rand
	all     map[*Impairment]bool
	changed chan struct{} // closed when something ends
	resets  func([]Link)  // ends what is open; nil: nothing to end
}

// NewWeather is fair; what it does at random follows from the seed.
func NewWeather(seed uint64) *Weather {
	return &Weather{rng: rand.New(rand.NewPCG(seed, 2)), all: make(map[*Impairment]bool), changed: make(chan struct{})}
}

// Impose puts c on links until the result is lifted.
func (w *Weather) Impose(c Condition, links []Link) *Impairment {
	i := &Impairment{condition: c, links: make(map[Link]bool, len(links)), weather: w}
	for _, l := range links {
		i.links[l] = true
	}
	w.mu.Lock()
	w.all[i] = true
	resets := w.resets
	w.mu.Unlock()
	if c.Reset && resets != nil {
		resets(links)
	}
	return i
}

// A fate is what becomes of one packet.
type fate struct {
	lost   bool
	reset  bool
	copies int
	delay  time.Duration
}

// decide about one packet on l.
func (w *Weather) decide(l Link) fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := fate{copies: 1}
	for i := range w.all {
		if !i.links[l] {
			continue
		}
		c := i.condition
		touched := c.Delay > 0
		if c.Cut || c.Reset || c.Loss > 0 && w.rng.Float64() < c.Loss {
			f.lost, f.reset, touched = true, f.reset || c.Reset, true
		}
		if c.Duplicate > 0 && w.rng.Float64() < c.Duplicate {
			f.copies, touched = 2, true
		}
		f.delay += c.Delay
		if c.Jitter > 0 {
			f.delay += time.Duration(w.rng.Int64N(int64(c.Jitter)))
		}
		if touched {
			i.hits.Add(1)
		}
	}
	return f
}

// change is closed when the next impairment ends.
func (w *Weather) change() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// An Address is where a node listens, and where the others dial it.
type Address struct {
	MCP, Admin, Peer string // host:port that the node listens at, and the harness dials
	Advertise        string // host:port at which the other nodes dial Peer
}

// A Network is a carrier. Join is called for each node before any process starts.
type Network interface {
	// Name says which carrier it is.
	Name() string
	// Packets reports whether loss and duplicates can be brought about.
	Packets() bool
	// Join adds a node.
	Join(node string) (Address, error)
	// Start runs start on a thread whose children belong to the node's network.
	Start(node string, start func() error) error
	// Started tells which process is the node now.
	Started(node string, pid int)
	// Listen opens a listener that the nodes can reach: for upstreams.
	Listen(ctx context.Context) (net.Listener, error)
	// Weather is the state of its links.
	Weather() *Weather
	// Close ends it when no node runs any more.
	Close() error
}
