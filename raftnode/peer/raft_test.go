package peer

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/test/model/memnet"
)

func raftAddress(node string, disk record.ID) raft.ServerAddress {
	return raft.ServerAddress(ServerID(node, disk))
}

func tlsClient(nc net.Conn, config *tls.Config) *tls.Conn { return tls.Client(nc, config) }

func transport(n *testNode) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: n.RaftLayer(), MaxPool: 3, Timeout: 10 * time.Second, Logger: hclog.NewNullLogger(),
	})
}

// answer serves one RPC of raft.
func answer(t *raft.NetworkTransport, f func(raft.RPC)) *sync.WaitGroup {
	var wg sync.WaitGroup
	wg.Go(func() { f(<-t.Consumer()) })
	return &wg
}

func TestRaftTransportRunsOverThePort(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		t1, t2 := transport(n1), transport(n2)
		to := *n2.id.Load()
		if got, want := t2.LocalAddr(), raftAddress("n2", to.Disk); got != want {
			w.t.Errorf("local address %s, want %s", got, want)
		}

		wg := answer(t2, func(r raft.RPC) {
			r.Respond(&raft.AppendEntriesResponse{Term: r.Command.(*raft.AppendEntriesRequest).Term, Success: true}, nil)
		})
		var appended raft.AppendEntriesResponse
		err := t1.AppendEntries(ServerID("n2", to.Disk), raftAddress("n2", to.Disk), &raft.AppendEntriesRequest{
			RPCHeader: raft.RPCHeader{Addr: []byte(t1.LocalAddr())}, Term: 7,
			Entries: []*raft.Log{{Index: 1, Term: 7, Data: make([]byte, 1<<20)}},
		}, &appended)
		wg.Wait()
		if err != nil || appended.Term != 7 || !appended.Success {
			w.t.Errorf("AppendEntries: %+v, %v", appended, err)
		}

		snapshot := bytes.Repeat([]byte("state "), 1<<20)
		wg = answer(t2, func(r raft.RPC) {
			got, err := io.ReadAll(r.Reader)
			r.Respond(&raft.InstallSnapshotResponse{Success: bytes.Equal(got, snapshot)}, err)
		})
		var installed raft.InstallSnapshotResponse
		err = t1.InstallSnapshot(ServerID("n2", to.Disk), raftAddress("n2", to.Disk), &raft.InstallSnapshotRequest{
			RPCHeader: raft.RPCHeader{Addr: []byte(t1.LocalAddr())}, Size: int64(len(snapshot)),
		}, &installed, bytes.NewReader(snapshot))
		wg.Wait()
		if err != nil || !installed.Success {
			w.t.Errorf("InstallSnapshot: %+v, %v", installed, err)
		}
		// Closing ends the readers of both: the bubble would not end otherwise.
		t1.Close()
		t2.Close()
	})
}

func TestPortEndsTheStreamsOfRaft(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		l1, l2 := n1.RaftLayer(), n2.RaftLayer()
		near := must(l1.Dial(raftAddress("n2", n2.id.Load().Disk), time.Second))
		far := must(l2.Accept())
		n2.stop()
		for _, nc := range []net.Conn{near, far} {
			if _, err := nc.Read(make([]byte, 1)); err == nil {
				w.t.Error("a stream of raft outlived the port")
			}
		}
		if _, err := l2.Accept(); !errors.Is(err, net.ErrClosed) {
			w.t.Errorf("accept after the end: %v", err)
		}
		near.Close()
	})
}

func TestRaftStartsAgainOnTheSamePort(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		l1, old := n1.RaftLayer(), n2.RaftLayer()
		to := raftAddress("n2", n2.id.Load().Disk)
		near := must(l1.Dial(to, time.Second))
		l2 := n2.RaftLayer() // takes over from old
		if _, err := near.Read(make([]byte, 1)); err == nil {
			w.t.Error("a stream outlived its layer")
		}
		if _, err := old.Accept(); !errors.Is(err, net.ErrClosed) {
			w.t.Errorf("accept on the layer before: %v", err)
		}
		near = must(l1.Dial(to, time.Second))
		far := must(l2.Accept())
		if _, err := near.Write([]byte("x")); err != nil {
			w.t.Error(err)
		}
		if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
			w.t.Error(err)
		}
		l1.Close()
		l2.Close()
		wantRefusal(w.t, n1.raftDial("n2"), ReasonNoRaft, "raft does not run on node n2")
	})
}

func TestRaftDialGivesUpInTime(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		n2.RaftLayer()
		l1 := n1.RaftLayer()
		w.mem.Cut("n1", "n2", memnet.Drop)
		start := time.Now()
		_, err := l1.Dial(raftAddress("n2", n2.id.Load().Disk), 300*time.Millisecond)
		if err == nil || time.Since(start) != 300*time.Millisecond {
			w.t.Errorf("gave up after %v with %v", time.Since(start), err)
		}
		w.mem.HealAll()
		synctest.Wait()
	})
}

func TestServerIDIsReadBackOrRefused(t *testing.T) {
	node, disk, err := ParseServerID(ServerID("n2", id(7)))
	if node != "n2" || disk != id(7) || err != nil {
		t.Errorf("read back %s, %s, %v", node, disk, err)
	}
	for _, bad := range []string{"", "n2", "n2/", "/" + id(7).String(), "N2/" + id(7).String(), "n2/" + record.ID{}.String(), "n2/xyz", "n2:7442"} {
		if _, _, err := ParseServerID(bad); err == nil {
			t.Errorf("%q was taken for a server id", bad)
		}
	}
}
