package nemesis

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/cluster"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// kill kills nodes and starts them again at the end.
func (n *Nemesis) kill(what string, nodes ...*cluster.Node) (*active, error) {
	names := make([]string, len(nodes))
	before := make([]int, len(nodes))
	for i, node := range nodes {
		names[i], before[i] = node.Name, node.PID()
	}
	for _, node := range nodes {
		node.Kill()
	}
	gone := ""
	return &active{
		detail: fmt.Sprint(what, " ", names),
		proof: func() string {
			if gone != "" {
				return gone
			}
			for i, pid := range before {
				if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil && nodes[i].PID() == pid {
					return ""
				}
			}
			gone = fmt.Sprint("processes ", before, " are gone")
			return gone
		},
		end: func() error { return startAll(nodes) },
	}, nil
}

func startAll(nodes []*cluster.Node) error {
	for _, node := range nodes {
		if err := node.Start(); err != nil {
			return err
		}
	}
	return nil
}

func (n *Nemesis) killLeader() (*active, error) {
	l, err := n.leader()
	if err != nil {
		return nil, err
	}
	return n.kill("leader", l)
}

func (n *Nemesis) killFollower() (*active, error) {
	f, err := n.follower()
	if err != nil {
		return nil, err
	}
	return n.kill("follower", f)
}

func (n *Nemesis) killMajority() (*active, error) {
	return n.kill("majority", n.nodes(n.some(len(n.cluster.Nodes())/2+1))...)
}

func (n *Nemesis) killAll() (*active, error) {
	return n.kill("all", n.nodes(n.cluster.Names())...)
}

func (n *Nemesis) nodes(names []string) []*cluster.Node {
	var list []*cluster.Node
	for _, name := range names {
		list = append(list, n.cluster.Node(name))
	}
	return list
}

// pause stops nodes for longer than the lease, so that they wake up in a world that
// went on.
func (n *Nemesis) pause() (*active, error) {
	nodes := n.nodes(n.some(1 + n.rng.IntN(2)))
	if l := n.cluster.Leader(n.ctx); l != nil && n.rng.IntN(2) == 0 {
		nodes = []*cluster.Node{l}
	}
	var names []string
	for _, node := range nodes {
		if err := node.Pause(); err != nil {
			return nil, errNotNow
		}
		names = append(names, node.Name)
	}
	return &active{
		detail: fmt.Sprint("SIGSTOP of ", names),
		hold:   pick(n, 100*time.Millisecond, time.Second, 3*time.Second, 8*time.Second, 15*time.Second),
		proof: func() string {
			for _, node := range nodes {
				if field(node.PID(), "State") != "T" {
					return ""
				}
			}
			return "the kernel says that they are stopped"
		},
		end: func() error {
			for _, node := range nodes {
				if err := node.Resume(); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

// field is a line of /proc/PID/status.
func field(pid int, name string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Fields(value)[0]
		}
	}
	return ""
}

// roll stops and starts one node after the other, as an upgrade does.
func (n *Nemesis) roll() (*active, error) {
	var before, after []int
	for _, node := range n.cluster.Nodes() {
		before = append(before, node.PID())
	}
	for _, node := range n.cluster.Nodes() {
		limited, cancel := context.WithTimeout(n.ctx, 10*time.Second)
		err := node.Stop(limited)
		cancel()
		if err != nil {
			n.problem("rolling restart: %v", err)
		}
		if err := node.Start(); err != nil {
			return nil, err
		}
		whole, cancel := context.WithTimeout(n.ctx, WholeLimit)
		err = n.cluster.Whole(whole)
		cancel()
		if err != nil {
			return nil, err
		}
		after = append(after, node.PID())
	}
	return &active{
		detail: "each node stopped and started, after the last was ready",
		hold:   time.Millisecond,
		proof:  func() string { return fmt.Sprint("processes ", before, " became ", after) },
	}, nil
}

// transfer moves leadership every second or so.
func (n *Nemesis) transfer() (*active, error) {
	moved := 0
	ctx, cancel := context.WithCancel(n.ctx)
	ended := make(chan struct{})
	pause := n.between(600*time.Millisecond, 2*time.Second)
	go func() {
		defer close(ended)
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for i := 0; ; i++ {
			node := n.cluster.Nodes()[i%len(n.cluster.Nodes())]
			limited, done := context.WithTimeout(ctx, 4*time.Second)
			_, _, err := node.Client().TransferLeader(limited, &adminapi.TransferLeaderRequest{})
			done()
			if err == nil {
				moved++
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	over := false
	return &active{
		detail: fmt.Sprintf("every %v", pause.Round(time.Millisecond)),
		proof: func() string {
			if !over || moved == 0 {
				return ""
			}
			return fmt.Sprintf("leadership was handed over %d times", moved)
		},
		end: func() error { cancel(); <-ended; over = true; return nil },
	}, nil
}
