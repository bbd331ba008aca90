package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// admit starts the handshake of a connection that was accepted, unless too many
// are under way.
func (p *Port) admit(nc net.Conn) {
	select {
	case p.halfOpen <- struct{}{}:
	default:
		p.refused(nc, "", refuse(ReasonLimit, fault.Overloaded, "%d connections are in their handshake, the limit", cap(p.halfOpen)))
		_ = nc.Close()
		return
	}
	if !p.spawn(func() { p.take(nc) }) {
		<-p.halfOpen
		_ = nc.Close()
	}
}

// take does the handshake of an accepted connection and then serves it.
func (p *Port) take(nc net.Conn) {
	s, err := p.shake(nc)
	<-p.halfOpen
	if err != nil {
		_ = nc.Close()
		return
	}
	p.greeted(s.other.Node)
	if s.layer != nil {
		s.layer.offer(s)
		return
	}
	p.serve(s)
}

// shake is the accepting side of a handshake. Whoever is refused is told why.
func (p *Port) shake(nc net.Conn) (*stream, error) {
	_ = nc.SetDeadline(time.Now().Add(p.o.Limits.HandshakeTimeout)) // its error is that of the read
	defer context.AfterFunc(p.ctx, func() { _ = nc.Close() })()

	tc := tls.Server(nc, p.o.Credentials.serverTLS())
	if err := tc.HandshakeContext(p.ctx); err != nil {
		err := p.o.Credentials.describeTLS(err)
		p.refused(nc, "", err)
		return nil, err
	}
	name, err := p.o.Credentials.verifyPeer(tc.ConnectionState(), x509.ExtKeyUsageClientAuth)
	if err != nil {
		p.sendRefusal(tc, name.Node, err)
		return nil, err
	}
	s, err := p.readHello(tc, name)
	if err != nil {
		p.sendRefusal(tc, name.Node, err)
		return nil, err
	}
	own := wireIdentity(p.o.Identity())
	if err := writeHello(tc, &welcome{From: &own}); err != nil {
		_ = s.Close()
		return nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	return s, nil
}

// readHello reads what the dialler says and decides about it.
func (p *Port) readHello(tc *tls.Conn, name Name) (*stream, error) {
	own := p.o.Identity()
	if err := matchName(name, Name{Cluster: own.Cluster}); err != nil {
		return nil, err
	}
	protocol := tc.ConnectionState().NegotiatedProtocol
	if protocol != protocolCalls && protocol != protocolRaft {
		return nil, refuse(ReasonProtocol, fault.Unsupported, "the connection asks for protocol %q, this node speaks %s and %s", protocol, protocolCalls, protocolRaft)
	}
	var h hello
	if err := readHello(tc, &h); err != nil {
		return nil, err
	}
	if h.From.Node != name.Node {
		return nil, refuse(ReasonCertName, fault.Unauthenticated, "certificate names node %s, the hello says %s", name.Node, h.From.Node).
			WithHint("issue one with `mcpraft cluster cert issue %s`", h.From.Node)
	}
	s := &stream{Conn: tc, port: p, protocol: protocol, other: Identity(h.From), taken: true}
	if protocol == protocolRaft {
		s.layer = p.raftLayer()
	}
	if err := p.decide(own, h.Target, s); err != nil {
		return nil, err
	}
	return s, p.keep(s)
}

// decide is the rule of who may connect to own, and for what.
func (p *Port) decide(own Identity, target record.ID, s *stream) error {
	other := s.other
	member, err := meet(own, other)
	switch {
	case err != nil:
		return err
	case other.Node == own.Node && other.Process != own.Process:
		return refuse(ReasonOwnName, fault.Conflict, "node %s is this node's own name: it runs as process %s here, you are process %s",
			own.Node, own.Process.Short(), other.Process.Short()).WithHint("give each node a name of its own")
	case !target.IsZero() && target != own.Disk:
		return refuse(ReasonDisk, fault.Conflict, "target disk %s is not mine: this node's disk was replaced, it is %s now", target.Short(), own.Disk.Short()).
			WithHint("remove the old disk with `mcpraft cluster remove %s`", own.Node)
	case s.protocol == protocolCalls:
		return nil
	case target.IsZero():
		return refuse(ReasonHello, fault.Invalid, "hello: a stream of raft names the disk it is meant for")
	case !member:
		return refuse(ReasonNoClusterID, fault.Unavailable, "raft begins when both nodes belong to the cluster; node %s does not yet", outsider(own, other)).
			After(p.o.Limits.RedialMin)
	case s.layer == nil:
		return refuse(ReasonNoRaft, fault.Unavailable, "raft does not run on node %s", own.Node).After(p.o.Limits.RedialMin)
	}
	return nil
}

// meet compares what two nodes say of their cluster. member is true when both
// belong to it; without an error and without membership one of them does not yet.
func meet(own, other Identity) (member bool, err error) {
	switch {
	case own.Cluster != other.Cluster:
		return false, refuse(ReasonCluster, fault.Conflict, "this is cluster %s; you say %s", own.Cluster, other.Cluster).
			WithHint("check the addresses and cluster.name in the configuration")
	case own.ClusterID.IsZero() || other.ClusterID.IsZero():
		return false, nil
	case own.ClusterID != other.ClusterID:
		return false, refuse(ReasonClusterID, fault.Conflict, "this is cluster %s with id %s; you say %s: two clusters have one name",
			own.Cluster, own.ClusterID.Short(), other.ClusterID.Short()).
			WithHint("one of the two was bootstrapped by mistake; a node that shall join starts with an empty data directory")
	case own.Timeline != other.Timeline:
		return false, refuse(ReasonTimeline, fault.Conflict, "this is cluster %s, timeline %s; you say %s", own.Cluster, own.Timeline, other.Timeline).
			WithHint("the cluster was recovered: a node of the older timeline joins again with an empty data directory")
	}
	return true, nil
}

// outsider is the one of two nodes that belongs to no cluster.
func outsider(own, other Identity) string {
	if own.ClusterID.IsZero() {
		return own.Node
	}
	return other.Node
}

// sendRefusal tells the dialler why and waits, shortly, until it has hung up: a
// socket that closes with unread bytes resets the connection, which may take the
// words with it.
func (p *Port) sendRefusal(tc *tls.Conn, node string, err error) {
	if _, ok := errors.AsType[*fault.Error](err); !ok {
		return // the connection broke: nobody is there to be told
	}
	p.refused(tc, node, fault.As(err))
	if writeHello(tc, &welcome{Refusal: toWire(err)}) != nil || tc.CloseWrite() != nil {
		return
	}
	_ = tc.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, io.LimitReader(tc, 2*maxHello))
}

