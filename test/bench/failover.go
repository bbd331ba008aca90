package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// benchFailover: kill -9 of the leader under load, to the first write that is
// acknowledged after it.
func benchFailover(ctx context.Context, o options) error {
	c, err := startOurs(ctx, o)
	if err != nil {
		return err
	}
	defer c.close()
	client, err := adminapi.New(adminapi.Config{Addrs: c.addrs, Token: c.token, Timeout: 2 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close()

	w := newWriters(ctx, c)
	defer w.stop()
	var gaps []time.Duration
	for range o.kills {
		if err := settled(ctx, client); err != nil {
			return err
		}
		gap, err := w.kill(ctx, c, client)
		if err != nil {
			return err
		}
		progress("failover %d of %d: %v", len(gaps)+1, o.kills, gap.Round(time.Millisecond))
		gaps = append(gaps, gap)
	}
	slices.Sort(gaps)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	line{
		Bench: "failover", Ours: ms(gaps[len(gaps)-1]), Unit: "ms, longest", P50: ms(quantile(gaps, 0.5)), P99: ms(quantile(gaps, 0.99)), Nodes: nodes,
		Conditions: fmt.Sprintf("kill -9 of the leader under load of %d writers to the first acknowledged write, %d kills, each %v after the cluster was whole; %s", writers, len(gaps), steady, machine()),
	}.print()
	return nil
}

// steady is how long a cluster has been whole before its leader is killed: a node
// that has just come back is still patient with its leader, on purpose.
const steady = 4 * time.Second

// settled waits until all nodes are ready and vote, and then for steady.
func settled(ctx context.Context, client *adminapi.Client) error {
	defer time.Sleep(steady)
	return waitFor(ctx, 90*time.Second, func() error {
		members, _, err := client.Members(ctx, &adminapi.MembersRequest{})
		if err != nil {
			return err
		}
		healthy := 0
		for _, m := range members.Items {
			if m.Voter && m.Reachable && m.Serving {
				healthy++
			}
		}
		if healthy < nodes {
			return fmt.Errorf("%d of %d voters are healthy", healthy, nodes)
		}
		return nil
	})
}

const writers = 16

// writersOnNodes write all the time, each bound to one node so that two thirds
// of them never lose their connection.
type writersOnNodes struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	acked  atomic.Int64 // start, in ns, of the latest write that was acknowledged
	wake   chan struct{}
}

func newWriters(ctx context.Context, c *cluster) *writersOnNodes {
	ctx, cancel := context.WithCancel(ctx)
	w := &writersOnNodes{cancel: cancel, wake: make(chan struct{}, 1)}
	value := strings.Repeat("v", valueBytes)
	for i := range writers {
		w.wg.Go(func() {
			client, err := adminapi.NewStream(adminapi.Config{Addrs: []string{c.addrs[i%len(c.addrs)]}, Token: c.token, Timeout: 10 * time.Second})
			if err != nil {
				return
			}
			defer client.Close()
			s := ours{client}
			for n := 0; ctx.Err() == nil; n++ {
				if s.write(ctx, fmt.Sprintf("f-%d-%d-%d", i, n, time.Now().UnixNano()), value) == nil {
					w.acked.Store(time.Now().UnixNano())
					select {
					case w.wake <- struct{}{}:
					default:
					}
					continue
				}
				select { // a dead node refuses at once
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	return w
}

func (w *writersOnNodes) stop() {
	w.cancel()
	w.wg.Wait()
}

// kill ends the leader's process and waits for a write that was acknowledged
// after it was dead.
func (w *writersOnNodes) kill(ctx context.Context, c *cluster, client *adminapi.Client) (time.Duration, error) {
	leader, _, err := client.Leader(ctx, &adminapi.LeaderRequest{})
	if err != nil {
		return 0, err
	}
	ready, err := c.ready()
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(ready.Nodes, func(n devNode) bool { return n.ID == leader.Node })
	if i < 0 {
		return 0, fmt.Errorf("leader %s is not in the ready file", leader.Node)
	}
	if err := syscall.Kill(ready.Nodes[i].PID, syscall.SIGKILL); err != nil {
		return 0, err
	}
	// Answers that were on their way when the process died arrive at once.
	dead := time.Now()
	grace := dead.Add(50 * time.Millisecond)
	limit := time.After(30 * time.Second)
	for {
		select {
		case <-w.wake:
			if at := time.Unix(0, w.acked.Load()); at.After(grace) {
				return at.Sub(dead), nil
			}
		case <-limit:
			return 0, fmt.Errorf("no write was acknowledged within 30 s of the death of %s", leader.Node)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
