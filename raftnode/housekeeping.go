package raftnode

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
)

const (
	housekeepInterval = time.Minute
	maxClosed         = 16 // producers in one command
)

// clusterDuty gives a new cluster its identity and raises its version when every
// member supports a higher one.
func (n *Node) clusterDuty(ctx context.Context, term Term) error {
	for {
		if err := n.clusterOnce(ctx, term); err != nil {
			return err
		}
		if sleep(ctx, 10*time.Second) != nil {
			return nil
		}
	}
}

func (n *Node) clusterOnce(ctx context.Context, term Term) error {
	meta, id := n.fsm.Meta(), n.ident.get()
	if meta.ClusterID.IsZero() {
		if id.ClusterID.IsZero() {
			return nil // a moment: the bootstrap has not named the cluster yet
		}
		o, err := n.proposeOwn(ctx, term, &fsm.InitCluster{ID: id.ClusterID, Name: id.Cluster, Timeline: id.Timeline})
		if err != nil {
			return err
		}
		return o.Err()
	}
	version, err := n.supportedVersion()
	if err != nil || version <= meta.ClusterVersion {
		return err
	}
	n.log.Info("raising the cluster version", "from", meta.ClusterVersion, "to", version)
	o, err := n.proposeOwn(ctx, term, &fsm.SetClusterVersion{Version: version})
	if err != nil {
		return err
	}
	return o.Err()
}

// supportedVersion is the highest cluster version that every server of the
// membership can live with; 0 while one of them has not said.
func (n *Node) supportedVersion() (uint32, error) {
	view, err := n.fsm.View()
	if err != nil {
		return 0, err
	}
	defer view.Close()
	lowest := uint32(fsm.MaxVersion)
	for _, s := range n.servers() {
		node, disk, _ := splitServerID(string(s.ID))
		m, err := view.Member(node)
		if err != nil || m.Disk != disk {
			return 0, nil
		}
		lowest = min(lowest, m.Supports)
	}
	return lowest, nil
}

// sweepDuty closes producers that were superseded long ago and forgets expired
// Idempotency-Keys. It proposes only what it has found.
func (n *Node) sweepDuty(ctx context.Context, term Term) error {
	for sleep(ctx, housekeepInterval) == nil {
		if err := n.sweepOnce(ctx, term); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) sweepOnce(ctx context.Context, term Term) error {
	e := n.leads()
	if e == nil {
		return nil
	}
	now := e.stamp()
	producers, keys, err := n.expired(now)
	if err != nil {
		return err
	}
	if len(producers) > 0 {
		if _, err := n.proposeOwn(ctx, term, &fsm.CloseProducers{IDs: producers}); err != nil {
			return err
		}
	}
	if len(keys) > 0 {
		if _, err := n.proposeOwn(ctx, term, &fsm.SweepIdempotency{Keys: keys}); err != nil {
			return err
		}
	}
	return nil
}

// expired finds one command's worth of each.
func (n *Node) expired(now record.LogTime) (producers []record.ID, keys []fsm.IdempotencyID, err error) {
	view, err := n.fsm.View()
	if err != nil {
		return nil, nil, err
	}
	defer view.Close()
	for p, err := range view.Producers() {
		if err != nil {
			return nil, nil, err
		}
		if fsm.Closable(&p, now) && len(producers) < maxClosed {
			producers = append(producers, p.ID)
		}
	}
	for key, err := range view.ExpiredIdempotency(0, now) {
		if err != nil {
			return nil, nil, err
		}
		if keys = append(keys, key); len(keys) == fsm.MaxBatchItems {
			break
		}
	}
	return producers, keys, nil
}
