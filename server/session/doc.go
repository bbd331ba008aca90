// Package session keeps sessions alive on the node that hears of them, and ends
// them on the leader when nobody does.
//
// The node half is Activity: a table of the sessions that this node's clients
// used of late. It writes their newest activity to the log in batches, each
// session at most once in a third of its TTL. The log is the only report: a new
// leader knows what the old one knew, with nothing to collect. One million
// sessions with the default TTL of 30 minutes cost two entries per second.
//
// The leader half is Expiry: it looks for sessions whose time has come and
// proposes to end them, and for tombstones that may be forgotten.
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
package session