// refused counts and logs a connection that was not taken. node is "" when no
// certificate of ours vouches for it.
func (p *Port) refused(nc net.Conn, node string, err *fault.Error) {
	reason := ReasonOf(err)
	p.o.Metrics.refused.WithLabelValues(string(reason)).Inc()
	from := nc.RemoteAddr().String()
	who := node
	if who == "" {
		who, _, _ = net.SplitHostPort(from)
	}
	if p.rare.allow(who + " " + string(reason)) {
		p.log.Log(context.Background(), reason.Level(), "connection of a peer refused", "node", node, "from", from, "reason", string(reason), "error", err)
	}
}

func writeHello(w io.Writer, v any) error {
	b, err := encodeHello(v)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// A goal is whom a dial is meant to reach.
type goal struct {
	protocol string
	addr     string
	node     string     // "": whoever listens there
	disk     record.ID  // zero: whatever disk that node has
	layer    *RaftLayer // whose stream it will be; nil: of calls
}

func (g goal) String() string {
	if g.node == "" {
		return "the node at " + g.addr
	}
	return "node " + g.node + " (" + g.addr + ")"
}

// dial opens a connection. An error is of kind Unreachable, names the node and
// the address, and carries the reason and the hint of a refusal.
func (p *Port) dial(ctx context.Context, g goal) (*stream, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.Limits.HandshakeTimeout, errHandshake)
	defer cancel()
	s, err := p.connect(ctx, g)
	result := "ok"
	if err != nil {
		if ctx.Err() != nil && ReasonOf(err) == "" {
			err = context.Cause(ctx)
		}
		e := unreachable(g, err)
		result, err = e.Details[reasonDetail], e
	}
	p.o.Metrics.dials.WithLabelValues(g.protocol, result).Inc()
	return s, err
}

var errHandshake = errors.New("no answer in time")

// unreachable is err as the answer to a caller who wanted to talk to g. The kind
// of a refusal would mislead: that a node refuses us is no fault of the request.
func unreachable(g goal, err error) *fault.Error {
	e := refuse(ReasonNetwork, fault.Unreachable, "%s cannot be reached: %w", g, err)
	if why, ok := errors.AsType[*fault.Error](err); ok {
		e = refuse(ReasonOf(why), fault.Unreachable, "%s cannot be reached: %s", g, why.Message)
		e.Hint, e.RetryAfter, e.Cause = why.Hint, why.RetryAfter, why.Cause
	}
	return e
}

// refusal is what the other end answered instead of a welcome.
func refusal(w *wireFault) error {
	e := w.fault()
	e.Message = "it refuses the connection: " + e.Message
	if !reasons[ReasonOf(e)] {
		return e.WithDetail(reasonDetail, string(ReasonOther)) // of a newer node
	}
	return e
}

func (p *Port) connect(ctx context.Context, g goal) (*stream, error) {
	if p.ctx.Err() != nil {
		return nil, errStopped
	}
	own := p.o.Identity()
	if g.protocol == protocolRaft && own.ClusterID.IsZero() {
		return nil, refuse(ReasonNoClusterID, fault.Unavailable, "this node belongs to no cluster yet")
	}
	nc, err := p.o.Dial(ctx, g.addr)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
	tc := tls.Client(nc, p.o.Credentials.clientTLS(g.protocol, Name{own.Cluster, g.node}))
	s, err := p.introduce(ctx, tc, own, g)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return s, nil
}

// introduce is the dialling side of a handshake.
func (p *Port) introduce(ctx context.Context, tc *tls.Conn, own Identity, g goal) (*stream, error) {
	if err := tc.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, p.o.Credentials.describeTLS(err)
	}
	if err := writeHello(tc, &hello{From: wireIdentity(own), Target: g.disk}); err != nil {
		return nil, err
	}
	var w welcome
	if err := readHello(tc, &w); err != nil {
		return nil, err
	}
	if w.Refusal != nil {
		return nil, refusal(w.Refusal)
	}
	other := Identity(*w.From)
	name, err := nameOf(tc.ConnectionState().PeerCertificates[0])
	switch {
	case err != nil:
		return nil, err
	case other.Node != name.Node:
		return nil, refuse(ReasonCertName, fault.Unauthenticated, "its certificate names node %s, it says %s", name.Node, other.Node)
	case !g.disk.IsZero() && other.Disk != g.disk:
		return nil, refuse(ReasonDisk, fault.Conflict, "it has disk %s, disk %s was meant", other.Disk.Short(), g.disk.Short())
	}
	s := &stream{Conn: tc, port: p, protocol: g.protocol, other: other, layer: g.layer}
	return s, p.keep(s)
}
