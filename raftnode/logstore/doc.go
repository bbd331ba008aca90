// Package logstore is where a node keeps its Raft log, its term and its vote:
// a chain of small layers around raft-boltdb.
//
//	cache     newest entries in memory, bounded in bytes, checked on every hit
//	metrics   what raft waits for: latency, entries, bytes, deletes
//	checksum  CRC32C of every entry, set by the leader, checked when a follower stores and on every read
//	guard     no gap is stored; what state or archive still need is not cut; short transactions
//	deadline  every disk operation has a deadline; after a failure nothing is written again
//	base      one bbolt file (OpenBolt), or test/sim's store on vfs
//
// # What raft may rely on
//
// The log has no gaps and says so (IsMonotonic), so raft wipes it when it
// installs a snapshot. A missing entry is raft.ErrLogNotFound and a missing key
// of the stable store an error whose text is "not found", both unwrapped: raft
// compares them in just these ways. Raft's TrailingLogs must be at least 1, so
// that a compaction never looks like the wipe after an install.
//
// # What happens when the disk fails
//
// After an error of the disk nobody knows what is on it, and raft carries on
// with what it has in memory. So the first error or missed deadline of the log
// or the stable store is the last: Options.Fatal is called once with an error
// that says why and what to do, and every later write returns that same error.
// The process is to exit; the next start reads the log again. That also ends
// the leadership of a node whose disk hangs, which raft alone does not: its
// heartbeats do not touch the disk.
//
// The package knows nothing of what the entries mean.
package logstore
