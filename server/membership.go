package server

import (
	"context"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/admin"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// membership is the node as the admin API changes who takes part.
type membership struct{ node *raftnode.Node }

func (m membership) Members(ctx context.Context) ([]adminapi.Member, error) {
	statuses, err := m.node.Members(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]adminapi.Member, 0, len(statuses))
	for _, s := range statuses {
		list = append(list, memberOf(&s))
	}
	return list, nil
}

func memberOf(s *raftnode.MemberStatus) adminapi.Member {
	m := adminapi.Member{
		Node:      s.Node,
		Disk:      s.Disk.String(),
		Voter:     s.Voter,
		Leader:    s.Leader,
		Replica:   s.Replica,
		PeerAddr:  s.Record.PeerAddr,
		AdminAddr: s.Record.AdminAddr,
		MCPAddr:   s.Record.MCPAddr,
		Binary:    s.Record.Binary,
		Supports:  s.Record.Supports,
		Reachable: s.Reachable,
		Problem:   s.Err,
		Serving:   s.Serving,
		Applied:   s.Applied,
		LastLog:   s.LastIndex,
		Alarms:    alarmTexts(s.Alarms),
	}
	if s.Record.Started != 0 {
		m.Started = adminapi.TimeOf(s.Record.Started.Time())
	}
	switch {
	case !s.Process.IsZero():
		m.Process = s.Process.String()
	case !s.Record.Process.IsZero():
		m.Process = s.Record.Process.String()
	}
	return m
}

// ChangeMember does one change; adding is an invitation, which the node that is
// asked carries out.
func (m membership) ChangeMember(ctx context.Context, c admin.MemberChange) error {
	switch c.Action {
	case admin.AddMember:
		return m.invite(ctx, c)
	case admin.PromoteMember:
		return m.node.Promote(ctx, c.Node)
	case admin.DemoteMember:
		return m.node.Demote(ctx, c.Node)
	case admin.RemoveMember:
		return m.node.Remove(ctx, c.Node)
	}
	return fault.New(fault.Internal, "member change %d is unknown", c.Action)
}

func (m membership) invite(ctx context.Context, c admin.MemberChange) error {
	if c.PeerAddr == "" {
		return fault.New(fault.Invalid, "peer_addr of node %s is missing", c.Node).
			WithHint("send the host:port of its peer port")
	}
	name, err := m.node.Invite(ctx, c.PeerAddr)
	if err != nil {
		return err
	}
	if name != c.Node {
		return fault.New(fault.Conflict, "the node at %s is %s, not %s; it was invited", c.PeerAddr, name, c.Node).
			WithHint("correct the name; if %s shall not join, remove it", name)
	}
	return nil
}

func (m membership) TransferLeadership(ctx context.Context, to string) error {
	return m.node.TransferLeadership(ctx, to)
}

func (m membership) InitCluster(ctx context.Context) error { return m.node.InitCluster(ctx) }
