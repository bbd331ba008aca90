package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// Config is what a Port needs. All functions may be called from many goroutines
// at once and must not block.
type Config struct {
	// Identity is what this node is now. Only ClusterID and Timeline may change,
	// once, from zero.
	Identity func() Identity

	Credentials *Credentials
	Listener    net.Listener // owned by the Port from New on

	// Dial opens a connection to host:port. nil means TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	// Resolve tells where a node listens, and the disk that it must have; a zero
	// disk accepts any. ok is false for a node that nobody knows.
	Resolve func(node string) (addr string, disk record.ID, ok bool)

	Logger  *slog.Logger // nil means discard
	Metrics *Metrics     // nil means not counted
	Limits  Limits
}

// Limits bound what a Port holds and how long it waits. Zero means the default.
type Limits struct {
	HandshakeTimeout time.Duration // to open or to take a connection, all in all; default 5 s
	HalfOpen         int           // connections in their handshake; more are closed at once; default 64
	PerNode          int           // connections taken from one node; default 64
	MaxBody          int           // bytes of a call or an answer, equal on all nodes; default 4 MiB
	MaxInFlight      int           // calls on one connection, each way; default 1,024
	SilentAfter      time.Duration // a connection for calls that hears nothing for so long is dead; default 4 s
	PingInterval     time.Duration // of measuring the round trip; default 2 s
	RedialMin        time.Duration // pause after a first failed dial; doubles; default 50 ms
	RedialMax        time.Duration // longest pause; default 1 s
	DrainTimeout     time.Duration // for handlers to finish when the Port stops; default 1 s
}

func (l Limits) withDefaults() Limits {
	l.HandshakeTimeout = or(l.HandshakeTimeout, 5*time.Second)
	l.HalfOpen = or(l.HalfOpen, 64)
	l.PerNode = or(l.PerNode, 64)
	l.MaxBody = or(l.MaxBody, 4<<20)
	l.MaxInFlight = or(l.MaxInFlight, 1024)
	l.SilentAfter = or(l.SilentAfter, 4*time.Second)
	l.PingInterval = or(l.PingInterval, 2*time.Second)
	l.RedialMin = or(l.RedialMin, 50*time.Millisecond)
	l.RedialMax = or(l.RedialMax, time.Second)
	l.DrainTimeout = or(l.DrainTimeout, time.Second)
	return l
}

func or[T int | time.Duration](v, fallback T) T {
	if v > 0 {
		return v
	}
	return fallback
}

// A Port is one node's end of all its links to other nodes.
type Port struct {
	o    Config
	log  *slog.Logger
	rare rarely // for log lines that a stranger could repeat at will

	// ctx ends when the Port does. It is the Port's own because raft dials without one.
	ctx  context.Context
	stop context.CancelCauseFunc
	wg   sync.WaitGroup // every goroutine of the Port; started through spawn only

	halfOpen chan struct{} // one token per handshake under way

	mu       sync.Mutex // guards what follows; nothing blocks under it
	stopped  bool       // no more goroutines
	handlers map[uint16]handler
	streams  map[*stream]struct{}  // every open connection past its handshake
	present  map[string]*presence  // by node: who is connected to us
	links    map[string]*link      // by node: whom we call
	serving  map[*session]struct{} // connections whose calls we serve
	layer    *RaftLayer            // nil: raft does not run
}

var errStopped error = refuse(ReasonStopped, fault.Unavailable, "this node is shutting down")

