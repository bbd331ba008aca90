// Package peer is the link between the nodes of a cluster: one port, mutually
// authenticated, that carries the calls of nodes to each other and the streams
// of the raft library.
//
//	port, err := peer.New(peer.Config{…})
//	port.Handle(opHello, hello, peer.BeforeMembership())
//	go port.Run(ctx)                            // its owner waits for it
//	answer, err := port.Call(ctx, "n2", opHello, body)
//	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: port.RaftLayer()})
//
// # How a connection begins
//
// TLS 1.3 with a certificate on both sides, each signed by a CA of the cluster
// and naming its node in a URI SAN, mcpraft://CLUSTER/NODE. ALPN chooses what
// the connection is for: calls (peer/1) or raft (raft/1). Then the dialler says
// who it is and whom it means, cluster, timeline, disks and process, and the
// other end answers who it is, or refuses in words that an operator can act on
// (docs/format/peer.md). A refusal is an error of kind fault.Unreachable at the
// dialler; [ReasonOf] gives its reason.
//
// # What is guaranteed
//
//   - Whoever is at the other end holds the key of a certificate of that node of
//     this cluster. A node is never taken for another, nor a cluster for another
//     of the same name, nor a timeline for another.
//   - A stream of raft reaches the disk it was meant for or nobody: a node whose
//     disk was replaced can not vote as its old self.
//   - Of two processes that call themselves the same node only the one that came
//     first is connected, as long as it is heard.
//   - A call runs at most once. It is never sent again by this package.
//   - When [Port.Run] has returned, every goroutine has ended and every connection
//     is closed.
//
// # A node that belongs to no cluster yet
//
// Until [Identity].ClusterID is set a node knows the name of its cluster and
// nothing more. Such a node may call, and be called, only for operations that
// were registered with [BeforeMembership]; raft is refused with reason
// [ReasonNoClusterID], for the moment. Identity is asked at every handshake and
// at every call, so that a node may adopt a cluster while it runs.
//
// # What it does not know
//
// What operations and their bodies mean, who the members are, and who leads.
package peer
