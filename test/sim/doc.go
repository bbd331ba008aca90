// Package sim has tests only: whole clusters in virtual time. Three or five
// unmodified nodes (raft and its transport, TLS, Pebble, duties) run in one
// testing/synctest bubble, over a network and disks in memory, while clients
// work on all of them and a nemesis takes them apart.
//
// A seed decides the size of the cluster, its settings, the clients and every
// fault. It does not decide how goroutines interleave: the same seed repeats the
// same faults at the same times, and a failure with high probability. Each seed
// runs in a process of its own, because Pebble's pools do not survive a second
// bubble.
//
//	make sim-short                                      200 seeds, as CI does
//	make sim                                            2,000 seeds
//	SIM_SEED=17 go test ./test/sim -run TestSeed -v     one of them, with its trace
//	SIM_FIRST=5000 SIM_SEEDS=100 go test ./test/sim     others
//
// # What is checked
//
//   - Registry entries and sessions are linearizable, per key, by the models of
//     test/model; a history that cannot be decided fails, too. A request that was answered with an error that promises that
//     nothing was applied must not have been.
//   - Every view on any node, in whatever mode: it is as fresh as it says, holds
//     every write that its index says, and equals every other view of that index.
//   - Nothing is applied twice: no value is seen at two revisions, no revision is
//     given twice, and counters that clients raise by compare-and-set add up.
//   - Revisions, indexes and log times grow together; log time keeps to the clocks
//     of the nodes, and no session expires within its TTL.
//   - After the faults: every node is a voter again, ready within a minute, at the
//     same index with the same digest; its disk, opened again after a power
//     failure, holds that state and scrubs clean.
//   - No node stops by itself, finds its state wrong, or refuses to start; nothing
//     that a node has started outlives it.
package sim
