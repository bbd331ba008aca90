package defects

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/test/model/memnet"
)

// stream is raft's stream layer over a network in memory.
type stream struct {
	net.Listener
	host *memnet.Host
}

func (s stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.host.Dial(ctx, string(to))
}

// piped is the library's network transport; it remembers its pipelines, because
// a wedged one can only be closed from outside.
type piped struct {
	*raft.NetworkTransport
	mu   sync.Mutex
	open []raft.AppendPipeline
}

func (p *piped) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	pipe, err := p.NetworkTransport.AppendEntriesPipeline(id, to)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, pipe)
	return pipe, nil
}

// free closes every pipeline.
func (p *piped) free() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pipe := range p.open {
		_ = pipe.Close()
	}
}

// afterStalls runs two voters over the network transport with a number of
// requests in flight, under load, and stalls the follower's disk again and
// again, each time until it answers with an error. It reports whether the
// follower was left behind for good: whether half a minute after a stall it still
// lacks entries that the leader had then, while heartbeats keep the leader
// leading.
func afterStalls(t *testing.T, inFlight int) (wedged bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New()
		var members []*member
		transports := make(map[*member]*piped)
		for _, name := range []string{"n1", "n2"} {
			host := network.Host(name)
			l, err := host.Listen(name + ":1")
			must(t, err)
			m := newMember(raft.ServerID(name))
			m.wire = nil
			p := &piped{NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
				Stream: stream{l, host}, MaxPool: 3, MaxRPCsInFlight: inFlight, Timeout: 10 * time.Second, Logger: hclog.NewNullLogger(),
			})}
			m.transport, transports[m] = p, p
			m.logs = &disk{InmemStore: m.stable.(*raft.InmemStore)}
			members = append(members, m)
		}
		both := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1:1"}, {ID: "n2", Address: "n2:1"}}}
		for _, m := range members {
			must(t, raft.BootstrapCluster(m.config, m.logs, m.stable, m.snapshots, m.transport, both))
			m.start(t)
		}
		leader, others := elected(t, members...)
		follower := others[0]

		var stalled atomic.Bool
		follower.logs.(*disk).hang = func() error {
			if !stalled.Load() {
				return nil
			}
			time.Sleep(time.Second)
			return errors.New("no space left on device")
		}
		stop := make(chan struct{})
		var load sync.WaitGroup
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
					leader.raft.Apply([]byte("write"), time.Second)
				}
			}
		})
		for range 12 {
			stalled.Store(true)
			time.Sleep(3 * time.Second)
			stalled.Store(false)
			want := leader.raft.LastIndex()
			time.Sleep(30 * time.Second)
			if leader.raft.State() != raft.Leader {
				t.Fatal("the leader changed: the test wants heartbeats to go through")
			}
			if wedged = follower.raft.LastIndex() < want; wedged {
				break
			}
		}
		close(stop)
		load.Wait()
		behind := follower.raft.LastIndex()
		time.Sleep(10 * time.Minute)
		if wedged && (follower.raft.LastIndex() != behind || leader.raft.State() != raft.Leader) {
			t.Error("the follower was behind for a while only, or cost the leader its leadership")
		}
		for _, p := range transports {
			p.free()
		}
		for _, m := range members {
			down := m.raft.Shutdown()
			must(t, transports[m].Close())
			transports[m].CloseStreams()
			network.Host(string(m.id)).Kill()
			must(t, down.Error())
		}
	})
	return wedged
}

// With pipelining, as the library has it by default, a follower whose disk
// stalled can be left behind for ever (hashicorp/raft #612): at the first
// rejection pipelineDecode, which takes the answers, ends, and pipelineSend, which
// has the next request under way, waits for room that nobody makes.
func TestPipelineWedgesAFollower(t *testing.T) {
	if !afterStalls(t, 0) {
		t.Error("the follower came back after every stall: the library's pipeline no longer wedges")
	}
}

// With MaxRPCsInFlight = 1, as in our settings, it comes back.
func TestOneRequestInFlightDoesNotWedge(t *testing.T) {
	if afterStalls(t, 1) {
		t.Error("the follower was left behind")
	}
}
