package raftnode

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// What every cluster goes through when it begins alarms nobody.
func TestRaftIsQuietAboutNodesThatDoNotBelongToTheClusterYet(t *testing.T) {
	var out bytes.Buffer
	l := newRaftLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn})))
	forming := fault.New(fault.Unreachable, "no").WithDetail("reason", string(peer.ReasonNoClusterID))
	l.Error("failed to make requestVote RPC", "error", forming)
	if out.Len() > 0 {
		t.Errorf("it says %s", &out)
	}
	l.Error("failed to make requestVote RPC", "error", errors.New("the cable is cut"))
	if !strings.Contains(out.String(), "level=WARN") || !strings.Contains(out.String(), "the cable is cut") {
		t.Errorf("of a peer that is down it says %q", &out)
	}
}
