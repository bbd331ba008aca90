package raftnode

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// repeatEvery is how often one message of raft is told: a peer that is down
// makes raft say so many times a second.
const repeatEvery = 10 * time.Second

// raftLogger gives raft's messages to slog, one level quieter than raft means
// them: what raft calls a warning is normal in elections, and what it calls an
// error is usually a peer that is down, or, when a cluster begins, one that does
// not belong to it yet. A message is repeated at most every ten
// seconds. Raft's messages are constants, so what is remembered is bounded.
type raftLogger struct {
	slog *slog.Logger
	args []any
	seen *seen
}

type seen struct {
	mu    sync.Mutex
	when  map[string]time.Time
	quiet bool
}

// quiet ends what is told: a raft that is being stopped calls much an error that
// is none.
func (l *raftLogger) quiet() {
	l.seen.mu.Lock()
	defer l.seen.mu.Unlock()
	l.seen.quiet = true
}

func newRaftLogger(l *slog.Logger) *raftLogger {
	return &raftLogger{slog: l, seen: &seen{when: make(map[string]time.Time)}}
}

var _ hclog.Logger = (*raftLogger)(nil)

func (l *raftLogger) level(level hclog.Level) slog.Level {
	switch {
	case level >= hclog.Error:
		return slog.LevelWarn
	case level == hclog.Warn, level == hclog.Info:
		return slog.LevelDebug
	default:
		return slog.LevelDebug - 4
	}
}

func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	at := min(l.level(level), levelOf(args))
	if !l.slog.Enabled(context.Background(), at) || at >= slog.LevelWarn && !l.seen.due(msg) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	l.slog.Log(context.Background(), at, "raft: "+msg, append(l.args, args...)...) //nolint:sloglint // the library's own words
}

// levelOf is how loud the error among args may be told.
func levelOf(args []any) slog.Level {
	for _, a := range args {
		if err, ok := a.(error); ok {
			return peer.ReasonOf(err).Level()
		}
	}
	return slog.LevelError
}

// due reports whether msg was not told within repeatEvery, and counts it as told.
func (s *seen) due(msg string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if t, ok := s.when[msg]; s.quiet || ok && now.Sub(t) < repeatEvery {
		return false
	}
	s.when[msg] = now
	return true
}

func (l *raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLogger) enabled(level hclog.Level) bool {
	return l.slog.Enabled(context.Background(), l.level(level))
}

func (l *raftLogger) IsTrace() bool { return l.enabled(hclog.Trace) }
func (l *raftLogger) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l *raftLogger) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l *raftLogger) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l *raftLogger) IsError() bool { return l.enabled(hclog.Error) }

func (l *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{slog: l.slog, args: append(append([]any(nil), l.args...), args...), seen: l.seen}
}

func (l *raftLogger) ImpliedArgs() []any             { return l.args }
func (l *raftLogger) Name() string                   { return "raft" }
func (l *raftLogger) Named(string) hclog.Logger      { return l }
func (l *raftLogger) ResetNamed(string) hclog.Logger { return l }
func (l *raftLogger) SetLevel(hclog.Level)           {}
func (l *raftLogger) GetLevel() hclog.Level          { return hclog.Trace }
func (l *raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(io.Discard, "", 0)
}
func (l *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return io.Discard }
