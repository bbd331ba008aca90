package nemesis

import (
	"fmt"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/network"
)

// cutMode is a cut that nobody notices, or one by reset.
func (n *Nemesis) cutMode() (network.Condition, string) {
	if n.rng.IntN(3) == 0 {
		return network.Condition{Reset: true}, "reset"
	}
	return network.Condition{Cut: true}, "silently"
}

func (n *Nemesis) isolateLeader() (*active, error) {
	l, err := n.leader()
	if err != nil {
		return nil, err
	}
	c, how := n.cutMode()
	return n.impair(l.Name+" (leader) from all, "+how, c, network.Both([]string{l.Name}, n.others(l.Name))), nil
}

func (n *Nemesis) isolateLeaderOneWay() (*active, error) {
	l, err := n.leader()
	if err != nil {
		return nil, err
	}
	c := network.Condition{Cut: true}
	if n.rng.IntN(2) == 0 {
		return n.impair(l.Name+" (leader) hears nobody", c, network.OneWay(n.others(l.Name), []string{l.Name})), nil
	}
	return n.impair(l.Name+" (leader) is heard by nobody", c, network.OneWay([]string{l.Name}, n.others(l.Name))), nil
}

func (n *Nemesis) split() (*active, error) {
	minority := n.some(1 + n.rng.IntN(len(n.cluster.Nodes())/2))
	c, how := n.cutMode()
	return n.impair(fmt.Sprint(minority, " from the others, ", how), c, network.Both(minority, n.others(minority...))), nil
}

// bridge leaves one node that all can talk to, and no other link.
func (n *Nemesis) bridge() (*active, error) {
	middle := n.some(1)[0]
	rest := n.others(middle)
	return n.impair(middle+" is the only bridge", network.Condition{Cut: true}, network.Both(rest, rest)), nil
}

// ring lets each node talk to its two neighbours only; of three, each to one.
func (n *Nemesis) ring() (*active, error) {
	order := n.some(len(n.cluster.Nodes()))
	count := len(order)
	var cut []network.Link
	for i, a := range order {
		for j, b := range order {
			apart := (j - i + count) % count
			if count == 3 && apart == 2 || count > 3 && apart > 1 && apart < count-1 {
				cut = append(cut, network.Link{From: a, To: b})
			}
		}
	}
	return n.impair(fmt.Sprint("ring of ", order), network.Condition{Cut: true}, cut), nil
}

func (n *Nemesis) flap() (*active, error) {
	some := n.some(1)
	links := network.Both(some, n.others(some...))
	w := n.cluster.Network().Weather()
	stop, ended := make(chan struct{}), make(chan int64)
	pause := n.between(50*time.Millisecond, 500*time.Millisecond)
	go func() {
		var hits int64
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			i := w.Impose(network.Condition{Cut: true}, links)
			select {
			case <-tick.C:
			case <-stop:
			}
			i.Lift()
			hits += i.Hits()
			select {
			case <-tick.C:
			case <-stop:
				ended <- hits
				return
			}
		}
	}()
	var hits int64
	return &active{
		detail: fmt.Sprintf("%v from the others and back every %v", some, pause.Round(time.Millisecond)),
		proof: func() string {
			if hits == 0 {
				return ""
			}
			return fmt.Sprintf("%d packets or chunks met it", hits)
		},
		end: func() error { close(stop); hits = <-ended; return nil },
	}, nil
}

func (n *Nemesis) slowLinks() (*active, error) {
	some := n.some(1 + n.rng.IntN(len(n.cluster.Nodes())))
	delay := n.between(10*time.Millisecond, 90*time.Millisecond)
	links := network.Both(some, n.cluster.Names())
	return n.impair(fmt.Sprintf("%v: %v more each way, half as much jitter", some, delay.Round(time.Millisecond)),
		network.Condition{Delay: delay, Jitter: delay / 2}, unique(links)), nil
}

func (n *Nemesis) lossyLinks() (*active, error) {
	loss := 0.02 + n.rng.Float64()*0.23
	links := unique(network.Both(n.cluster.Names(), n.cluster.Names()))
	return n.impair(fmt.Sprintf("%.0f %% of all packets lost, 5 %% twice, out of order", 100*loss),
		network.Condition{Loss: loss, Duplicate: 0.05, Jitter: 3 * time.Millisecond, Delay: time.Millisecond}, links), nil
}

// lossyClients makes the network between clients and nodes bad, and leaves that
// between nodes alone.
func (n *Nemesis) lossyClients() (*active, error) {
	some := n.some(1 + n.rng.IntN(len(n.cluster.Nodes())))
	links := network.Both([]string{network.Client}, some)
	return n.impair(fmt.Sprint("clients and upstream to ", some, ": 15 % lost, 20 ms more"), network.Condition{Loss: 0.15, Delay: 20 * time.Millisecond}, links), nil
}

func unique(links []network.Link) []network.Link {
	seen := make(map[network.Link]bool)
	var list []network.Link
	for _, l := range links {
		if !seen[l] {
			seen[l] = true
			list = append(list, l)
		}
	}
	return list
}
