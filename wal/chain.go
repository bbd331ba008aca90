package wal

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob"
)

// A Chain is what a list of segments of one timeline amounts to.
type Chain struct {
	Timeline record.Timeline
	Runs     []Run // by their indexes
	Gaps     []Gap // between the runs, and in front of the first one that is not the beginning
	Orphans  []Ref // in no run: a second upload of the same part, whose advance was lost; by their sequence
}

// A Run is segments without a gap: each follows the one before it by hash and by
// index. It is never empty.
type Run []Ref

// First is the first index of the run.
func (r Run) First() uint64 { return r[0].First }

// Last is the last index of the run.
func (r Run) Last() uint64 { return r[len(r)-1].Last }

// A Gap is what is missing between two runs.
type Gap struct {
	First, Last uint64 // indexes that are missing, both included; First above Last if only the link is broken
	After       uint64 // sequence of the segment in front of the gap; 0 if there is none
	Before      uint64 // sequence of the one behind it

	// Recorded says that no segment is missing: the log itself had lost the entries
	// before they were archived, and the chain goes on behind them.
	Recorded bool
}

func (g Gap) String() string {
	what := "segments are missing"
	if g.Recorded {
		what = "recorded: the entries were lost before they could be archived"
	}
	return fmt.Sprintf("gap from index %d to %d, between segments %d and %d (%s)", g.First, g.Last, g.After, g.Before, what)
}

// List reads the names of all segments of a cluster, by timeline and sequence.
// Objects with other names are passed over.
func List(ctx context.Context, s blob.Store, cluster record.ID) ([]Ref, error) {
	var refs []Ref
	for info, err := range s.List(ctx, Folder(cluster), "") {
		if err != nil {
			return nil, err
		}
		if ref, ok := ParseName(info.Name); ok {
			ref.Size = info.Size
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// Chains links segments, timeline by timeline. Where several follow the same one,
// the longest path is taken; a fork is always of the same committed entries, because
// only the one that the cluster took up is built upon.
func Chains(refs []Ref) []Chain {
	byTimeline := map[record.Timeline][]Ref{}
	for _, r := range refs {
		byTimeline[r.Timeline] = append(byTimeline[r.Timeline], r)
	}
	chains := make([]Chain, 0, len(byTimeline))
	for timeline, refs := range byTimeline {
		c := link(refs)
		c.Timeline = timeline
		chains = append(chains, c)
	}
	slices.SortFunc(chains, func(a, b Chain) int { return CompareTimelines(a.Timeline, b.Timeline) })
	return chains
}

// CompareTimelines is the order of timelines: by number, then by salt.
func CompareTimelines(a, b record.Timeline) int {
	return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Salt, b.Salt))
}

// A node is a segment in the forest that the links make: each follows at most one.
type node struct {
	Ref
	parent *node
	next   *node // on the longest path from here
	length int   // of that path, this node included
}

// better orders nodes at the same place: the longer path, then the one that reaches
// further, then any order that is the same everywhere.
func better(a, b *node) int {
	return cmp.Or(cmp.Compare(b.length, a.length), cmp.Compare(b.Last, a.Last), bytes.Compare(a.Tag[:], b.Tag[:]))
}

func link(refs []Ref) Chain {
	nodes := grow(refs)
	var paths []*node // their first nodes, the best first
	for _, n := range nodes {
		if n.parent == nil {
			paths = append(paths, n)
		}
	}
	slices.SortStableFunc(paths, better)
	var c Chain
	var taken [][]Ref
	used := map[Ref]bool{}
	for _, first := range paths {
		path := first.path()
		if slices.ContainsFunc(taken, func(other []Ref) bool { return overlap(path, other) }) {
			continue
		}
		taken = append(taken, path)
		for _, r := range path {
			used[r] = true
		}
	}
	for _, n := range nodes {
		if !used[n.Ref] {
			c.Orphans = append(c.Orphans, n.Ref)
		}
	}
	slices.SortFunc(taken, func(a, b []Ref) int { return cmp.Compare(a[0].Sequence, b[0].Sequence) })
	c.Runs, c.Gaps = runs(taken)
	return c
}

// grow links the segments and finds the longest path from each. The nodes are by
// sequence.
func grow(refs []Ref) []*node {
	nodes := make([]*node, 0, len(refs))
	byTag := make(map[Tag]*node, len(refs))
	for _, r := range refs {
		n := &node{Ref: r, length: 1}
		nodes = append(nodes, n)
		byTag[r.Tag] = n
	}
	slices.SortStableFunc(nodes, func(a, b *node) int {
		return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.First, b.First), bytes.Compare(a.Tag[:], b.Tag[:]))
	})
	for _, n := range slices.Backward(nodes) { // followers first
		parent := byTag[n.Previous]
		if parent == nil || parent.Sequence+1 != n.Sequence || parent.Last >= n.First {
			continue
		}
		n.parent = parent
		if parent.next == nil || better(n, parent.next) < 0 {
			parent.next, parent.length = n, n.length+1
		}
	}
	return nodes
}

func (n *node) path() []Ref {
	var path []Ref
	for ; n != nil; n = n.next {
		path = append(path, n.Ref)
	}
	return path
}

// overlap reports whether two paths cannot both be true: one must be wholly in
// front of the other, by sequence and by index.
func overlap(a, b []Ref) bool {
	if a[0].Sequence > b[0].Sequence {
		a, b = b, a
	}
	end := a[len(a)-1]
	return end.Sequence >= b[0].Sequence || end.Last >= b[0].First
}

// runs cuts paths where indexes are missing, and says what lies between.
func runs(paths [][]Ref) (runs []Run, gaps []Gap) {
	var before *Ref
	for _, path := range paths {
		for i, r := range path {
			switch linked := i > 0; {
			case before == nil && r.Sequence == 1, linked && r.First == before.Last+1:
			case before == nil:
				gaps = append(gaps, Gap{First: 1, Last: r.First - 1, Before: r.Sequence})
			default:
				gaps = append(gaps, Gap{First: before.Last + 1, Last: r.First - 1, After: before.Sequence, Before: r.Sequence, Recorded: linked})
			}
			if i == 0 || r.First != before.Last+1 {
				runs = append(runs, nil)
			}
			end := &runs[len(runs)-1]
			*end = append(*end, r)
			before = &path[i]
		}
	}
	return runs, gaps
}
