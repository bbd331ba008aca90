package raftnode

import (
	"errors"
	"os"

	"github.com/mcpraft/mcpraft/internal/fault"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// Founding says what Found shall make of a restored state.
type Founding struct {
	State string    // directory of the state, complete; it is moved away
	Node  string    // name of the node that begins the cluster
	Disk  record.ID // of its data directory; the state's membership must be SoleVoter(Node, Disk)
}

// Found makes a restored state the data directory of a node that has none: an
// empty log, and the state's cluster and timeline. The directory must not exist,
// or be empty. It is built beside its place and appears by one rename.
func Found(c OfflineConfig, f Founding) (Adopted, error) {
	c = c.withDefaults()
	if err := record.ValidNode(f.Node); err != nil {
		return Adopted{}, err
	}
	if err := CanFound(c); err != nil {
		return Adopted{}, err
	}
	meta, err := recoveredMeta(c.FS, f.State)
	if err != nil {
		return Adopted{}, err
	}
	if string(meta.Configuration) != string(SoleVoter(f.Node, f.Disk)) {
		return Adopted{}, fault.New(fault.Invalid, "the state in %s was not restored for node %s on disk %s", f.State, f.Node, f.Disk.Short())
	}
	rec := identityRecord{
		Format: identityMajor, Node: f.Node, Disk: f.Disk, Cluster: meta.ClusterName,
		ClusterID: meta.ClusterID, Timeline: meta.Timeline, Created: c.Now().UTC(),
	}
	o := &Offline{c: c}
	if err := o.build(c.Dir+adoptingSuffix, f.State, rec, meta, meta.Term); err != nil {
		return Adopted{}, err
	}
	if err := removeIfExists(c.FS, c.Dir); err != nil { // empty, as CanFound found
		return Adopted{}, fault.New(fault.Conflict, "%s cannot be replaced: %w", c.Dir, err).
			WithHint("name a directory below it, and node.data_dir with it")
	}
	if err := c.FS.Rename(c.Dir+adoptingSuffix, c.Dir); err != nil {
		return Adopted{}, err
	}
	return Adopted{Timeline: meta.Timeline, Index: meta.Index, Term: meta.Term}, syncDir(c.FS, c.FS.PathDir(c.Dir))
}

// CanFound is a Conflict when the directory of c holds anything.
func CanFound(c OfflineConfig) error {
	c = c.withDefaults()
	names, err := c.FS.List(c.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fault.New(fault.Conflict, "%s is not empty: it holds %s", c.Dir, names[0]).
			WithHint("a restore begins a cluster in a new directory; move the old one away, and keep it")
	}
	return nil
}
