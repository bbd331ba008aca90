// Package placement decides which node runs what only one node may run: the child
// processes of stdio upstreams.
//
//	p := placement.New(placement.Config{Node: node, …})   // before the node serves
//	go p.Run(ctx)                                         // its owner waits for it
//	claim, err := p.Find(ctx, name, "mcp-files", 1)    // who runs it; somebody, from now on
//	token, ok := p.Held(name)                             // do I, at this moment?
//
// A child is a claim of the replicated state: name, node, process and a fencing
// token. The leader alone gives claims away, in its term, so that it can count
// them. Placements are logged, signs of life are not.
//
// # What is guaranteed
//
// Two nodes never hold one claim at the same time, whatever is delayed, cut off or
// stopped, as long as the clocks of nodes run at about the same speed:
//
//   - A node renews one lease with the leader, for all that it holds. The leader
//     confirms by a quorum that it still leads before it answers. The lease ends
//     [Lease] after the renewal was sent, by both of the node's clocks, and begins
//     only when the node has applied what the leader had.
//   - A node without a lease holds nothing: Held says no, and Changes says so, for
//     what runs to be killed.
//   - The leader takes a claim from a node that it has not heard for twice as
//     long, counted from the beginning of its own term at the earliest, or whose
//     process has been replaced by a newer one. From a living node a claim is
//     taken only if that node asks for it.
//
// # What it does not know
//
// What a child is and how it is started; it reads of an upstream only its command
// and whether it is enabled.
package placement