// New checks c and makes a Port. It takes nothing before Run, but may call.
func New(c Config) (*Port, error) {
	if c.Identity == nil || c.Credentials == nil || c.Listener == nil || c.Resolve == nil {
		return nil, errors.New("peer: Identity, Credentials, Listener and Resolve are all needed")
	}
	own := c.Identity()
	if err := own.validate(); err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	if name := c.Credentials.Name(); name != (Name{own.Cluster, own.Node}) {
		return nil, fault.New(fault.Invalid, "the certificate is of node %s of cluster %s, this is node %s of cluster %s",
			name.Node, name.Cluster, own.Node, own.Cluster).
			WithHint("issue one with `mcpraft cluster cert issue %s`, by the CA of cluster %s", own.Node, own.Cluster)
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	c.Limits = c.Limits.withDefaults()
	ctx, stop := context.WithCancelCause(context.Background())
	p := &Port{
		o:        c,
		log:      c.Logger,
		ctx:      ctx,
		stop:     stop,
		halfOpen: make(chan struct{}, c.Limits.HalfOpen),
		handlers: make(map[uint16]handler),
		streams:  make(map[*stream]struct{}),
		present:  make(map[string]*presence),
		links:    make(map[string]*link),
		serving:  make(map[*session]struct{}),
	}
	p.Handle(opPing, func(context.Context, From, []byte) ([]byte, error) { return nil, nil }, BeforeMembership())
	p.noteExpiry()
	return p, nil
}

// CertExpiry is when the certificate of this node stops to be valid.
func (p *Port) CertExpiry() time.Time { return p.o.Credentials.Expiry() }

// noteExpiry is repeated with each connection: the certificate may be a new one.
func (p *Port) noteExpiry() {
	p.o.Metrics.certExpiry.Set(float64(p.o.Credentials.Expiry().Unix()))
}

// Run takes connections until ctx ends or someone closes the listener. Then it takes no
// more, gives handlers DrainTimeout to finish, closes every connection, those of
// raft too, and returns when all goroutines of the Port have ended: nil after the
// end of ctx, else the error of the listener. It is called once; a Port that is
// never Run must be given an ended ctx to free what it holds.
func (p *Port) Run(ctx context.Context) error {
	stopAccept := context.AfterFunc(ctx, func() { p.o.Listener.Close() })
	err := p.acceptAll(ctx)
	stopAccept()
	_ = p.o.Listener.Close() // closed already
	if ctx.Err() != nil {
		err = nil
	}
	p.shutdown()
	return err
}

// acceptAll serves the listener until it is closed. An error that passes, such as
// too many open files, costs a pause.
func (p *Port) acceptAll(ctx context.Context) error {
	const minPause, maxPause = 5 * time.Millisecond, time.Second
	pause := minPause
	for {
		nc, err := p.o.Listener.Accept()
		if err == nil {
			pause = minPause
			p.admit(nc)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("peer port %s: %w", p.o.Listener.Addr(), err)
		}
		if p.rare.allow("accept") {
			p.log.Warn("cannot accept connections of peers", "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, maxPause)
	}
}

// shutdown ends everything. What is not raft's ends with the Port's context.
func (p *Port) shutdown() {
	p.drain()
	p.mu.Lock()
	p.stopped = true
	layer := p.layer
	p.mu.Unlock()
	p.stop(errStopped)
	if layer != nil {
		_ = layer.Close()
	}
	p.wg.Wait()
}

// drain waits, within DrainTimeout, until the calls being served are answered.
func (p *Port) drain() {
	ctx, cancel := context.WithTimeout(p.ctx, p.o.Limits.DrainTimeout)
	defer cancel()
	var wg sync.WaitGroup
	p.mu.Lock()
	for s := range p.serving {
		wg.Go(func() { _ = s.frames.Shutdown(ctx) }) // its error: the time was up
	}
	p.mu.Unlock()
	wg.Wait()
}

// spawn runs f on a goroutine that shutdown waits for; it reports false if the
// Port has stopped.
func (p *Port) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	p.wg.Go(f)
	return true
}

// rarely lets one log line in a while through for each key.
type rarely struct {
	mu   sync.Mutex
	last map[string]time.Time // at most rareKeys; forgotten all at once
}

const (
	rareKeys  = 128
	rarePause = 10 * time.Second
)

func (r *rarely) allow(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if last, ok := r.last[key]; ok && now.Sub(last) < rarePause {
		return false
	}
	if r.last == nil || len(r.last) >= rareKeys {
		r.last = make(map[string]time.Time)
	}
	r.last[key] = now
	return true
}
