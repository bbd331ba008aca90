package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// memberTimeout bounds the question to one member, so that dead members do not
// keep the status of the living waiting.
const memberTimeout = 2 * time.Second

func newStatusCommand(a *app) *cobra.Command {
	var exitCode bool
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: groupUse,
		Short:   "Show the cluster on one screen",
		Long: `Show the cluster: its leader, its members, how far each is behind and how many
messages of MCP clients it takes, what it holds, and what needs attention. The node that is asked answers for the cluster;
every member is asked for itself.`,
		Example: `  mcpraft status
  mcpraft status --exit-code      # 8 when something needs attention
  mcpraft status -o json | jq .members`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			view, err := a.clusterStatus(cmd)
			if err != nil {
				return err
			}
			if err := a.show(view, view.draw); err != nil {
				return err
			}
			if exitCode && view.Degraded {
				return exitDegraded
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "end with code 8 when something needs attention")
	return cmd
}

// A clusterView is the answer of status.
type clusterView struct {
	Cluster   string       `json:"cluster"`
	ClusterID string       `json:"cluster_id"`
	Version   uint32       `json:"cluster_version"`
	Timeline  string       `json:"timeline"`
	Answered  string       `json:"answered_by"` // node that answered for the cluster
	Leader    string       `json:"leader"`      // empty: none is known
	Term      uint64       `json:"term"`
	Members   []memberView `json:"members"`
	Sessions  uint64       `json:"sessions"`
	Messages  float64      `json:"messages_per_second"` // of MCP clients, over the last 10 s, on all members that answered
	Upstreams []string     `json:"upstreams"`           // absent: could not be read
	Disabled  []string     `json:"upstreams_disabled,omitempty"`
	Problems  []string     `json:"problems"` // what needs attention; empty: nothing
	Degraded  bool         `json:"degraded"`
}

// A memberView is one member, as it answers for itself.
type memberView struct {
	Node    string  `json:"node"`
	Role    string  `json:"role"` // leader, follower, candidate, nonvoter, stopped; unknown when it did not answer
	Voter   bool    `json:"voter"`
	State   string  `json:"state"` // ready, not ready, unreachable, not asked
	Applied uint64  `json:"applied_index,omitempty"`
	Lag     *uint64 `json:"lag"`                 // entries behind what any member knew committed before this one was asked; absent: unknown
	Rate    float64 `json:"messages_per_second"` // of MCP clients
	Version string  `json:"version,omitempty"`
	Admin   string  `json:"admin_addr,omitempty"`
	Detail  string  `json:"detail,omitempty"`

	committed uint64
	alarms    []string
}

// States of a memberView.
const (
	memberReady       = "ready"
	memberNotReady    = "not ready"
	memberUnreachable = "unreachable"
	memberNotAsked    = "not asked" // its address is of use only on its own machine
)

func (a *app) clusterStatus(cmd *cobra.Command) (clusterView, error) {
	var view clusterView
	err := a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
		status, info, err := c.Status(ctx, &adminapi.StatusRequest{})
		if err != nil {
			return err
		}
		t, err := a.target()
		if err != nil {
			return err
		}
		limit := min(memberTimeout, a.flags.timeout)
		members := make([]memberView, len(status.Members))
		t.askMembers(ctx, status, members, limit)
		newest := newestCommitted(status, members)
		t.askAgain(ctx, status, members, newest, limit)
		view = newClusterView(status, info, members, newest)
		view.Upstreams, view.Disabled = listUpstreams(ctx, c)
		return nil
	})
	return view, err
}

// maxListed bounds how many upstreams status reads.
const maxListed = 10_000

// listUpstreams are the upstreams as the asked node sees them, in use and disabled,
// nil if they cannot be read: the status of a sick cluster is still worth showing.
func listUpstreams(ctx context.Context, c *adminapi.Client) (used, disabled []string) {
	r := &adminapi.UpstreamsRequest{Limit: adminapi.MaxListLimit}
	r.Consistency = adminapi.Any
	used = []string{}
	for len(used)+len(disabled) < maxListed {
		list, _, err := c.Upstreams(ctx, r)
		if err != nil {
			return nil, nil
		}
		for _, u := range list.Items {
			if u.Disabled {
				disabled = append(disabled, u.Alias)
			} else {
				used = append(used, u.Alias)
			}
		}
		if r.After = list.Next; r.After == "" {
			break
		}
	}
	return used, disabled
}

