package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

const (
	sessionPrincipals = 20_000
	sessionCallers    = 512
)

// benchSessions fills a cluster with sessions and says what they cost: time to
// create, memory of a node, time to restart and serve, time and size of a
// snapshot to a node that lost its disk, and how long apply paused.
func benchSessions(ctx context.Context, o options) error {
	c, err := startOurs(ctx, o)
	if err != nil {
		return err
	}
	defer c.close()
	conditions := fmt.Sprintf("%d sessions of %d principals; %s", o.sessions, sessionPrincipals, machine())

	rate, err := createSessions(ctx, c, o.sessions)
	if err != nil {
		return err
	}
	line{Bench: "sessions/create", Ours: rate, Unit: "sessions/s", Conns: o.conns, Nodes: nodes, Conditions: conditions}.print()

	ready, err := c.ready()
	if err != nil {
		return err
	}
	resident, err := residentMiB(ready.Nodes[0].PID)
	if err != nil {
		return err
	}
	line{Bench: "sessions/memory", Ours: resident, Unit: "MiB resident, one node", Nodes: nodes, Conditions: conditions}.print()

	restart, err := restartNode(ctx, c, 0, false)
	if err != nil {
		return err
	}
	line{Bench: "sessions/restart", Ours: restart.Seconds(), Unit: "s from start to ready", Nodes: nodes, Conditions: conditions + "; after kill -9"}.print()

	probe := newProbe(ctx, c)
	install, err := restartNode(ctx, c, 0, true)
	longest := probe.stop()
	if err != nil {
		return err
	}
	line{Bench: "sessions/snapshot", Ours: install.Seconds(), Unit: "s from start to ready, empty disk", Nodes: nodes, Conditions: conditions + "; by snapshot from another node"}.print()
	line{Bench: "sessions/pause", Ours: float64(longest) / float64(time.Millisecond), Unit: "ms, longest write meanwhile", Nodes: nodes, Conditions: conditions + "; one writer on a node that stayed"}.print()
	size, err := stateMiB(filepath.Join(c.dir, "data", ready.Nodes[0].ID))
	if err != nil {
		return err
	}
	line{Bench: "sessions/state", Ours: size, Unit: "MiB of state on disk, after the snapshot", Nodes: nodes, Conditions: conditions}.print()
	return nil
}

// A probe writes all the time, one write after the other, and remembers the
// longest.
type probe struct {
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	longest time.Duration
}

func newProbe(ctx context.Context, c *cluster) *probe {
	ctx, cancel := context.WithCancel(ctx)
	p := &probe{cancel: cancel}
	p.wg.Go(func() {
		client, err := adminapi.NewStream(adminapi.Config{Addrs: c.addrs[1:], Token: c.token})
		if err != nil {
			return
		}
		defer client.Close()
		for n := 0; ctx.Err() == nil; n++ {
			begin := time.Now()
			if (ours{client}).write(ctx, fmt.Sprintf("probe-%d", n), "v") == nil {
				p.longest = max(p.longest, time.Since(begin))
			}
		}
	})
	return p
}

func (p *probe) stop() time.Duration {
	p.cancel()
	p.wg.Wait()
	return p.longest
}

// stateMiB is the size of a node's state directory.
func stateMiB(node string) (float64, error) {
	total := int64(0)
	err := filepath.WalkDir(filepath.Join(node, "data", "fsm"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return float64(total) / (1 << 20), err
}

func createSessions(ctx context.Context, c *cluster, total int) (rate float64, err error) {
	clients := make([]*adminapi.Client, 12)
	for i := range clients {
		clients[i], err = adminapi.NewStream(adminapi.Config{Addrs: []string{c.addrs[i%len(c.addrs)]}, Token: c.token})
		if err != nil {
			return 0, err
		}
		defer clients[i].Close()
	}
	settings := adminapi.SessionSettings{
		TTL: adminapi.DurationOf(24 * time.Hour), MaxTotal: uint64(2 * total), MaxPerPrincipal: uint64(total),
		CleanupInterval: adminapi.DurationOf(15 * time.Second), TombstoneTTL: adminapi.DurationOf(time.Minute),
	}
	if _, _, err := clients[0].PutSessionSettings(ctx, &adminapi.PutSessionSettingsRequest{SessionSettings: settings}); err != nil {
		return 0, err
	}
	var next atomic.Int64
	var failure atomic.Pointer[error]
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range sessionCallers {
		wg.Go(func() {
			for failure.Load() == nil {
				n := int(next.Add(1)) - 1
				if n >= total {
					return
				}
				if n%100_000 == 0 {
					progress("sessions: %d after %v", n, time.Since(begin).Round(time.Second))
				}
				r := &adminapi.CreateSessionRequest{}
				r.User = &adminapi.Principal{Issuer: "bench", Subject: strconv.Itoa(n % sessionPrincipals)}
				r.ID, r.ClientID, r.Protocol, r.Transport = fmt.Sprintf("bench-%010d", n), fmt.Sprintf("client-%d", n%100), "2025-11-25", "streamable-http"
				if _, _, err := clients[i%len(clients)].CreateSession(ctx, r); err != nil {
					failure.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if e := failure.Load(); e != nil {
		return 0, *e
	}
	return float64(total) / time.Since(begin).Seconds(), nil
}

// residentMiB is VmRSS of a process.
func residentMiB(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}

// restartNode kills a node, optionally takes its disk away, waits until dev has
// started it again, and measures from there until it is ready.
func restartNode(ctx context.Context, c *cluster, i int, wipe bool) (time.Duration, error) {
	before, err := c.ready()
	if err != nil {
		return 0, err
	}
	node := before.Nodes[i]
	if err := syscall.Kill(node.PID, syscall.SIGKILL); err != nil {
		return 0, err
	}
	if wipe {
		if err := os.RemoveAll(filepath.Join(c.dir, "data", node.ID, "data")); err != nil {
			return 0, err
		}
	}
	err = waitFor(ctx, time.Minute, func() error {
		now, err := c.ready()
		if err == nil && now.Nodes[i].PID == node.PID {
			err = fmt.Errorf("%s has not been started again", node.ID)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	err = waitFor(ctx, 10*time.Minute, func() error {
		resp, err := http.Get(node.Admin + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s is not ready: %s", node.ID, resp.Status)
		}
		return nil
	})
	return time.Since(begin), err
}
