package nemesis

import (
	"fmt"

	"github.com/mcpraft/mcpraft/jepsen/workload"
)

const rollingRestart = "rolling-restart"

// All is every fault that there is.
func All() []Fault {
	return []Fault{
		{"kill-leader", "kill -9 of the leader", 0, (*Nemesis).killLeader},
		{"kill-follower", "kill -9 of a follower", 0, (*Nemesis).killFollower},
		{"kill-majority", "kill -9 of a majority at once", 0, (*Nemesis).killMajority},
		{"kill-all", "kill -9 of every node at once", 0, (*Nemesis).killAll},
		{"pause", "SIGSTOP of one or two nodes for 0.1 to 15 s", 0, (*Nemesis).pause},
		{rollingRestart, "SIGTERM and start of each node in turn", 0, (*Nemesis).roll},
		{"transfer", "leadership handed over every second or two", 0, (*Nemesis).transfer},

		{"isolate-leader", "the leader cut from all nodes, not from clients", 0, (*Nemesis).isolateLeader},
		{"isolate-leader-one-way", "the leader hears nobody, or is heard by nobody", 0, (*Nemesis).isolateLeaderOneWay},
		{"split", "a minority cut from the majority", 0, (*Nemesis).split},
		{"bridge", "one node reaches all, no two others each other", 0, (*Nemesis).bridge},
		{"ring", "each node reaches its neighbours only", 0, (*Nemesis).ring},
		{"flap", "a node cut off and back 1 to 10 times a second", 0, (*Nemesis).flap},
		{"slow-links", "10 to 90 ms more on the links of some nodes, with jitter", 0, (*Nemesis).slowLinks},
		{"lossy-links", "2 to 25 % of packets between nodes lost, some twice, out of order", needPackets, (*Nemesis).lossyLinks},
		{"lossy-clients", "15 % of packets between clients and nodes lost", needPackets, (*Nemesis).lossyClients},

		{"wipe", "a node comes back with an empty disk under its old name", 0, (*Nemesis).wipe},
		{"remove", "a node removed from the cluster and added again", 0, (*Nemesis).remove},
		{"demote", "the vote of a node taken and given back", 0, (*Nemesis).demote},

		{"bit-rot", "1 to 8 bits flipped in one file of one node", 0, (*Nemesis).rot},
		{"truncate", "the end of one file of one node cut off", 0, (*Nemesis).truncate},
		{"disk-full", "no free byte on the disk of one node", needSmall, (*Nemesis).fill},
		{"slow-fsync", "20 to 200 ms more for each fsync of one node", needStrace, (*Nemesis).slowSync},
		{"fsync-error", "every fsync of one node fails", needStrace, (*Nemesis).failSync},

		{"clock-jump", "wall clocks of some nodes set ahead or back, seconds to a day", needClock, (*Nemesis).jump},
		{"clock-drift", "the wall clock of one node a tenth too fast or slow", needClock, (*Nemesis).drift},
		{"clock-strobe", "the wall clock of one node to and fro ten times a second", needClock, (*Nemesis).strobe},

		{"upstream-hangs", "the upstream carries calls out and does not answer", 0, mood(workload.Hanging)},
		{"upstream-resets", "the upstream carries calls out and resets the connection", 0, mood(workload.Cutting)},
		{"upstream-garbage", "the upstream carries calls out and answers garbage", 0, mood(workload.Babbler)},
	}
}

func mood(m workload.Mood) func(*Nemesis) (*active, error) {
	return func(n *Nemesis) (*active, error) {
		before := n.upstream.Spoilt()
		n.upstream.Feel(m)
		return &active{
			detail: "all calls",
			proof: func() string {
				met := n.upstream.Spoilt() - before
				if met == 0 {
					return ""
				}
				return fmt.Sprintf("%d calls met it", met)
			},
			end: func() error { n.upstream.Feel(workload.Well); return nil },
		}, nil
	}
}
