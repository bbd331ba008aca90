package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// Bounds of what dev keeps of its nodes' logs.
const (
	devLogBytes  = 32 << 20 // of one log file; the one before it is kept as <file>.1
	devLineBytes = 16 << 10 // of one line; longer ones are cut where they are shown
	devHeldLines = 256      // held back until the banner is out; further ones are counted
)

// A devGate holds lines back until it is opened, so that no log line comes
// between the lines of the banner. It may be used by many goroutines.
type devGate struct {
	mu      sync.Mutex
	out     io.Writer
	open    bool
	shut    bool
	held    []string
	dropped int
}

// Print shows line, now or when the gate opens.
func (g *devGate) Print(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.shut:
	case g.open:
		fmt.Fprintln(g.out, line)
	case len(g.held) < devHeldLines:
		g.held = append(g.held, line)
	default:
		g.dropped++
	}
}

// Open shows what was held back, and from now on every line as it comes.
func (g *devGate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, line := range g.held {
		fmt.Fprintln(g.out, line)
	}
	if g.dropped > 0 {
		fmt.Fprintf(g.out, "… and %d more lines, see the log files\n", g.dropped)
	}
	g.open, g.held, g.dropped = true, nil, 0
}

// Shut shows what is held back and no line after that: nodes that stop one after
// the other complain about each other, which says nothing.
func (g *devGate) Shut() {
	g.Open()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

// A devLog takes the log of one node: every line goes to the node's file, and
// what a person should see now goes to the gate under the node's name: warnings,
// errors, and everything that is no log line (a panic, say). It is written to by
// one goroutine at a time, the one that waits for the node's process.
type devLog struct {
	node string
	path string
	gate *devGate

	file *os.File
	size int64
	line []byte // the beginning of a line whose end is still to come

	mu   sync.Mutex
	last []string // the newest lines worth showing when the node does not start
}

const devLastLines = 8

func openDevLog(path, node string, gate *devGate) (*devLog, error) {
	l := &devLog{node: node, path: path, gate: gate}
	if err := l.reopen(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *devLog) reopen() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	l.file, l.size = file, info.Size()
	return nil
}

// Write takes a piece of the log. It never fails: a full disk must not stop the
// node whose log it is.
func (l *devLog) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		before, after, ok := bytes.Cut(p, []byte{'\n'})
		if !ok {
			l.line = append(l.line, p[:min(len(p), max(0, devLineBytes-len(l.line)))]...)
			break
		}
		l.put(append(l.line, before...))
		l.line, p = l.line[:0], after
	}
	return n, nil
}

func (l *devLog) put(line []byte) {
	if len(line) > devLineBytes {
		line = line[:devLineBytes]
	}
	l.store(line)
	text := strings.TrimSpace(string(line))
	if text == "" || !worthShowing(text) {
		return
	}
	text = escape(text)
	text = l.shorten(text)
	l.remember(text)
	l.gate.Print(l.node + " | " + text)
}

// shorten leaves out of a log line what the person in front of it knows: that it
// is now, and which node says it.
func (l *devLog) shorten(text string) string {
	if !strings.HasPrefix(text, logLine) {
		return text
	}
	_, text, _ = strings.Cut(text, " level=")
	return strings.Replace(text, " self="+l.node, "", 1)
}

func (l *devLog) store(line []byte) {
	if l.file == nil {
		return
	}
	if l.size > devLogBytes {
		l.file.Close()
		l.file = nil
		if os.Rename(l.path, l.path+".1") != nil || l.reopen() != nil {
			return
		}
	}
	n, _ := l.file.Write(append(line, '\n'))
	l.size += int64(n)
}

// logLine is how lines of log/slog's text handler begin: with their time.
const logLine = "time="

// worthShowing reports whether a line of a node's log is shown to the person in
// front of dev.
func worthShowing(line string) bool {
	if !strings.HasPrefix(line, logLine) {
		return true
	}
	_, rest, _ := strings.Cut(line, " level=")
	level, _, _ := strings.Cut(rest, " ")
	return strings.HasPrefix(level, "WARN") || strings.HasPrefix(level, "ERROR")
}

func (l *devLog) remember(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.last) == devLastLines {
		l.last = append(l.last[:0], l.last[1:]...)
	}
	l.last = append(l.last, line)
}

// Last is the newest lines that were shown, oldest first; any goroutine.
func (l *devLog) Last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.last...)
}

func (l *devLog) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
