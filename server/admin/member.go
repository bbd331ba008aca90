package admin

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// idempotent is why changes of the membership take no options.
const idempotent = "a change of the membership is idempotent and has no revision"

func (a *API) members(ctx context.Context, _ *call, r *adminapi.MembersRequest) (adminapi.Page[adminapi.Member], adminapi.Info, error) {
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Bounded)
	if err != nil {
		return adminapi.Page[adminapi.Member]{}, info, err
	}
	view.Close()
	members, err := a.c.Membership.Members(ctx)
	return adminapi.Page[adminapi.Member]{Items: members}, info, err
}

func (a *API) addMember(ctx context.Context, _ *call, r *adminapi.AddMemberRequest) (adminapi.MemberChange, adminapi.Info, error) {
	return a.changeMember(ctx, r.WriteOptions, MemberChange{Action: AddMember, Node: r.Node, PeerAddr: r.PeerAddr})
}

func (a *API) promoteMember(ctx context.Context, _ *call, r *adminapi.PromoteMemberRequest) (adminapi.MemberChange, adminapi.Info, error) {
	return a.changeMember(ctx, r.WriteOptions, MemberChange{Action: PromoteMember, Node: r.Node})
}

func (a *API) demoteMember(ctx context.Context, _ *call, r *adminapi.DemoteMemberRequest) (adminapi.MemberChange, adminapi.Info, error) {
	return a.changeMember(ctx, r.WriteOptions, MemberChange{Action: DemoteMember, Node: r.Node})
}

func (a *API) removeMember(ctx context.Context, _ *call, r *adminapi.RemoveMemberRequest) (adminapi.MemberChange, adminapi.Info, error) {
	return a.changeMember(ctx, r.WriteOptions, MemberChange{Action: RemoveMember, Node: r.Node})
}

func (a *API) changeMember(ctx context.Context, o adminapi.WriteOptions, change MemberChange) (adminapi.MemberChange, adminapi.Info, error) {
	err := without(o, true, true, idempotent)
	if err == nil {
		err = record.ValidNode(change.Node)
	}
	if err == nil {
		err = a.c.Membership.ChangeMember(ctx, change)
	}
	if err != nil {
		return adminapi.MemberChange{}, adminapi.Info{}, err
	}
	info, err := a.here(ctx)
	return adminapi.MemberChange{Node: change.Node}, info, err
}

func (a *API) leader(ctx context.Context, _ *call, r *adminapi.LeaderRequest) (adminapi.Leader, adminapi.Info, error) {
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Any)
	if err != nil {
		return adminapi.Leader{}, info, err
	}
	defer view.Close()
	leader, err := leaderIn(view, a.c.Observer.Status())
	return leader, info, err
}

func leaderIn(view *fsm.View, status adminapi.Status) (adminapi.Leader, error) {
	leader := adminapi.Leader{Node: status.Leader, Term: status.Term}
	if leader.Node == "" {
		return leader, nil
	}
	said, err := view.Member(leader.Node)
	if fault.Of(err) == fault.NotFound {
		return leader, nil
	}
	leader.AdminAddr = said.AdminAddr
	return leader, err
}

func (a *API) transferLeader(ctx context.Context, _ *call, r *adminapi.TransferLeaderRequest) (adminapi.Leader, adminapi.Info, error) {
	err := without(r.WriteOptions, true, true, idempotent)
	if err == nil && r.To != "" {
		err = record.ValidNode(r.To)
	}
	if err == nil {
		err = a.c.Membership.TransferLeadership(ctx, r.To)
	}
	if err != nil {
		return adminapi.Leader{}, adminapi.Info{}, err
	}
	view, info, err := a.view(ctx, adminapi.ReadOptions{}, adminapi.Any)
	if err != nil {
		return adminapi.Leader{}, info, err
	}
	defer view.Close()
	leader, err := leaderIn(view, a.c.Observer.Status())
	return leader, info, err
}

func (a *API) initCluster(ctx context.Context, _ *call, r *adminapi.InitClusterRequest) (adminapi.Cluster, adminapi.Info, error) {
	err := without(r.WriteOptions, true, true, "a cluster begins once, and is refused the second time")
	if err == nil {
		err = a.c.Membership.InitCluster(ctx)
	}
	if err != nil {
		return adminapi.Cluster{}, adminapi.Info{}, err
	}
	status := a.c.Observer.Status()
	info, err := a.here(ctx)
	return adminapi.Cluster{Node: status.Node, ID: status.ClusterID, Name: status.ClusterName}, info, err
}

// here is where this node stands, for answers that no entry of ours carried.
func (a *API) here(ctx context.Context) (adminapi.Info, error) {
	view, info, err := a.view(ctx, adminapi.ReadOptions{}, adminapi.Any)
	if err != nil {
		return info, err
	}
	view.Close()
	return adminapi.Info{Index: info.Index, Timeline: info.Timeline}, nil
}
