package admin

import (
	"context"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

func (a *API) status(ctx context.Context, _ *call, r *adminapi.StatusRequest) (adminapi.Status, adminapi.Info, error) {
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Any)
	if err != nil {
		return adminapi.Status{}, info, err
	}
	defer view.Close()
	status := a.c.Observer.Status()
	meta := view.Meta()
	status.ClusterID = meta.ClusterID.String()
	status.ClusterName = meta.ClusterName
	status.ClusterVersion = meta.ClusterVersion
	status.Applied = meta.Index
	status.Revision = meta.Revision
	status.LogTime = adminapi.TimeOf(meta.LogTime.Time())
	status.Digest = meta.Digest.String()
	status.Staleness = info.Staleness
	status.Checks = a.c.Observer.Checks(adminapi.Readyz)
	status.Ready = passed(status.Checks)
	if status.Sessions, err = view.SessionCount(0); err != nil {
		return adminapi.Status{}, info, err
	}
	status.Members, err = a.c.Membership.Members(ctx)
	return status, info, err
}

func (a *API) digest(ctx context.Context, _ *call, r *adminapi.DigestRequest) (adminapi.Digest, adminapi.Info, error) {
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Any)
	if err != nil {
		return adminapi.Digest{}, info, err
	}
	defer view.Close()
	meta := view.Meta()
	return adminapi.Digest{
		Node:    a.c.Observer.Status().Node,
		Index:   meta.Index,
		Digest:  meta.Digest.String(),
		Checked: meta.CheckedIndex,
		Since:   meta.SinceCheck,
		Checks:  a.c.Observer.DigestChecks(),
	}, info, nil
}

func (a *API) workers(ctx context.Context, _ *call, r *adminapi.WorkersRequest) (adminapi.Worker, adminapi.Info, error) {
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Any)
	if err != nil {
		return adminapi.Worker{}, info, err
	}
	view.Close()
	return a.c.Workers(), info, nil
}

func passed(checks []adminapi.Check) bool {
	for _, c := range checks {
		if !c.OK {
			return false
		}
	}
	return true
}
