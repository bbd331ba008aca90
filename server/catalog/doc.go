// Package catalog holds what all upstreams list: their tools, resources, resource
// templates and prompts, under the names that the aggregate gives them.
//
// The lists are in the replicated state, a slice for each upstream: pages of items as
// the upstream gave them, staged one by one and swapped by one command. Every node
// keeps a [View] of them in memory, exchanged as a whole when a change is applied,
// and answers clients from it: nothing depends on which node listed, and no list
// waits for an upstream.
//
// Catalog is the node half: it follows the replica, and tells of each [Difference]
// after it can be seen, on every node. Watchers is the leader half: it lists, and
// writes down what is new.
//
// # Who lists
//
// The leader lists for the cluster, by a duty of its term: one watcher for each
// upstream that is enabled. Claims that spread the watchers over the nodes would
// need a lease for every one of them, and somebody who finds out that a holder is
// gone; the term is a fence already, its commands are refused in any other, and an
// election is over in less than a second. What it costs the leader is bounded below.
// A new leader lists everything once: what was missed is found by comparing with the
// state, and nothing is written that is not new.
//
// An upstream is listed when it is registered or its record changes, when it says
// that a list has changed, when its stream stands again after a gap, when a listing
// failed (after 1 s to 30 s), and when its lists are as old as it says they may get
// (5 minutes if it does not say). A listing that fails leaves the list as it was and
// says why; the one that goes well again is told to clients like a change.
//
// # Names
//
// A tool or prompt is <alias>__<name> in the aggregate, with at most [MaxPublicName]
// bytes; a URI is wrapped by [WrapURI]. The original is looked up in the View, never
// parsed out of a name.
//
// # Bounds
//
// One upstream is listed at most once a second, a large list less often (256 KiB/s),
// and 16 at once. Of what it lists, 10,000 items or 8 MiB are kept, each of at most
// 64 KiB, and of all upstreams 128 MiB. 4 MiB/s of pages go to the log. An item that
// would spoil a list for clients, or means something else than people see, is
// quarantined by name and shown to nobody; the others are not touched. Nothing that
// a schema refers to is ever fetched.
//
// # What it does not know
//
// How an upstream is reached, who is asking, and what each era's lists look like.
package catalog
