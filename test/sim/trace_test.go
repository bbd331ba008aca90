package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// A trace is what happened, in virtual time since the start: faults, elections
// and whatever the nodes have logged.
type trace struct {
	start time.Time

	mu      sync.Mutex
	to      io.Writer
	stopped bool
}

// stop says that virtual time has ended: what comes later is found afterwards.
func (t *trace) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
}

func (t *trace) printf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	when := "afterwards"
	if !t.stopped {
		when = time.Since(t.start).String()
	}
	fmt.Fprintf(t.to, "%14s  %s\n", when, fmt.Sprintf(format, args...))
}

// logger is a node's logger into the trace.
func (t *trace) logger(node string) *slog.Logger { return slog.New(&nodeLog{trace: t, node: node}) }

// nodeLog is a slog.Handler.
type nodeLog struct {
	trace *trace
	node  string
	attrs []slog.Attr
}

func (h *nodeLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h *nodeLog) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", h.node, r.Message)
	write := func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%v", a.Key, a.Value); return true }
	for _, a := range h.attrs {
		write(a)
	}
	r.Attrs(write)
	h.trace.printf("%s", b.String())
	return nil
}

func (h *nodeLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &nodeLog{h.trace, h.node, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h *nodeLog) WithGroup(string) slog.Handler { return h }
