package peer

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// An Identity is what a node says of itself when it opens or takes a connection.
type Identity struct {
	Cluster   string          // name
	ClusterID record.ID       // zero: belongs to no cluster yet
	Timeline  record.Timeline // zero if and only if ClusterID is
	Node      string
	Disk      record.ID // of its data directory
	Process   record.ID // of this start
}

func (i Identity) validate() error {
	switch {
	case clusterNameError(i.Cluster) != nil:
		return clusterNameError(i.Cluster)
	case record.ValidNode(i.Node) != nil:
		return record.ValidNode(i.Node)
	case i.ClusterID.IsZero() != i.Timeline.IsZero():
		return fmt.Errorf("cluster id %s and timeline %s: both are known or neither is", i.ClusterID, i.Timeline)
	case i.Disk.IsZero():
		return fmt.Errorf("disk id of node %s is missing", i.Node)
	case i.Process.IsZero():
		return fmt.Errorf("process id of node %s is missing", i.Node)
	}
	return nil
}

// From is the caller of an operation. Node was proven by its certificate; the
// rest is what that node said of itself.
type From struct {
	Node      string
	Disk      record.ID
	Process   record.ID
	ClusterID record.ID // zero: the caller belongs to no cluster yet
	Addr      string    // host:port it came from; not where it listens
}

// A Name is what a certificate proves: a node of a cluster.
type Name struct{ Cluster, Node string }

const nameScheme = "mcpraft"

// URI is the form of n in a certificate: mcpraft://CLUSTER/NODE.
func (n Name) URI() *url.URL {
	return &url.URL{Scheme: nameScheme, Host: n.Cluster, Path: "/" + n.Node}
}

// parseName reads the URI form of a Name. Anything that Name.URI does not make
// is an error, so that one name has one spelling.
func parseName(u *url.URL) (Name, error) {
	n := Name{Cluster: u.Host, Node: strings.TrimPrefix(u.Path, "/")}
	if clusterNameError(n.Cluster) != nil || record.ValidNode(n.Node) != nil || *u != *n.URI() {
		return Name{}, fmt.Errorf("name %q is not of the form %s://CLUSTER/NODE", u, nameScheme)
	}
	return n, nil
}

// clusterNameError reports why name cannot be the name of a cluster, or nil: the
// rule is that of node names.
func clusterNameError(name string) error {
	if record.ValidNode(name) == nil {
		return nil
	}
	return fmt.Errorf("cluster name %q is not valid: use 1 to %d of a-z, 0-9 and -, not - first", name, record.MaxName)
}
