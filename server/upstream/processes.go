package upstream

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// MaxLogLines is how many lines Log gives at most.
const MaxLogLines = 1000

type (
	// A Process is what a node knows of the process of one claim that it holds.
	Process struct {
		Slot     string `cbor:"1,keyasint"`           // last part of the claim
		PID      int    `cbor:"2,keyasint,omitempty"` // 0: none runs
		Restarts uint64 `cbor:"3,keyasint,omitempty"` // on this node, since it took the claim
		Failures int    `cbor:"4,keyasint,omitempty"` // in a row
		Since    int64  `cbor:"5,keyasint,omitempty"` // in ms of Unix time: when the one that runs, or ran last, was started
		LastExit string `cbor:"6,keyasint,omitempty"` // how the one before ended
	}

	// A LogLine is a line that a process has written to stderr, or that its node says
	// about it. It is printable.
	LogLine struct {
		Slot string `cbor:"1,keyasint"`
		At   int64  `cbor:"2,keyasint"` // in ms of Unix time
		Text string `cbor:"3,keyasint"`
	}

	// A Log is the end of what the processes of an upstream on one node have written.
	Log struct {
		Lines   []LogLine `cbor:"1,keyasint,omitempty"` // in the order of time
		Earlier uint64    `cbor:"2,keyasint,omitempty"` // lines that there were before these
	}

	processesRequest struct {
		Alias string `cbor:"1,keyasint"`
		Lines int    `cbor:"2,keyasint,omitempty"` // opLog: how many at most
	}
)

// Processes are those of an upstream on a node, by slot. A node that cannot be asked
// is an Unreachable.
func (u *Upstreams) Processes(ctx context.Context, node, alias string) ([]Process, error) {
	if node == u.o.Children.Self {
		return u.children.processes(alias), nil
	}
	return callPeer[[]Process](ctx, u.remote, node, opProcess, &processesRequest{Alias: alias})
}

// Log is what the processes of an upstream on a node have written last: at most
// lines of it, and not more than MaxLogLines. What is kept is process.LogBytes of
// each; it is lost with its node and when the claim leaves it.
func (u *Upstreams) Log(ctx context.Context, node, alias string, lines int) (Log, error) {
	if node == u.o.Children.Self {
		return u.children.log(alias, lines), nil
	}
	return callPeer[Log](ctx, u.remote, node, opLog, &processesRequest{Alias: alias, Lines: lines})
}

func (r *remote) serveProcesses(_ context.Context, _ peer.From, q *processesRequest) ([]Process, error) {
	return r.ups.children.processes(q.Alias), nil
}

func (r *remote) serveLog(_ context.Context, _ peer.From, q *processesRequest) (Log, error) {
	return r.ups.children.log(q.Alias, q.Lines), nil
}

// slotsOf are those of an upstream, in the order of their names.
func (cs *children) slotsOf(alias string) []*slot {
	var list []*slot
	cs.mu.Lock()
	for name, sl := range cs.slots {
		if strings.HasPrefix(name, record.ChildClaim(alias, "")) {
			list = append(list, sl)
		}
	}
	cs.mu.Unlock()
	slices.SortFunc(list, func(a, b *slot) int { return cmp.Compare(a.name, b.name) })
	return list
}

func (cs *children) processes(alias string) []Process {
	list := []Process{}
	for _, sl := range cs.slotsOf(alias) {
		list = append(list, sl.process())
	}
	return list
}

// running is how many processes of an upstream there are here.
func (cs *children) running(alias string) (n int) {
	for _, p := range cs.processes(alias) {
		if p.PID != 0 {
			n++
		}
	}
	return n
}

func (sl *slot) process() Process {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	_, slot, _ := record.ParseChildClaim(sl.name)
	p := Process{Slot: slot, Restarts: max(sl.starts, 1) - 1, Failures: sl.failures, LastExit: sl.ended}
	if !sl.begun.IsZero() {
		p.Since = sl.begun.UnixMilli()
	}
	if sl.child != nil {
		p.PID = sl.child.proc.PID()
	}
	return p
}

func (cs *children) log(alias string, limit int) (l Log) {
	limit = min(max(limit, 0), MaxLogLines)
	for _, sl := range cs.slotsOf(alias) {
		lines, earlier := sl.log.Lines(limit)
		l.Earlier += earlier
		slot := sl.process().Slot
		for _, line := range lines {
			l.Lines = append(l.Lines, LogLine{Slot: slot, At: line.At.UnixMilli(), Text: line.Text})
		}
	}
	slices.SortStableFunc(l.Lines, func(a, b LogLine) int { return cmp.Compare(a.At, b.At) })
	if over := len(l.Lines) - limit; over > 0 {
		l.Lines, l.Earlier = l.Lines[over:], l.Earlier+uint64(over)
	}
	return l
}
