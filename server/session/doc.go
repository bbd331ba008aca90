// Package session holds the sessions of MCP clients of the legacy era: their
// records are in the replicated state, and what is open of them is on the node
// that took it. Any node answers any request of a session.
//
// Sessions is the node half. It finds sessions by ids that prove where to look
// (docs/format/ids.md), begins and ends them, and carries what passes between a
// client and whoever works on its requests: calls with their event streams, GET
// streams, questions to the client and its answers, cancellations. It knows
// neither HTTP (that is a carrier's, behind server/exchange) nor upstreams (those
// are the router's).
//
// Activity is the other thing that each node does: a table of the sessions that
// its clients used of late. It writes their newest activity to the log in batches,
// each session at most once in a third of its TTL. The log is the only report: a
// new leader knows what the old one knew, with nothing to collect. One million
// sessions with the default TTL of 30 minutes cost two entries per second.
//
// Expiry is the leader half: it looks for sessions that are idle or whose time has
// come, and for tombstones that may be forgotten, and proposes what follows. What a
// session held at upstreams that its client did not end itself, the leader lets go
// by the tombstone, wherever it was held.
//
// # A life
//
//	initializing → active ⇄ suspended → terminating → dead
//
// Create commits a session before its id is given out. The first request after
// that makes it active, in the background: no request waits for the log. Without
// activity for half its TTL, and with no stream open, it is suspended; any request
// lifts that. What an administrator suspended only an administrator lifts. End
// makes it terminating, which closes its streams on all nodes, and then dead.
//
// # Not found
//
// A client that is told 404 gives its session up, so that is said only when it is
// proven: by a replica that has applied the entry which the id names, or by a
// linearizable read. A session that a replica knows needs no leader. A change of a
// record reaches the memory of every node with its entry; what was read before a
// change and is stored after it would be stale for ever, so each part of that
// memory counts its changes, and keeps nothing that it read before the last one.
//
// # Streams
//
// A call's client gets plain JSON unless something has to come before the answer,
// or 5 s pass. Of an event stream only what matters has an id, and is kept in a
// ring on the node that owns the stream: questions, and the answer. A client that
// comes back with an event's id, to any node, is served the rest through the
// owner. If that is gone, a call whose upstream can be resumed is taken over from
// its record in the log, which calls older than 2 s have; by one node only, because
// the record is removed first, and a client that comes once more meanwhile waits for
// that one. In every other case the client is told by an
// explicit error, node_lost, under the id of its request: never a silent repeat,
// never a hang.
//
// Which of a session's GET streams is the newest, and so gets what belongs to no
// call, the nodes settle among themselves (see newest.go). While they cannot talk,
// each side has one.
//
// # Never early
//
// A node reports activity within a ReportInterval of when it is due, and the
// leader adds a Grace of several ReportIntervals to every TTL before it proposes
// anything; a new leader first waits one ReportInterval, for reports that its
// predecessor lost. The state machine checks each candidate again against the
// log time of the entry and against newer activity. So a session that is used
// within its TTL, on a node that can reach the leader, is never expired. It may
// be expired late, by the Grace, the clean-up interval, and a walk over all
// sessions.
//
// # Bounds
//
// Sessions in memory, calls, questions, remembered cancellations and kept answers
// of a session, events and bytes of a stream, of a session and of the node, parts
// of what other nodes send: each has a constant or a field of Config that says how
// many. An idle session costs no goroutine, an open GET stream only its carrier's.
package session
