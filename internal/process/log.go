package process

import (
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// LogBytes is how much of the output of one child is kept, in bytes.
	LogBytes = 256 << 10

	// LogRate is how fast stderr is read, in bytes per second: a child that writes
	// more waits, as it would for a slow terminal.
	LogRate = 1 << 20

	// maxLogLine is the longest line of a log, in bytes; the rest of a longer one is
	// the next line.
	maxLogLine = 4 << 10
)

// A LogLine is one line that a child, or we about it, have written.
type LogLine struct {
	At   time.Time
	Text string // printable: what a terminal would act on is escaped
}

// A Log holds the newest lines of a child, across its restarts. Any goroutine may
// use it. The zero value is empty.
type Log struct {
	mu      sync.Mutex
	lines   []LogLine
	bytes   int
	dropped uint64 // lines that made room
	partial []byte // of a line that has not ended
}

// Write takes what a child writes to stderr. It never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range p {
		if b != '\n' {
			l.partial = append(l.partial, b)
		}
		if b == '\n' || len(l.partial) == maxLogLine {
			l.flush()
		}
	}
	return len(p), nil
}

// Say adds a line of our own.
func (l *Log) Say(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	l.add(text)
}

// Lines are the newest lines, oldest first, at most limit of them, and how many
// there were before those that are kept.
func (l *Log) Lines(limit int) (lines []LogLine, dropped uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	skip := max(len(l.lines)-limit, 0)
	return append(lines, l.lines[skip:]...), l.dropped + uint64(skip)
}

// flush is called with l.mu held.
func (l *Log) flush() {
	if len(l.partial) > 0 {
		l.add(string(l.partial))
		l.partial = l.partial[:0]
	}
}

// lineCost is what a line costs beside its text, in bytes.
const lineCost = 48

func (l *Log) add(text string) {
	line := LogLine{At: time.Now(), Text: printable(strings.TrimRight(text, "\r"))}
	l.lines = append(l.lines, line)
	l.bytes += len(line.Text) + lineCost
	gone := 0
	for l.bytes > LogBytes {
		l.bytes -= len(l.lines[gone].Text) + lineCost
		gone++
	}
	if gone > 0 {
		l.dropped += uint64(gone)
		l.lines = append(l.lines[:0:0], l.lines[gone:]...)
	}
}

// printable escapes what is neither printable nor a tab.
func printable(text string) string {
	if !strings.ContainsFunc(text, hidden) && utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && text[i] != "\uFFFD"[0]:
			out.WriteString(`\x` + strconv.FormatUint(uint64(text[i]), 16))
		case hidden(r):
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

func hidden(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }
