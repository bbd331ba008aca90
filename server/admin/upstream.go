package admin

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

func (a *API) putUpstream(ctx context.Context, c *call, r *adminapi.PutUpstreamRequest) (adminapi.Receipt, adminapi.Info, error) {
	if r.RequestTimeout < 0 || r.Failover < 0 || r.Pool.KeepAlive < 0 || r.Pool.Timeout < 0 {
		return adminapi.Receipt{}, adminapi.Info{}, fault.New(fault.Invalid, "upstream is not valid: a duration is negative")
	}
	if err := a.relocatable(ctx, r); err != nil {
		return adminapi.Receipt{}, adminapi.Info{}, err
	}
	return a.write(ctx, c, r.WriteOptions, r, &fsm.PutUpstream{
		Upstream: record.Upstream{
			Alias:           r.Alias,
			Transport:       r.Transport,
			URL:             r.URL,
			Command:         r.Command,
			SessionMode:     r.SessionMode,
			RequestTimeout:  uint64(r.RequestTimeout),
			SecretRef:       r.SecretRef,
			Credential:      r.Credential,
			Recovery:        r.Recovery,
			FailoverTimeout: uint64(r.Failover),
			Pool: record.Pool{
				Size:        r.Pool.Size,
				MaxOverflow: r.Pool.MaxOverflow,
				KeepAlive:   uint64(r.Pool.KeepAlive),
				Timeout:     uint64(r.Pool.Timeout),
			},
			Disabled: r.Disabled,
			Metadata: r.Metadata,
		},
		IfRevision: r.IfMatch,
	})
}

// relocatable refuses to promise that a process is moved where no two nodes have its
// command. Nodes may lose a command later: then it is started again where it was.
func (a *API) relocatable(ctx context.Context, r *adminapi.PutUpstreamRequest) error {
	if r.Recovery != record.RecoverRelocate || r.Transport != record.TransportStdio {
		return nil
	}
	view, _, err := a.view(ctx, adminapi.ReadOptions{}, adminapi.Linearizable)
	if err != nil {
		return err
	}
	defer view.Close()
	var nodes []string
	for m, err := range view.Members() {
		if err != nil {
			return err
		}
		if m.Offers(r.Command) {
			nodes = append(nodes, m.Node)
		}
	}
	if len(nodes) >= 2 {
		return nil
	}
	only := "no node has it"
	if len(nodes) == 1 {
		only = "only node " + nodes[0] + " has it"
	}
	return fault.New(fault.Unsupported, "recovery: relocate needs two nodes that have the command %q, and %s", r.Command, only).
		WithHint("name it under upstreams.commands in the configuration of another node, or use recovery restart")
}

func (a *API) removeUpstream(ctx context.Context, c *call, r *adminapi.RemoveUpstreamRequest) (adminapi.Receipt, adminapi.Info, error) {
	return a.writeUnversioned(ctx, c, r.WriteOptions, r, &fsm.RemoveUpstream{Alias: r.Alias, IfRevision: r.IfMatch})
}

func (a *API) upstream(ctx context.Context, _ *call, r *adminapi.UpstreamRequest) (adminapi.Upstream, adminapi.Info, error) {
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Linearizable)
	if err != nil {
		return adminapi.Upstream{}, info, err
	}
	defer view.Close()
	u, err := view.Upstream(0, r.Alias)
	if err != nil {
		return adminapi.Upstream{}, info, err
	}
	info.Revision = u.Revision
	shown := upstreamOf(&u)
	if shown.Catalogue, err = catalogueOf(view, u.Alias); err != nil {
		return adminapi.Upstream{}, info, err
	}
	shown.Processes, err = a.processes(ctx, view, u.Alias)
	return shown, info, err
}

// catalogueOf is what is known of the lists of an upstream; nil if that is nothing.
func catalogueOf(view *fsm.View, alias string) (*adminapi.Catalogue, error) {
	s, err := view.Slice(0, record.SliceID{Alias: alias})
	if fault.Of(err) == fault.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := &adminapi.Catalogue{
		Tools:     s.Items.Of(record.ListTools),
		Resources: s.Items.Of(record.ListResources),
		Templates: s.Items.Of(record.ListTemplates),
		Prompts:   s.Items.Of(record.ListPrompts),
		Bytes:     s.Bytes,
		Protocol:  s.Protocol,
		Error:     s.Error,
		Hidden:    s.Hidden,
		Truncated: s.Truncated,
	}
	if s.Listed != 0 {
		c.Listed = adminapi.TimeOf(s.Listed.Time())
	}
	if s.Failed != 0 {
		c.Failed = adminapi.TimeOf(s.Failed.Time())
	}
	for _, q := range s.Quarantined {
		c.Quarantined = append(c.Quarantined, adminapi.Quarantined{Kind: q.Kind.String(), Name: q.Name, Reason: q.Reason})
	}
	return c, nil
}

func (a *API) upstreams(ctx context.Context, _ *call, r *adminapi.UpstreamsRequest) (adminapi.Page[adminapi.Upstream], adminapi.Info, error) {
	var none adminapi.Page[adminapi.Upstream]
	limit, err := pageLimit(r.Limit)
	if err != nil {
		return none, adminapi.Info{}, err
	}
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Bounded)
	if err != nil {
		return none, info, err
	}
	defer view.Close()
	page, err := collect(view.Upstreams(0, r.After), limit, 0, upstreamSize, upstreamOf,
		func(u *record.Upstream) string { return u.Alias })
	for i := range page.Items {
		c, err := catalogueOf(view, page.Items[i].Alias)
		if err != nil {
			return none, info, err
		}
		if c != nil {
			c.Quarantined = nil // a list of many upstreams has no room for names
			page.Items[i].Catalogue = c
		}
	}
	return page, info, err
}

func upstreamSize(u *record.Upstream) int { return 1024 + len(u.URL) + metadataSize(u.Metadata) }

func upstreamOf(u *record.Upstream) adminapi.Upstream {
	return adminapi.Upstream{
		Alias: u.Alias,
		UpstreamSpec: adminapi.UpstreamSpec{
			Transport:      u.Transport,
			URL:            u.URL,
			Command:        u.Command,
			SessionMode:    u.SessionMode,
			RequestTimeout: adminapi.Duration(u.RequestTimeout),
			SecretRef:      u.SecretRef,
			Credential:     u.Credential,
			Recovery:       u.Recovery,
			Failover:       adminapi.Duration(u.FailoverTimeout),
			Pool: adminapi.Pool{
				Size:        u.Pool.Size,
				MaxOverflow: u.Pool.MaxOverflow,
				KeepAlive:   adminapi.Duration(u.Pool.KeepAlive),
				Timeout:     adminapi.Duration(u.Pool.Timeout),
			},
			Disabled: u.Disabled,
			Metadata: u.Metadata,
		},
		Created:  adminapi.TimeOf(u.Created.Time()),
		Updated:  adminapi.TimeOf(u.Updated.Time()),
		Revision: u.Revision,
	}
}
