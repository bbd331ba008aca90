package nemesis

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/cluster"
)

// jump sets the wall clock of some nodes ahead or back.
func (n *Nemesis) jump() (*active, error) {
	nodes := n.nodes(n.some(1 + n.rng.IntN(len(n.cluster.Nodes()))))
	by := pick(n, 5*time.Second, 30*time.Second, time.Hour, 24*time.Hour, -5*time.Second, -30*time.Second, -20*time.Minute)
	return n.shift(nodes, fmt.Sprintf("by %v", by), func(time.Duration) time.Duration { return by })
}

// drift lets the wall clock of one node run a tenth too fast or too slow.
func (n *Nemesis) drift() (*active, error) {
	nodes := n.nodes(n.some(1))
	part := pick(n, time.Duration(10), -10)
	return n.shift(nodes, fmt.Sprintf("by a %dth of the time", part), func(since time.Duration) time.Duration { return since/part + sign(part)*3*time.Second })
}

func sign(d time.Duration) time.Duration {
	if d < 0 {
		return -1
	}
	return 1
}

// strobe lets the wall clock of one node jump to and fro many times a second.
func (n *Nemesis) strobe() (*active, error) {
	nodes := n.nodes(n.some(1))
	by := pick(n, 4*time.Second, 20*time.Second)
	return n.shift(nodes, fmt.Sprintf("to and fro by %v", by), func(since time.Duration) time.Duration {
		return by * (since / (100 * time.Millisecond) % 2)
	})
}

// shift sets the clocks of nodes 20 times a second.
func (n *Nemesis) shift(nodes []*cluster.Node, how string, by func(since time.Duration) time.Duration) (*active, error) {
	ctx, cancel := context.WithCancel(n.ctx)
	ended := make(chan error, 1)
	began := time.Now()
	set := func(d time.Duration) error {
		for _, node := range nodes {
			if err := node.SetClock(d); err != nil {
				return err
			}
		}
		return nil
	}
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			if err := set(by(time.Since(began))); err != nil {
				ended <- err
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				ended <- set(0)
				return
			}
		}
	}()
	var names []string
	for _, node := range nodes {
		names = append(names, node.Name)
	}
	return &active{
		detail: fmt.Sprint(names, " ", how),
		proof:  func() string { return n.clocksAreWrong(nodes) },
		end:    func() error { cancel(); return <-ended },
	}, nil
}

// clocksAreWrong asks the nodes what time it is, for a moment: a clock that jumps
// to and fro is right sometimes.
func (n *Nemesis) clocksAreWrong(nodes []*cluster.Node) string {
	for range 10 {
		for _, node := range nodes {
			if off := clockOf(n.ctx, node); off > 2*time.Second || off < -2*time.Second {
				return fmt.Sprintf("the clock of %s was off by %v", node.Name, off.Round(time.Second))
			}
		}
		n.sleep(n.ctx, 70*time.Millisecond)
	}
	return ""
}

// clockOf is how far the clock of a node is ahead of ours, to the second.
func clockOf(ctx context.Context, node *cluster.Node) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+node.Admin+"/livez", http.NoBody)
	if err != nil {
		return 0
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer a.Body.Close()
	now, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return time.Until(now)
}
