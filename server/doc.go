// Package server is one mcpraft process: the node of the cluster, the admin API
// and the MCP port on top of it, the supervision tree around them, and the order
// in which they start and stop.
//
// # Start
//
// The memory limit, the node (its data directory is checked, then its peer port
// opens), then the supervision tree: core, transport, observability, validation.
// Ports are open before a cluster has formed, so that probes and status work;
// Ready waits for the rest.
//
// # Stop
//
// When the context of Run ends:
//
//  1. /readyz fails, so that load balancers look elsewhere.
//  2. The ports take nothing new; what was taken is finished, on plain HTTP and
//     on streams, until Config.Drain is over. Then connections are cut.
//  3. The tree stops in the reverse order of its start. Activity of sessions that
//     is not in the log yet is reported, which still needs the node.
//  4. The node gives leadership away and closes what is on the disk.
//
// After a failure that the node reports as fatal (a disk, damaged state) nothing
// is drained: Run stops what it can and returns ErrFatal, and the process must
// end. The next start reads the disk again.
package server
