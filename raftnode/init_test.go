package raftnode

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

func (h *host) tryInit() error {
	ctx, cancel := context.WithTimeout(h.cluster.t.Context(), 15*time.Second)
	defer cancel()
	return h.node.InitCluster(ctx)
}

func TestInitClusterBeginsAloneAndOthersJoin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		first, second := c.host("n1"), c.host("n2")
		first.start(0, "n2")
		second.start(0, "n1")
		time.Sleep(20 * time.Second)
		if !first.node.ident.get().ClusterID.IsZero() || !second.node.ident.get().ClusterID.IsZero() {
			t.Fatal("a node that was not told to formed a cluster")
		}
		if err := first.tryInit(); err != nil {
			t.Fatal(err)
		}
		if first.node.leads() == nil || first.node.Status().ClusterID.IsZero() {
			t.Errorf("after InitCluster: %+v", first.node.Status())
		}
		first.put("a")
		c.ready("n2")
		second.mustHave("a", ReadOptions{Mode: Linearizable})
		if one, two := first.node.Status().ClusterID, second.node.Status().ClusterID; one != two {
			t.Errorf("clusters %v and %v", one, two)
		}
	})
}

func TestInitClusterRefusesWhereThereIsACluster(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		first := c.host("n1")
		first.start(0)
		if err := first.tryInit(); err != nil {
			t.Fatal(err)
		}
		err := first.tryInit()
		wantKind(t, err, fault.Conflict)
		if id := first.node.Status().ClusterID.Short(); !strings.Contains(err.Error(), id) {
			t.Errorf("%q does not name cluster %s", err, id)
		}

		// The second finds the first, so it joins it, or says that it will.
		second := c.host("n2")
		second.start(0, "n1")
		wantKind(t, second.tryInit(), fault.Conflict)
		c.ready("n2")
		if one, two := first.node.Status().ClusterID, second.node.Status().ClusterID; one != two {
			t.Errorf("clusters %v and %v", one, two)
		}
	})
}

func TestInitClusterRefusesWhoExpectsOthersAndWhoNeverVotes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, func(c *Config) { c.Replica = c.Node == "n2" })
		defer c.closeAll()
		expects, replica := c.host("n1"), c.host("n2")
		expects.start(3, three...)
		replica.start(0)
		for _, h := range []*host{expects, replica} {
			wantKind(t, h.tryInit(), fault.Conflict)
			if !h.node.empty() {
				t.Errorf("%s holds something after a refusal", h.name)
			}
		}
	})
}