// askMembers asks every member for itself, all at once.
func (t target) askMembers(ctx context.Context, status adminapi.Status, views []memberView, limit time.Duration) {
	var wg sync.WaitGroup
	for i, m := range status.Members {
		wg.Go(func() { views[i] = t.askMember(ctx, m, status, limit) })
	}
	wg.Wait()
}

// newestCommitted is the newest index that anybody knows committed.
func newestCommitted(status adminapi.Status, views []memberView) uint64 {
	newest := status.Committed
	for _, v := range views {
		newest = max(newest, v.committed)
	}
	return newest
}

// askAgain asks those once more that were behind newest. They were asked at
// different moments, and a follower hears of a commit a few milliseconds after the
// leader: only who has still not applied what was committed before lags behind.
func (t target) askAgain(ctx context.Context, status adminapi.Status, views []memberView, newest uint64, limit time.Duration) {
	status.Node = "" // the one that answered is asked, too
	var wg sync.WaitGroup
	for i, m := range status.Members {
		if v := views[i]; v.Applied >= newest || v.committed == 0 || m.AdminAddr == "" || !t.reaches(m.AdminAddr) {
			continue
		}
		wg.Go(func() {
			if v := t.askMember(ctx, m, status, limit); v.committed > 0 {
				views[i] = v
			}
		})
	}
	wg.Wait()
}

// askMember is the view of m, whose own status is known if m is the node that
// answered.
func (t target) askMember(ctx context.Context, m adminapi.Member, answered adminapi.Status, limit time.Duration) memberView {
	v := memberView{Node: m.Node, Voter: m.Voter, Role: "unknown", Version: m.Binary, Admin: m.AdminAddr, State: memberUnreachable}
	if m.Node == answered.Node {
		return v.with(answered)
	}
	if m.AdminAddr == "" || !t.reaches(m.AdminAddr) {
		v.State = memberNotAsked
		v.Detail = "it announces no address that can be reached from here"
		return v
	}
	client, err := t.client(limit, m.AdminAddr)
	if err != nil {
		v.Detail = err.Error()
		return v
	}
	defer client.Close()
	status, _, err := client.Status(ctx, &adminapi.StatusRequest{})
	if err != nil {
		v.Detail = strings.TrimPrefix(err.Error(), "no node answered: ") // one was asked, and it is named
		return v
	}
	return v.with(status)
}

func (v memberView) with(s adminapi.Status) memberView {
	v.Role, v.Applied, v.Version = s.Role, s.Applied, first(s.Version, v.Version)
	v.committed, v.alarms = max(s.Committed, s.Applied), s.Alarms
	v.Rate = float64(s.Messages) / 10
	v.State = memberReady
	if s.Ready {
		return v
	}
	v.State = memberNotReady
	for _, check := range s.Checks {
		if !check.OK {
			v.Detail = first(check.Detail, check.Name)
			break
		}
	}
	return v
}

func newClusterView(s adminapi.Status, info adminapi.Info, members []memberView, newest uint64) clusterView {
	view := clusterView{
		Cluster: s.ClusterName, ClusterID: s.ClusterID, Version: s.ClusterVersion, Timeline: info.Timeline,
		Answered: s.Node, Leader: s.Leader, Term: s.Term, Members: members, Sessions: s.Sessions, Problems: []string{},
	}
	if s.Leader == "" {
		view.Problems = append(view.Problems, "no leader is known: changes are refused until a majority of the voters is back")
	}
	for i := range view.Members {
		m := &view.Members[i]
		view.Messages += m.Rate
		if m.State == memberReady || m.State == memberNotReady {
			m.Lag = new(newest - min(newest, m.Applied))
		}
		if m.State == memberUnreachable || m.State == memberNotReady {
			view.Problems = append(view.Problems, fmt.Sprintf("%s is %s: %s", m.Node, m.State, first(m.Detail, "no reason is given")))
		}
		for _, alarm := range m.alarms {
			view.Problems = append(view.Problems, m.Node+": "+alarm)
		}
	}
	view.Degraded = len(view.Problems) > 0
	return view
}

