package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/mcpraft/mcpraft/raftnode"
)

// A plan is everything that a seed decides before the cluster starts. What
// happens later is drawn from generators of its own, one for each client and one
// for the nemesis, so that they do not disturb each other.
type plan struct {
	seed uint64

	nodes    int
	timing   raftnode.Timing
	snapshot uint64 // entries between snapshots
	trailing uint64 // entries kept behind one
	latency  time.Duration
	skew     time.Duration // wall clocks are up to this far ahead of true time
	threads  int           // that run goroutines: one interleaves them unlike two

	clients  int
	entries  int // keys that clients share
	sessions int // session ids that they share
	pause    time.Duration
	patience time.Duration // longest deadline of a request

	load    time.Duration // how long clients and nemesis work
	attacks []attack      // kinds that the nemesis draws from
}

func makePlan(seed uint64) plan {
	r := generator(seed, "plan")
	p := plan{
		seed: seed, nodes: 3, timing: raftnode.Fast,
		snapshot: pick[uint64](r, 20, 50, 200, 100_000), trailing: pick[uint64](r, 1, 2, 10, 50),
		threads: 1 + r.IntN(2), latency: pick(r, 0, 200*time.Microsecond, 2*time.Millisecond),
		clients: 4 + r.IntN(4), entries: 2 + r.IntN(5), sessions: 2 + r.IntN(4),
		pause:    pick(r, 60*time.Millisecond, 100*time.Millisecond, 200*time.Millisecond),
		patience: pick(r, 300*time.Millisecond, time.Second, 3*time.Second),
		load:     28 * time.Second,
	}
	if r.IntN(5) == 0 {
		p.nodes = 5
	}
	if r.IntN(4) == 0 {
		p.timing = raftnode.Relaxed
	}
	if r.IntN(3) == 0 {
		p.skew = pick(r, 100*time.Millisecond, 3*time.Second)
	}
	// Few kinds at a time: what a fault hides from the others is found by seeds
	// without it.
	all := attacks()
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	p.attacks = all[:1+r.IntN(len(all))]
	return p
}

func (p *plan) String() string {
	return fmt.Sprintf("seed %d: %d nodes, heartbeat %v, lease %v, snapshot every %d entries, %d kept, latency %v, skew %v, %d threads, %d clients, attacks %v",
		p.seed, p.nodes, p.timing.Heartbeat, p.timing.Lease, p.snapshot, p.trailing, p.latency, p.skew, p.threads, p.clients, p.attacks)
}

// generator is a source of randomness for one purpose.
func generator(seed uint64, purpose string) *rand.Rand {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(purpose) {
		h = (h ^ uint64(purpose[i])) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h))
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// between is a duration of low to high.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}
