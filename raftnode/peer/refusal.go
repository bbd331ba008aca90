package peer

import (
	"errors"
	"log/slog"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A Reason says in one word why a connection was refused: a metric label, and
// the detail "reason" of the error. The list is closed.
type Reason string

const (
	ReasonTLS           Reason = "tls"            // the TLS handshake did not complete
	ReasonCertExpired   Reason = "cert_expired"   // a certificate, or its CA, outside its time
	ReasonCertUntrusted Reason = "cert_untrusted" // signed by no CA that this node trusts
	ReasonCertName      Reason = "cert_name"      // names no node, or not the one that was meant or claimed
	ReasonCluster       Reason = "cluster"        // a cluster of another name
	ReasonClusterID     Reason = "cluster_id"     // another cluster of the same name
	ReasonNoClusterID   Reason = "no_cluster_id"  // one end belongs to no cluster yet
	ReasonTimeline      Reason = "timeline"       // another history of the cluster
	ReasonDisk          Reason = "disk"           // meant for a disk that is not this node's
	ReasonOwnName       Reason = "own_name"       // another process has the name of this node
	ReasonDuplicate     Reason = "duplicate"      // that node is connected from another process
	ReasonHello         Reason = "hello"          // the hello does not decode
	ReasonFormat        Reason = "format"         // the hello is of a version that this node does not read
	ReasonProtocol      Reason = "protocol"       // ALPN chose neither calls nor raft
	ReasonLimit         Reason = "limit"          // too many connections
	ReasonNoRaft        Reason = "no_raft"        // raft does not run at the other end
	ReasonStopped       Reason = "stopped"        // the port has been shut down
	ReasonUnknownNode   Reason = "unknown_node"   // nobody knows the address of that node
	ReasonNetwork       Reason = "network"        // no connection, or one that broke during the handshake
	ReasonOther         Reason = "other"          // a reason of a newer node
)

var reasons = map[Reason]bool{
	ReasonTLS: true, ReasonCertExpired: true, ReasonCertUntrusted: true, ReasonCertName: true, ReasonCluster: true,
	ReasonClusterID: true, ReasonNoClusterID: true, ReasonTimeline: true, ReasonDisk: true, ReasonOwnName: true,
	ReasonDuplicate: true, ReasonHello: true, ReasonFormat: true, ReasonProtocol: true, ReasonLimit: true,
	ReasonNoRaft: true, ReasonStopped: true, ReasonUnknownNode: true, ReasonNetwork: true, ReasonOther: true,
}

const reasonDetail = "reason"

// Level is how loud a log tells of a refusal for r: that a node does not belong to
// the cluster yet is how every cluster begins.
func (r Reason) Level() slog.Level {
	if r == ReasonNoClusterID {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// ReasonOf is why err refused a connection, "" if it is no such error.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return Reason(e.Details[reasonDetail])
	}
	return ""
}

func refuse(r Reason, k fault.Kind, format string, args ...any) *fault.Error {
	return fault.New(k, format, args...).WithDetail(reasonDetail, string(r))
}
