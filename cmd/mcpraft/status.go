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
		Long: `Show the cluster: its leader, its members and how far each is behind, what it
holds, and what needs attention. The node that is asked answers for the cluster;
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
	Upstreams *uint64      `json:"upstreams"` // absent: could not be read
	Problems  []string     `json:"problems"`  // what needs attention; empty: nothing
	Degraded  bool         `json:"degraded"`
}

// A memberView is one member, as it answers for itself.
type memberView struct {
	Node    string  `json:"node"`
	Role    string  `json:"role"` // leader, follower, candidate, nonvoter, stopped; unknown when it did not answer
	Voter   bool    `json:"voter"`
	State   string  `json:"state"` // ready, not ready, unreachable, not asked
	Applied uint64  `json:"applied_index,omitempty"`
	Lag     *uint64 `json:"lag"` // entries behind the newest index that any member knows committed; absent: unknown
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
		members, err := a.askMembers(ctx, status)
		if err != nil {
			return err
		}
		view = newClusterView(status, info, members)
		view.Upstreams = countUpstreams(ctx, c)
		return nil
	})
	return view, err
}

// countUpstreams is how many upstreams there are as the asked node sees it, nil
// if that cannot be read: the status of a sick cluster is still worth showing.
func countUpstreams(ctx context.Context, c *adminapi.Client) *uint64 {
	r := &adminapi.UpstreamsRequest{Limit: adminapi.MaxListLimit}
	r.Consistency = adminapi.Any
	var n uint64
	for range 100 { // pages; beyond 100,000 upstreams the number says nothing new
		list, _, err := c.Upstreams(ctx, r)
		if err != nil {
			return nil
		}
		n += uint64(len(list.Items))
		if r.After = list.Next; r.After == "" {
			break
		}
	}
	return &n
}

// askMembers asks every member for itself, all at once.
func (a *app) askMembers(ctx context.Context, status adminapi.Status) ([]memberView, error) {
	t, err := a.target()
	if err != nil {
		return nil, err
	}
	views := make([]memberView, len(status.Members))
	var wg sync.WaitGroup
	for i, m := range status.Members {
		wg.Go(func() { views[i] = t.askMember(ctx, m, status, min(memberTimeout, a.flags.timeout)) })
	}
	wg.Wait()
	return views, nil
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

func newClusterView(s adminapi.Status, info adminapi.Info, members []memberView) clusterView {
	view := clusterView{
		Cluster: s.ClusterName, ClusterID: s.ClusterID, Version: s.ClusterVersion, Timeline: info.Timeline,
		Answered: s.Node, Leader: s.Leader, Term: s.Term, Members: members, Sessions: s.Sessions, Problems: []string{},
	}
	newest := s.Committed
	for _, m := range members {
		newest = max(newest, m.committed)
	}
	if s.Leader == "" {
		view.Problems = append(view.Problems, "no leader is known: changes are refused until a majority of the voters is back")
	}
	for i := range view.Members {
		m := &view.Members[i]
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
	upstreams := "unknown"
	if view.Upstreams != nil {
		upstreams = strconv.FormatUint(*view.Upstreams, 10)
	}
	p.fields(
		[2]string{"cluster", fmt.Sprintf("%s, id %s, timeline %s, version %d", first(view.Cluster, "not initialised"), first(view.ClusterID, "-"), first(view.Timeline, "-"), view.Version)},
		[2]string{"leader", leader},
		[2]string{"sessions", fmt.Sprintf("%d live", view.Sessions)},
		[2]string{"upstreams", upstreams},
		[2]string{"answered by", view.Answered},
	)
	p.line("")
	var rows [][]string
	for _, m := range view.Members {
		lag := "?"
		if m.Lag != nil {
			lag = strconv.FormatUint(*m.Lag, 10)
		}
		rows = append(rows, []string{m.Node, m.Role, yesNo(m.Voter), m.State, numberIf(m.Applied), lag, m.Admin, m.Version})
	}
	p.table([]string{"NODE", "ROLE", "VOTER", "STATE", "APPLIED", "LAG", "ADMIN", "VERSION"}, rows)
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
