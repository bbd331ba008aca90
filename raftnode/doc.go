// Package raftnode is one node of the cluster: it drives hashicorp/raft over the
// durable state machine of package fsm, and hides both behind proposals, reads
// and duties. It is the one home of the raft library.
//
//	n, err := raftnode.Start(ctx, raftnode.Config{…})
//	err = n.Ready(ctx)
//	receipt, err := n.Propose(ctx, raftnode.Request{Actor: who, Command: &fsm.RegisterEntry{…}})
//	view, info, err := n.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Linearizable})
//	n.Duty("archiver", func(ctx context.Context, term raftnode.Term) error { … })
//	err = n.Close()
//
// # What is guaranteed
//
//   - A command that was acknowledged is on the disks of a majority, and applied
//     once: retries carry the number that they were first sent under. An error
//     says whether the command can still be applied (fault.OutcomeUnknown) or
//     never will be.
//   - A linearizable read reflects every write that was acknowledged, anywhere,
//     before it began. No lease and no clock takes part in that. A bounded read
//     carries a measured bound of its age.
//   - Whatever a node does as the leader is bound to its term: the contexts of
//     duties end with it, and the state machine refuses their commands after it.
//   - Log time never follows a wall clock that jumps.
//   - A node never takes part as somebody it is not: its raft name contains a
//     random id of its data directory, and a directory whose log and state do not
//     belong together is refused at the start.
//   - After an error of its disk a node does not write its log again; Config.Fatal
//     is told once and ends the process.
//   - A node whose state is found to differ from the majority's, or from what was
//     written to its disk, does not serve and does not lead.
//
// # How it is built
//
// One file per noun. A command goes through propose.go (numbers, retries), queue.go
// (admission, fairness) and batcher.go into the log, or through forward.go to the
// leader's node; machine.go applies it. A read goes through read.go and waits.go;
// freshness.go measures the age of the replica. epoch.go is a term in which this
// node leads, duty.go what it does in it. bootstrap.go and members.go are how nodes
// come and go; identity.go, startcheck.go, snapshots.go, compact.go and disk.go are
// about the data directory (docs/format/data-directory.md); offline.go is for a node
// that does not run. What nodes ask of each other is in ops.go.
//
// # What it refuses to know
//
// MCP, HTTP, the admin API, and what a command means. Everything from outside the
// process is handed in (Config), so that whole clusters run in one test bubble.
package raftnode
