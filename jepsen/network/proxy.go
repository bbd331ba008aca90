package network

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"sync"
	"time"
)

// Proxies is a Network on loopback without privileges: a TCP proxy in front of the
// peer port of each node.
type Proxies struct {
	weather *Weather
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu        sync.Mutex
	listeners []net.Listener
	pids      map[string]int // of the process that each node is
	open      map[*pair]bool
}

// A pair is one connection through a proxy.
type pair struct {
	from, to string
	near     net.Conn // of who dialled
	far      net.Conn
}

// NewProxies starts with no nodes.
func NewProxies(seed uint64) *Proxies {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxies{weather: NewWeather(seed), ctx: ctx, cancel: cancel, pids: make(map[string]int), open: make(map[*pair]bool)}
	p.weather.resets = p.reset
	return p
}

func (p *Proxies) Name() string      { return "proxies" }
func (p *Proxies) Packets() bool     { return false }
func (p *Proxies) Weather() *Weather { return p.weather }

func (p *Proxies) Start(_ string, start func() error) error { return start() }

func (p *Proxies) Started(node string, pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pids[node] = pid
}

func (p *Proxies) Listen(ctx context.Context) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
}

// Join opens a proxy for a node and finds free ports for it.
func (p *Proxies) Join(node string) (Address, error) {
	ports, err := freePorts(3)
	if err != nil {
		return Address{}, err
	}
	a := Address{MCP: ports[0], Admin: ports[1], Peer: ports[2]}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Address{}, err
	}
	a.Advertise = l.Addr().String()
	p.mu.Lock()
	p.listeners = append(p.listeners, l)
	p.mu.Unlock()
	p.wg.Go(func() { p.accept(l, node, a.Peer) })
	return a, nil
}

// freePorts are addresses on loopback at which nobody listens. They are taken from
// below the range of outgoing connections, so that none is taken meanwhile.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for port := 21_000 + nextPort(); port < 32_000 && len(addrs) < n; port = 21_000 + nextPort() {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		addrs = append(addrs, l.Addr().String())
		l.Close()
	}
	if len(addrs) < n {
		return nil, errors.New("no free ports on loopback between 21000 and 32000")
	}
	return addrs, nil
}

var (
	portMu   sync.Mutex
	lastPort int
)

func nextPort() int {
	portMu.Lock()
	defer portMu.Unlock()
	lastPort++
	return lastPort
}

func (p *Proxies) accept(l net.Listener, node, to string) {
	for {
		near, err := l.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(near, node, to) })
	}
}

// serve carries one connection until either end closes it.
func (p *Proxies) serve(near net.Conn, node, to string) {
	defer near.Close()
	c := &pair{from: p.dialler(near.RemoteAddr()), to: node, near: near}
	if p.weather.decide(Link{c.from, c.to}).reset {
		hardClose(near)
		return
	}
	far, err := new(net.Dialer).DialContext(p.ctx, "tcp", to)
	if err != nil {
		hardClose(near) // as a port at which nobody listens
		return
	}
	defer far.Close()
	c.far = far
	if !p.enter(c) {
		return
	}
	defer p.leave(c)
	var wg sync.WaitGroup
	wg.Go(func() { p.pump(far, near, Link{c.from, c.to}) })
	wg.Go(func() { p.pump(near, far, Link{c.to, c.from}) })
	wg.Wait()
}

func (p *Proxies) enter(c *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.open[c] = true
	return true
}

func (p *Proxies) leave(c *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// dialler is the node whose process has the other end of a connection from addr;
// "" if it cannot be told.
func (p *Proxies) dialler(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return ""
	}
	p.mu.Lock()
	pids := make(map[string]int, len(p.pids))
	maps.Copy(pids, p.pids)
	p.mu.Unlock()
	return ownerOf(tcp.Port, pids)
}

// A chunk waits in a proxy until it is due.
type chunk struct {
	data []byte
	due  time.Time
}

// pump carries bytes of one direction. What a cut holds back goes on when it ends,
// as TCP would send it again.
func (p *Proxies) pump(to, from net.Conn, l Link) {
	queue := make(chan chunk, 64)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(queue)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				f, ok := p.admit(l)
				if !ok {
					return
				}
				select {
				case queue <- chunk{buf[:n], time.Now().Add(f.delay)}:
				case <-p.ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for c := range queue {
		if !sleep(p.ctx, time.Until(c.due)) {
			break
		}
		if _, err := to.Write(c.data); err != nil {
			break
		}
	}
	// Whichever end has gone, the other learns of it, unless the link is cut.
	if _, ok := p.admit(l); ok {
		to.Close()
	}
	from.Close()
	for range queue { //nolint:revive // drained, so that the reader ends
	}
	wg.Wait()
}

// admit waits until l is not cut; false when the proxy closes.
func (p *Proxies) admit(l Link) (fate, bool) {
	for {
		change := p.weather.change()
		f := p.weather.decide(l)
		if !f.lost {
			return f, true
		}
		select {
		case <-change:
		case <-p.ctx.Done():
			return f, false
		}
	}
}

// reset ends every connection on links.
func (p *Proxies) reset(links []Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range links {
		for c := range p.open {
			if c.from == l.From && c.to == l.To || c.from == l.To && c.to == l.From {
				hardClose(c.near)
				hardClose(c.far)
			}
		}
	}
}

// hardClose ends a connection with a reset.
func hardClose(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Close ends the proxies and waits for them.
func (p *Proxies) Close() error {
	p.cancel()
	p.mu.Lock()
	var errs []error
	for _, l := range p.listeners {
		errs = append(errs, l.Close())
	}
	for c := range p.open {
		errs = append(errs, ignoreClosed(c.near.Close()), ignoreClosed(c.far.Close()))
	}
	p.mu.Unlock()
	p.wg.Wait()
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
