// Package fsm is the replicated state machine: the same entries in the same
// order give the same keys and values on every node, after every restart, for
// ever. Machine keeps the state in Pebble.
//
// It knows nothing of Raft, networks or clocks. It starts no goroutine, reads
// no environment, draws no random number and never ranges over a map into
// anything that is stored or returned; test/arch enforces this.
//
// # Rejections and faults
//
// A rejection (not found, conflict, limit) is data in an Outcome and equal on
// every node. A fault (disk, unknown command, bytes that do not decode) is an
// error of Apply: the node must stop, and the Machine refuses everything after
// it. No error is ever seen by one node only.
//
// # Cost
//
// Apply does point reads and writes only; it never iterates. What a command
// costs is bounded by what it names. Work that needs a scan (expiry, clean-up)
// is found by a reader in a View and proposed as a list that Apply checks again,
// item by item.
package fsm
