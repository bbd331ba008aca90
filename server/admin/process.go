package admin

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/upstream"
)

const (
	defaultLogLines = 100

	// askNode bounds the wait for one node; the others' answers are shown without it.
	askNode = 3 * time.Second
)

// Upstreams are what the nodes know of their way to upstreams; *upstream.Upstreams
// is one. Processes and Log ask any node, Stats tells of this one.
type Upstreams interface {
	Processes(ctx context.Context, node, alias string) ([]upstream.Process, error)
	Log(ctx context.Context, node, alias string, lines int) (upstream.Log, error)
	Stats() []upstream.Stats
}

// owners are the nodes that own processes of an upstream, sorted, each with the
// slots of those.
func owners(view *fsm.View, alias string) (nodes []string, slots map[string][]string, err error) {
	slots = make(map[string][]string)
	for claim, err := range view.Claims(record.ChildClaim(alias, "")) {
		if err != nil {
			return nil, nil, err
		}
		_, slot, _ := record.ParseChildClaim(claim.Name)
		if slots[claim.Node] == nil {
			nodes = append(nodes, claim.Node)
		}
		slots[claim.Node] = append(slots[claim.Node], slot)
	}
	slices.Sort(nodes)
	return nodes, slots, nil
}

// processes are those of an upstream, each as its owner tells of it.
func (a *API) processes(ctx context.Context, view *fsm.View, alias string) ([]adminapi.Process, error) {
	nodes, slots, err := owners(view, alias)
	if err != nil {
		return nil, err
	}
	var list []adminapi.Process
	for _, told := range askAll(ctx, nodes, func(ctx context.Context, node string) ([]upstream.Process, error) {
		return a.c.Upstreams.Processes(ctx, node, alias)
	}) {
		for _, slot := range slots[told.node] {
			list = append(list, processOf(told, slot))
		}
	}
	return list, nil
}

func processOf(told answerOf[[]upstream.Process], slot string) adminapi.Process {
	shown := adminapi.Process{Node: told.node, Slot: slot}
	if told.err != nil {
		shown.Problem = told.err.Error()
		return shown
	}
	i := slices.IndexFunc(told.answer, func(p upstream.Process) bool { return p.Slot == slot })
	if i < 0 {
		return shown // it owns it, and has not started it yet
	}
	p := told.answer[i]
	shown.PID, shown.Restarts, shown.Failures, shown.LastExit = p.PID, p.Restarts, p.Failures, p.LastExit
	shown.Since = adminapi.Time(p.Since)
	return shown
}

func (a *API) upstreamLog(ctx context.Context, _ *call, r *adminapi.UpstreamLogRequest) (adminapi.UpstreamLog, adminapi.Info, error) {
	none := adminapi.UpstreamLog{}
	lines := int(min(r.Lines, upstream.MaxLogLines+1))
	switch {
	case lines == 0:
		lines = defaultLogLines
	case lines > upstream.MaxLogLines:
		return none, adminapi.Info{}, fault.New(fault.Invalid, "lines is %d, the limit is %d", r.Lines, upstream.MaxLogLines)
	}
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Linearizable)
	if err != nil {
		return none, info, err
	}
	defer view.Close()
	u, err := view.Upstream(0, r.Alias)
	if err != nil {
		return none, info, err
	}
	if u.Transport != record.TransportStdio {
		return none, info, fault.New(fault.Invalid, "upstream %q has transport %s: only processes of stdio upstreams have a log here", u.Alias, u.Transport)
	}
	nodes, _, err := owners(view, r.Alias)
	if err != nil {
		return none, info, err
	}
	return joinLogs(askAll(ctx, nodes, func(ctx context.Context, node string) (upstream.Log, error) {
		return a.c.Upstreams.Log(ctx, node, r.Alias, lines)
	}), lines), info, nil
}

// joinLogs are the newest lines of all nodes, as many as were asked for and fit into
// an answer.
func joinLogs(logs []answerOf[upstream.Log], limit int) adminapi.UpstreamLog {
	joined := adminapi.UpstreamLog{Lines: []adminapi.LogLine{}}
	for _, l := range logs {
		if l.err != nil {
			joined.Missing = append(joined.Missing, adminapi.MissingLog{Node: l.node, Problem: l.err.Error()})
			continue
		}
		joined.Earlier += l.answer.Earlier
		for _, line := range l.answer.Lines {
			joined.Lines = append(joined.Lines, adminapi.LogLine{Node: l.node, Slot: line.Slot, At: adminapi.Time(line.At), Text: line.Text})
		}
	}
	slices.SortStableFunc(joined.Lines, func(a, b adminapi.LogLine) int { return cmp.Compare(a.At, b.At) })
	first, bytes := len(joined.Lines), 0
	for first > 0 && len(joined.Lines)-first < limit {
		bytes += 256 + len(joined.Lines[first-1].Text)
		if bytes > maxPageBytes {
			break
		}
		first--
	}
	joined.Lines, joined.Earlier = joined.Lines[first:], joined.Earlier+uint64(first)
	return joined
}

func (a *API) pools(ctx context.Context, _ *call, r *adminapi.PoolsRequest) (adminapi.Pools, adminapi.Info, error) {
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Any)
	if err != nil {
		return adminapi.Pools{}, info, err
	}
	defer view.Close()
	pools := adminapi.Pools{Node: a.c.Observer.Status().Node, Items: []adminapi.PoolState{}}
	for _, s := range a.c.Upstreams.Stats() {
		pools.Items = append(pools.Items, adminapi.PoolState{
			Alias: s.Alias, Transport: s.Transport, Size: s.Size, MaxOverflow: s.MaxOverflow,
			InUse: s.InUse, Waiting: s.Waiting, Refused: s.Refused, Connections: s.Connections, Processes: s.Processes,
		})
	}
	return pools, info, nil
}

// An answerOf is what a node has answered.
type answerOf[T any] struct {
	node   string
	answer T
	err    error
}

// askAll asks nodes at the same time, each for at most askNode. The answers are in
// their order.
func askAll[T any](ctx context.Context, nodes []string, ask func(ctx context.Context, node string) (T, error)) []answerOf[T] {
	ctx, cancel := context.WithTimeout(ctx, askNode)
	defer cancel()
	answers := make([]answerOf[T], len(nodes))
	var wg sync.WaitGroup
	for i, node := range nodes {
		wg.Go(func() {
			answer, err := ask(ctx, node)
			answers[i] = answerOf[T]{node, answer, err}
		})
	}
	wg.Wait()
	return answers
}
