package fsm

import (
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// epochs holds one record: the epoch of the newest leader.
var epochs = table[record.Epoch]{
	key: func(scope record.Scope, _ *record.Epoch) []byte { return tableEpoch.key(scope) },
}

// EpochStart is the first command of every leader. When it is applied, the
// leader's replica holds everything that earlier leaders acknowledged.
type EpochStart struct {
	Node     string    `cbor:"1,keyasint"`
	Process  record.ID `cbor:"2,keyasint"`
	Binary   string    `cbor:"3,keyasint,omitempty"` // version of the leader's binary, for people
	Supports uint32    `cbor:"4,keyasint"`           // highest cluster version the leader can live with
}

func (*EpochStart) kind() kind { return kindEpochStart }

func (c *EpochStart) epoch() *record.Epoch {
	return &record.Epoch{Node: c.Node, Process: c.Process, Binary: c.Binary, Supports: c.Supports}
}

func (c *EpochStart) validate() error { return c.epoch().Validate() }

func (c *EpochStart) apply(t *tx) Outcome {
	e := c.epoch()
	e.Term, e.Started, e.Revision = t.term, t.now, t.revision
	epochs.put(t, nil, e)
	return accept()
}

func (*EpochStart) rejections() []rejection { return nil }

// InitCluster gives the cluster its identity, once.
type InitCluster struct {
	ID       record.ID       `cbor:"1,keyasint"`
	Name     string          `cbor:"2,keyasint"`
	Timeline record.Timeline `cbor:"3,keyasint"`
}

func (*InitCluster) kind() kind { return kindInitCluster }

func (c *InitCluster) validate() error {
	if c.ID.IsZero() {
		return fault.New(fault.Invalid, "cluster has no id")
	}
	if c.Timeline.IsZero() {
		return fault.New(fault.Invalid, "cluster has no timeline")
	}
	return record.ValidCluster(c.Name)
}

func (c *InitCluster) apply(t *tx) Outcome {
	if !t.meta.ClusterID.IsZero() {
		return reject(fault.Conflict, "the cluster is initialised already: it is %s with id %v", quote(t.meta.ClusterName), t.meta.ClusterID)
	}
	t.meta.ClusterID, t.meta.ClusterName, t.meta.Timeline = c.ID, c.Name, c.Timeline
	t.meta.ClusterVersion = 1
	return accept()
}

func (*InitCluster) rejections() []rejection {
	return []rejection{{fault.Conflict, "the cluster is initialised already"}}
}

// SetClusterVersion raises the version that decides which encodings the leader
// may emit and how commands behave. The leader proposes it when every member
// supports it. A node that does not support it stops: the command faults.
type SetClusterVersion struct {
	Version uint32 `cbor:"1,keyasint"`
}

func (*SetClusterVersion) kind() kind { return kindSetClusterVersion }

func (c *SetClusterVersion) validate() error {
	if c.Version == 0 {
		return fault.New(fault.Invalid, "cluster version 0 does not exist; the first is 1")
	}
	return nil
}

func (c *SetClusterVersion) apply(t *tx) Outcome {
	if t.meta.ClusterID.IsZero() {
		return reject(fault.Conflict, "the cluster is not initialised yet")
	}
	if c.Version <= t.meta.ClusterVersion {
		return reject(fault.Conflict, "the cluster is at version %d, which only grows; %d is not above it", t.meta.ClusterVersion, c.Version)
	}
	if c.Version > MaxVersion {
		t.fail(fault.New(fault.Unsupported, "the cluster was raised to version %d at index %d, this binary supports up to %d", c.Version, t.index, MaxVersion).
			WithHint("start this node with a binary that supports version %d", c.Version))
		return accept()
	}
	t.meta.ClusterVersion = c.Version
	return accept()
}

func (*SetClusterVersion) rejections() []rejection {
	return []rejection{{fault.Conflict, "the cluster is not initialised, or its version is as high already"}}
}
