package raftnode

import (
	"context"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// InitCluster makes this node a cluster of one, which others then join, and waits
// until it is ready. It is for a node that was not told to expect others; nothing
// but an operator's word makes such a node begin a cluster. A node that belongs to
// a cluster, or finds one among the addresses it was given, refuses with Conflict
// and names that cluster: two clusters never merge.
func (n *Node) InitCluster(ctx context.Context) error {
	if err := n.beginAlone(ctx); err != nil {
		return err
	}
	if err := n.Ready(ctx); err != nil {
		return fault.New(fault.Unavailable, "cluster %s is formed, and node %s is not ready yet: %w", n.cfg.Cluster, n.cfg.Node, err).
			WithHint("it becomes ready by itself; see mcpraft status")
	}
	return nil
}

// beginAlone bootstraps a cluster of this node alone.
func (n *Node) beginAlone(ctx context.Context) error {
	switch {
	case n.cfg.Replica:
		return fault.New(fault.Conflict, "node %s never votes and cannot form a cluster", n.cfg.Node).
			WithHint("take replica out of its configuration, or begin on another node")
	case n.cfg.BootstrapExpect > 1:
		return fault.New(fault.Conflict, "node %s forms a cluster of %d by itself, as soon as the others are here", n.cfg.Node, n.cfg.BootstrapExpect).
			WithHint("start the others; or take bootstrap_expect out of the configuration of each, then begin on one and let the others join")
	}
	if err := n.forming.begin(ctx); err != nil {
		return err
	}
	defer n.forming.end()
	if id := n.ident.get(); !id.ClusterID.IsZero() {
		return fault.New(fault.Conflict, "node %s belongs to cluster %s (%s) already", id.Node, id.Cluster, id.ClusterID.Short())
	}
	for _, h := range n.hellos(ctx, n.forming.addresses()) {
		if !h.ClusterID.IsZero() {
			return fault.New(fault.Conflict, "node %s at %s belongs to cluster %s (%s), which node %s joins by itself", h.Node, h.PeerAddr, h.Cluster, h.ClusterID.Short(), n.cfg.Node).
				WithHint("to begin another cluster, take that address out of join and restart the node")
		}
	}
	// From here on it must not stop halfway because the caller has gone.
	return n.bootstrap(n.closing, []string{n.ident.serverID()})
}