// draw is one screen for people.
func (view clusterView) draw(p *page) {
	leader := "none"
	if view.Leader != "" {
		leader = fmt.Sprintf("%s, term %d", view.Leader, view.Term)
	}
	p.fields(
		[2]string{"cluster", fmt.Sprintf("%s, id %s, timeline %s, version %d", first(view.Cluster, "not initialised"), first(view.ClusterID, "-"), first(view.Timeline, "-"), view.Version)},
		[2]string{"leader", leader},
		[2]string{"sessions", fmt.Sprintf("%d live", view.Sessions)},
		[2]string{"messages", fmt.Sprintf("%s a second over the last 10 s", perSecond(view.Messages))},
		[2]string{"upstreams", view.upstreams()},
		[2]string{"answered by", view.Answered},
	)
	p.line("")
	var rows [][]string
	for _, m := range view.Members {
		lag := "?"
		if m.Lag != nil {
			lag = strconv.FormatUint(*m.Lag, 10)
		}
		rate := "?"
		if m.Lag != nil {
			rate = perSecond(m.Rate)
		}
		rows = append(rows, []string{m.Node, m.Role, yesNo(m.Voter), m.State, numberIf(m.Applied), lag, rate, m.Admin, m.Version})
	}
	p.table([]string{"NODE", "ROLE", "VOTER", "STATE", "APPLIED", "LAG", "MSG/S", "ADMIN", "VERSION"}, rows)
	p.line("")
	if !view.Degraded {
		p.line("%s", p.paint(green, "healthy: nothing needs attention"))
		return
	}
	p.line("%s", p.paint(yellow, "needs attention:"))
	for _, problem := range view.Problems {
		p.line("  - %s", problem)
	}
}

// maxNamed is how many upstreams status names.
const maxNamed = 8

// upstreams counts and names them.
func (view clusterView) upstreams() string {
	if view.Upstreams == nil {
		return "unknown"
	}
	text := strconv.Itoa(len(view.Upstreams))
	if names := view.Upstreams; len(names) > maxNamed {
		text += ": " + strings.Join(names[:maxNamed], ", ") + ", …"
	} else if len(names) > 0 {
		text += ": " + strings.Join(names, ", ")
	}
	if n := len(view.Disabled); n > 0 {
		text += fmt.Sprintf("; %d disabled", n)
	}
	return text
}

// perSecond is a rate, with a tenth where that says something.
func perSecond(rate float64) string {
	if rate >= 10 || rate == 0 {
		return strconv.FormatFloat(rate, 'f', 0, 64)
	}
	return strconv.FormatFloat(rate, 'f', 1, 64)
}

func numberIf(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// has reports whether node is a member.
func (view clusterView) has(node string) bool {
	return slices.ContainsFunc(view.Members, func(m memberView) bool { return m.Node == node })
}

// quorumWithout refuses the removal of a voter that would leave too few ready
// ones for a majority of the rest.
func (view clusterView) quorumWithout(node string) error {
	voters, ready, found := 0, 0, false
	for _, m := range view.Members {
		if m.Node == node {
			found = true
			if !m.Voter {
				return nil
			}
			continue
		}
		if m.Voter {
			voters++
			if m.State == memberReady {
				ready++
			}
		}
	}
	switch {
	case !found:
		return fault.New(fault.NotFound, "%s is not a member of the cluster", node).
			WithHint("mcpraft cluster members lists them")
	case voters == 0:
		return fault.New(fault.Conflict, "%s is the only voter: without it there is no cluster", node)
	case ready <= voters/2:
		return fault.New(fault.Conflict, "without %s there are %d voters, %d of them known to be ready: no majority could be formed", node, voters, ready).
			WithHint("bring the others back first; --unsafe-allow-quorum-loss removes it all the same")
	}
	return nil
}
