package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	memoryOpeners = 64              // connections that open sessions
	memorySettles = 5 * time.Second // before what is resident is read
)

// benchMemory: what an idle session and an open GET stream cost a node, in resident
// bytes, when there are a thousand and ten thousand of them.
func benchMemory(ctx context.Context, o options) error {
	for _, n := range []int{1000, 10_000} {
		if err := measureMemory(ctx, o, n); err != nil {
			return err
		}
	}
	return nil
}

func measureMemory(ctx context.Context, o options, n int) error {
	upstream, stop, err := startNative(ctx)
	if err != nil {
		return err
	}
	defer stop()
	w, err := startFront(ctx, o, upstream, 1)
	if err != nil {
		return err
	}
	defer w.close()
	h := &holder{load: frontLoad{path: w.url, tool: w.tool, token: w.token, conns: memoryOpeners}, addr: w.addrs[0], pid: w.nodes[0]}
	defer h.close()
	if err := h.openSessions(1); err != nil {
		return err
	}
	before, err := h.resident(ctx)
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name string
		open func(int) error
	}{{"session", h.openSessions}, {"stream", h.openStreams}} {
		if err := kind.open(n); err != nil {
			return fmt.Errorf("%d of %s: %w", n, kind.name, err)
		}
		after, err := h.resident(ctx)
		if err != nil {
			return err
		}
		line{
			Bench: fmt.Sprintf("memory/%s/%d", kind.name, n), Ours: (after - before) * 1024 / float64(n), Unit: "KiB resident, each", Nodes: 1,
			Conditions: fmt.Sprintf("%.1f MiB before, %.1f after; a stream has a connection, and a session that was there before; %s", before, after, machine()),
		}.print()
		before = after
	}
	return nil
}

// A holder opens sessions and streams, and keeps the latter open.
type holder struct {
	load frontLoad
	addr string
	pid  int // of the node

	mu       sync.Mutex
	sessions []string // heads of requests of each session, from the path on
	streams  []net.Conn
}

func (h *holder) close() {
	for _, nc := range h.streams {
		nc.Close()
	}
}

// resident is the memory of the node once it has settled, in MiB.
func (h *holder) resident(ctx context.Context) (float64, error) {
	sleepUntil(ctx, time.Now().Add(memorySettles))
	return residentMiB(h.pid)
}

// openSessions opens n sessions, a part of them on each of a few connections.
func (h *holder) openSessions(n int) error {
	return h.share(n, func(i, part int) error {
		c, err := h.load.caller(h.addr, i)
		if err != nil {
			return err
		}
		defer c.nc.Close()
		for done := 0; ; {
			h.mu.Lock()
			h.sessions = append(h.sessions, fmt.Sprintf("%sMcp-Session-Id: %s\r\n\r\n", strings.TrimPrefix(c.head, "POST "), c.session))
			h.mu.Unlock()
			if done++; done >= part {
				return nil
			}
			if err := c.step("initialize"); err != nil {
				return err
			}
		}
	})
}

// openStreams opens a stream in each of n sessions.
func (h *holder) openStreams(n int) error {
	sessions := h.sessions[:n]
	return h.share(n, func(i, _ int) error {
		for at := i; at < n; at += memoryOpeners {
			nc, err := net.Dial("tcp", h.addr)
			if err != nil {
				return err
			}
			h.mu.Lock()
			h.streams = append(h.streams, nc)
			h.mu.Unlock()
			if err := openStream(nc, sessions[at]); err != nil {
				return err
			}
		}
		return nil
	})
}

// openStream sends a GET and waits for the head of its answer.
func openStream(nc net.Conn, head string) error {
	if _, err := fmt.Fprintf(nc, "GET %s", strings.Replace(head, "Accept: application/json, ", "Accept: ", 1)); err != nil {
		return err
	}
	var answer [64]byte
	read, err := nc.Read(answer[:])
	if err != nil {
		return err
	}
	if status := string(answer[:read]); !strings.Contains(status, fmt.Sprint(http.StatusOK)) {
		return fmt.Errorf("the answer begins with %q", status)
	}
	return nil
}

// share calls f for each opener with its part of n.
func (h *holder) share(n int, f func(i, part int) error) error {
	openers := min(n, memoryOpeners)
	errs := make([]error, openers)
	var wg sync.WaitGroup
	for i := range openers {
		part := n / openers
		if i < n%openers {
			part++
		}
		wg.Go(func() { errs[i] = f(i, part) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
