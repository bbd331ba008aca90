package raftnode

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// lines is a log that is kept.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count is how many lines have all the words.
func (l *lines) count(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		has := true
		for _, word := range words {
			has = has && strings.Contains(line, word)
		}
		if has {
			n++
		}
	}
	return n
}

// A node that another cluster refuses says so itself, and does not fill its log
// with it.
func TestNodeThatIsRefusedByAnotherClusterWarns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log lines
		c := newCluster(t, func(c *Config) {
			if c.Node != "n2" {
				return
			}
			other, err := peer.MakeCA("other")
			if err != nil {
				t.Fatal(err)
			}
			pair, err := other.Issue("n2", nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			if c.Credentials, err = peer.NewCredentials(pair, other.Pair().Cert); err != nil {
				t.Fatal(err)
			}
			c.Cluster, c.Logger = "other", slog.New(slog.NewTextHandler(&log, nil))
		})
		defer c.closeAll()
		c.host("n1").start(1)
		c.ready("n1")
		c.host("n2").start(0, "n1")
		time.Sleep(25 * time.Second)
		if n := log.count("level=WARN", addr("n1"), "hint="); n != 3 {
			t.Errorf("%d warnings in 25s, want one every %v\n%s", n, waitingNotice, log.text.String())
		}
	})
}
