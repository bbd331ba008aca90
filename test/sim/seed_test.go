// Post-quantum key exchange is half of the cost of a handshake, of which a seed
// has hundreds.
//
//go:debug tlsmlkem=0

package sim

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
)

const (
	seedEnv  = "SIM_SEED"  // run this one, in this process
	seedsEnv = "SIM_SEEDS" // how many to run, one process each
	firstEnv = "SIM_FIRST" // the first of them; 1 when it is not set

	defaultSeeds = 10
	processes    = 2               // at once
	seedLimit    = 4 * time.Minute // of real time, for one seed
)

// TestSeed runs seeds, each in a process of its own, or the one that SIM_SEED
// names in this process.
func TestSeed(t *testing.T) {
	if one, ok := number(t, seedEnv); ok {
		runSeed(t, one)
		return
	}
	count, ok := number(t, seedsEnv)
	if !ok {
		count = defaultSeeds
	}
	first, ok := number(t, firstEnv)
	if !ok {
		first = 1
	}
	seeds := make(chan uint64)
	var workers sync.WaitGroup
	for range processes {
		workers.Go(func() {
			for seed := range seeds {
				runProcess(t, seed)
			}
		})
	}
	for seed := first; seed < first+count; seed++ {
		seeds <- seed
	}
	close(seeds)
	workers.Wait()
}

// number is the value of an environment variable, if it is set.
func number(t *testing.T, env string) (uint64, bool) {
	text := os.Getenv(env)
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: want a number", env, text)
	}
	return n, true
}

// summary is what runSeed says in the end.
var summary = regexp.MustCompile(`seed \d+: .* operations.*`)

// runProcess runs one seed in a process of its own and shows what it said if it
// failed.
func runProcess(t *testing.T, seed uint64) {
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSeed$", "-test.v", "-test.timeout="+seedLimit.String())
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%d", seedEnv, seed))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	start := time.Now()
	err := c.Run()
	if err == nil {
		if testing.Verbose() {
			t.Logf("%v in all; %s", time.Since(start).Round(time.Millisecond), summary.Find(out.Bytes()))
		}
		return
	}
	t.Errorf("seed %d: %v; again: %s=%d go test ./test/sim -run TestSeed -v\n%s", seed, err, seedEnv, seed, &out)
}

// runSeed runs one seed.
func runSeed(t *testing.T, seed uint64) {
	debug.SetGCPercent(400) // the heap is small and short-lived
	p := makePlan(seed)
	runtime.GOMAXPROCS(p.threads)
	var r *report
	defer func() {
		if r != nil && len(r.all()) > 0 {
			t.Errorf("%v\nagain: %s=%d go test ./test/sim -run TestSeed -v", &p, seedEnv, seed)
		}
	}()
	start := time.Now()
	synctest.Test(t, func(t *testing.T) {
		r = newReport(&trace{start: time.Now(), to: os.Stdout})
		r.trace.printf("%v", &p)
		simulate(t, p, r)
		r.trace.printf("the bubble ends")
		r.trace.stop()
	})
	simulated := time.Now()
	r.check()
	for _, failure := range r.all() {
		t.Error(failure)
	}
	all, unknown, refused := r.operations()
	t.Logf("seed %d: %d operations, %d of unknown outcome, %d refused; simulated in %v, checked in %v",
		seed, all, unknown, refused, simulated.Sub(start).Round(time.Millisecond), time.Since(simulated).Round(time.Millisecond))
}

// simulate is the life of one cluster.
func simulate(t *testing.T, p plan, r *report) {
	c := newCluster(t, p, r)
	n := newNemesis(c)
	defer func() {
		n.closeAll(len(r.all()) == 0)
		c.ghosts.Wait()
	}()
	n.start(c.names...)
	if !n.heal() || !c.setUp() {
		return
	}
	clients := n.load(p)
	if len(r.all()) > 0 || !n.heal() {
		return
	}
	c.readAll(clients)
	c.converge()
}

// load lets clients and the nemesis work for the time of the plan, or until
// something has failed.
func (n *nemesis) load(p plan) []*client {
	ctx, cancel := context.WithTimeout(context.Background(), p.load)
	defer cancel()
	n.stopWhenFailed(cancel)
	var clients []*client
	var wg sync.WaitGroup
	for i := range p.clients {
		c := newClient(n.cluster, i)
		clients = append(clients, c)
		wg.Go(func() { c.work(ctx) })
	}
	n.run(ctx)
	wg.Wait()
	return clients
}

// setUp makes the settings of sessions so small that a run sees them matter.
func (c *cluster) setUp() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	settings := record.SessionSettings{
		TTL: uint64(sessionTTL.Milliseconds()), MaxTotal: 1000, MaxPerPrincipal: perPrincipal,
		CleanupInterval: 500, TombstoneTTL: uint64(tombstoneTTL.Milliseconds()),
	}
	receipt, err := c.up()[0].life.Load().node.Propose(ctx, raftnode.Request{
		Actor: record.Principal{Issuer: "sim", Subject: "setup"}, Command: &fsm.PutSessionSettings{Settings: settings},
	})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	if err != nil {
		c.failf("session settings: %v", err)
	}
	return err == nil
}

// closeAll ends all nodes. Then, if inspect is set, it looks at what they have
// left on their disks.
func (n *nemesis) closeAll(inspect bool) {
	for _, h := range n.up() {
		node := h.life.Load().node
		h.stop()
		if inspect {
			h.inspect(node.Meta(), n.rng)
		}
	}
}
