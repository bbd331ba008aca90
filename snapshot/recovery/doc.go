// Package recovery rebuilds the state of a cluster that cannot go on by itself,
// into a new directory and a new timeline, through the same state machine that
// built it the first time.
//
// It works on what is put before it: a state directory of a stopped node and an
// iterator of entries. It never touches a running node, changes nothing in place,
// and does not know the raft library; raftnode turns the directory that it writes
// into a node's.
//
// # A lost quorum
//
// When more than half of the voters are gone for good, nobody can tell which of
// the entries at the end of a survivor's log were committed. Every committed
// entry is in the log of the survivor with the highest last {term, index}, so
// that one is chosen and its whole tail is replayed: an entry that was not
// committed may thereby come to life, and an acknowledged one is never lost as
// long as one of those that acknowledged it survives. The new timeline makes
// sure that nobody takes an index of the old history for one of the new.
package recovery
