package raftnode

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// realConfig is a node with everything that is the default: bbolt, Pebble and
// TCP on this machine.
func realConfig(t *testing.T, ca *peer.CA, dir string) Config {
	t.Helper()
	pair, err := ca.Issue("n1", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := peer.NewCredentials(pair, ca.Pair().Cert)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Node: "n1", Cluster: "test", Dir: dir, Listener: ln, PeerAddr: ln.Addr().String(),
		Credentials: credentials, BootstrapExpect: 1, CacheBytes: 1 << 20, MemTableBytes: 1 << 20,
		Fatal: func(err error) { t.Error(err) },
	}
}

func TestNodeOnRealDiskKeepsItsState(t *testing.T) {
	ca, err := peer.MakeCA("test")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() + "/data"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, key := range []string{"a", "b"} {
		n, err := Start(ctx, realConfig(t, ca, dir))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		r, err := n.Propose(ctx, Request{Actor: alice, Command: register(key)})
		if err != nil || r.Outcome.Err() != nil {
			t.Fatalf("put %s: %+v, %v", key, r, err)
		}
		view, _, err := n.Read(ctx, ReadOptions{Mode: Linearizable})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := view.WhereIs(0, register("a").Entry.Type, "a"); err != nil {
			t.Error(err)
		}
		view.Close()
		if _, err := OpenOffline(OfflineConfig{Dir: dir}); fault.Of(err) != fault.Conflict {
			t.Errorf("offline access to a running node: %v", err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	o, err := OpenOffline(OfflineConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	tail, err := o.Tail()
	if err != nil || tail.LastIndex == 0 {
		t.Errorf("tail of the log: %v, %v", tail, err)
	}
	for _, err := range o.Entries(1) {
		if err != nil {
			t.Error(err)
		}
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}
