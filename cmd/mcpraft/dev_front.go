package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of the front port of a dev cluster.
const (
	frontConnections = 1024                   // at once; the next one waits in the accept queue
	frontProbeEvery  = 250 * time.Millisecond // between two looks at the nodes
	frontProbeLimit  = time.Second            // for the answer of one node
	frontHold        = 5 * time.Second        // that a connection waits for a node that takes it
	frontRetry       = 100 * time.Millisecond // between two tries to find one
)

// A devFront is the one address of a dev cluster that stays when nodes die: a
// TCP proxy to the MCP port of a node that is ready. MCP clients never change
// the URL they were given, so something must hold it for them; in production
// that is a load balancer.
//
// A connection stays with its node until one side closes it. New connections go
// to the node that took the last one for as long as that one is ready, so that
// what a person sees on the front port comes from one node until it dies.
type devFront struct {
	listener net.Listener
	nodes    []devTarget
	client   *http.Client

	ready   []atomic.Bool // of nodes[i], as of the last probe
	current atomic.Int32  // index in nodes of the last one that took a connection
}

// A devTarget is a node as the front port sees it.
type devTarget struct {
	mcp   string // host:port that connections are passed to
	probe string // URL that answers 200 when the node is ready
}

func newDevFront(l net.Listener, nodes []devTarget) *devFront {
	return &devFront{
		listener: l,
		nodes:    nodes,
		client:   &http.Client{Timeout: frontProbeLimit},
		ready:    make([]atomic.Bool, len(nodes)),
	}
}

// Run serves until ctx ends, then closes the listener and every connection and
// waits for what it started.
func (f *devFront) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer f.client.CloseIdleConnections()
	defer context.AfterFunc(ctx, func() { f.listener.Close() })()

	for i := range f.nodes {
		wg.Go(func() { f.watch(ctx, i) })
	}
	slots := make(chan struct{}, frontConnections)
	for {
		slots <- struct{}{}
		conn, err := f.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		wg.Go(func() {
			defer func() { <-slots }()
			f.serve(ctx, conn)
		})
	}
}

// watch keeps ready[i] true to what node i says of itself.
func (f *devFront) watch(ctx context.Context, i int) {
	tick := time.NewTicker(frontProbeEvery)
	defer tick.Stop()
	for {
		f.ready[i].Store(f.probe(ctx, f.nodes[i].probe))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *devFront) probe(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	return resp.StatusCode == http.StatusOK
}

// serve passes one connection on, both ways, until one side is done or ctx ends.
func (f *devFront) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	node, err := f.connect(ctx)
	if err != nil {
		return
	}
	defer node.Close()
	defer context.AfterFunc(ctx, func() {
		client.Close()
		node.Close()
	})()

	var wg sync.WaitGroup
	wg.Go(func() { pass(node, client) })
	pass(client, node)
	wg.Wait()
}

// pass copies from src to dst until src ends, and tells dst so. A copy that
// broke closes both ends: half a connection helps nobody.
func pass(dst, src net.Conn) {
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		src.Close()
		return
	}
	if half, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	dst.Close()
}

// connect opens a connection to a node: the current one if it is ready, else the
// next ready one, else any that takes it (a known session needs no leader). It
// keeps trying for frontHold, which covers an election.
func (f *devFront) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, frontHold)
	defer cancel()
	for {
		for _, wantReady := range []bool{true, false} {
			if conn := f.dialOne(ctx, wantReady); conn != nil {
				return conn, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(frontRetry):
		}
	}
}

// dialOne tries each node once, starting with the current one, and skips those
// whose readiness is not the wanted one.
func (f *devFront) dialOne(ctx context.Context, wantReady bool) net.Conn {
	var dialer net.Dialer
	first := int(f.current.Load())
	for n := range f.nodes {
		i := (first + n) % len(f.nodes)
		if f.ready[i].Load() != wantReady {
			continue
		}
		conn, err := dialer.DialContext(ctx, "tcp", f.nodes[i].mcp)
		if err != nil {
			f.ready[i].Store(false) // until the next probe says otherwise
			continue
		}
		f.current.Store(int32(i))
		return conn
	}
	return nil
}
