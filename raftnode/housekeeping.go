package raftnode

import (
	"context"
	"iter"
	"slices"
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
			return nil //nolint:nilerr // the term is over
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
	var supports []uint32
	for _, s := range n.servers() {
		node, disk, _ := splitServerID(string(s.ID))
		m, err := view.Member(node)
		if err != nil || m.Disk != disk {
			return 0, nil
		}
		supports = append(supports, m.Supports)
	}
	return commonVersion(fsm.MaxVersion, supports), nil
}

// commonVersion is the highest version that this binary and all the others
// support; 0 if there are none to ask.
func commonVersion(own uint32, others []uint32) uint32 {
	if len(others) == 0 {
		return 0
	}
	return min(own, slices.Min(others))
}

// sweepDuty closes producers that were superseded long ago and forgets expired
// Idempotency-Keys and calls. It proposes only what it has found.
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
	found, err := n.expired(e.stamp())
	if err != nil {
		return err
	}
	for _, c := range found {
		if _, err := n.proposeOwn(ctx, term, c); err != nil {
			return err
		}
	}
	return nil
}

// expired finds at most one command's worth of each thing whose time has passed.
func (n *Node) expired(now record.LogTime) ([]fsm.Command, error) {
	view, err := n.fsm.View()
	if err != nil {
		return nil, err
	}
	defer view.Close()
	producers, err := collect(view.Producers(), maxClosed, func(p record.Producer) (record.ID, bool) {
		return p.ID, fsm.Closable(&p, now)
	})
	if err != nil {
		return nil, err
	}
	keys, err := collect(view.ExpiredIdempotency(0, now), fsm.MaxBatchItems, func(k fsm.IdempotencyID) (fsm.IdempotencyID, bool) {
		return k, true
	})
	if err != nil {
		return nil, err
	}
	calls, err := collect(view.Calls(0, record.ID{}), fsm.MaxBatchItems, func(c record.Call) (record.ID, bool) {
		return c.ID, c.Expires <= now
	})
	if err != nil {
		return nil, err
	}
	var found []fsm.Command
	if len(producers) > 0 {
		found = append(found, &fsm.CloseProducers{IDs: producers})
	}
	if len(keys) > 0 {
		found = append(found, &fsm.SweepIdempotency{Keys: keys})
	}
	if len(calls) > 0 {
		found = append(found, &fsm.DropCalls{IDs: calls})
	}
	return found, nil
}

// collect takes the first limit things of all that pick wants.
func collect[T, K any](all iter.Seq2[T, error], limit int, pick func(T) (K, bool)) ([]K, error) {
	var list []K
	for v, err := range all {
		if err != nil {
			return nil, err
		}
		if k, ok := pick(v); ok {
			if list = append(list, k); len(list) == limit {
				break
			}
		}
	}
	return list, nil
}
