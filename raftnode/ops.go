package raftnode

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// Operations between nodes (docs/format/peer.md). Numbers are for ever. Those
// from FirstOp on belong to the packages above.
const (
	opHello     uint16 = 1  // who are you, and whom do you see
	opJoin      uint16 = 2  // take me in
	opAdopt     uint16 = 3  // you belong to this cluster now
	opInvite    uint16 = 4  // join my cluster
	opForward   uint16 = 5  // append these commands
	opReadIndex uint16 = 6  // confirm that you lead, and how far the log is committed
	opTerm      uint16 = 7  // your current term
	opClock     uint16 = 8  // your wall clock
	opReport    uint16 = 9  // how you are
	opChange    uint16 = 10 // change the membership, or transfer leadership
	opReplica   uint16 = 11 // stay without a vote, or stop doing so
	opChecks    uint16 = 12 // your newest digest checks
	opVerdict   uint16 = 13 // what comparing the digests has shown

	FirstOp uint16 = 256
)

type (
	// hello is what a node says of itself while a cluster forms.
	hello struct {
		Node      string          `cbor:"1,keyasint"`
		Disk      record.ID       `cbor:"2,keyasint"`
		Cluster   string          `cbor:"3,keyasint"`
		ClusterID record.ID       `cbor:"4,keyasint,omitzero"`
		Timeline  record.Timeline `cbor:"5,keyasint,omitzero"`
		PeerAddr  string          `cbor:"6,keyasint"`
		Empty     bool            `cbor:"7,keyasint,omitempty"` // holds no log and no state
		Expect    int             `cbor:"8,keyasint,omitempty"`
		Sees      []string        `cbor:"9,keyasint,omitempty"`  // server ids of the empty nodes it has heard from, itself included
		Known     []knownNode     `cbor:"10,keyasint,omitempty"` // where other nodes are
		Servers   []string        `cbor:"11,keyasint,omitempty"` // server ids of the membership
	}

	inviteRequest struct {
		Addr string `cbor:"1,keyasint"` // peer address of the member that invites
	}

	knownNode struct {
		Node string    `cbor:"1,keyasint"`
		Disk record.ID `cbor:"2,keyasint"`
		Addr string    `cbor:"3,keyasint"`
	}

	joinRequest struct {
		Member    record.Member `cbor:"1,keyasint"`
		Cluster   string        `cbor:"2,keyasint"`
		Replica   bool          `cbor:"3,keyasint,omitempty"`
		Forwarded bool          `cbor:"4,keyasint,omitempty"` // one hop only
	}

	joinAnswer struct {
		ClusterID record.ID       `cbor:"1,keyasint"`
		Timeline  record.Timeline `cbor:"2,keyasint"`
		Known     []knownNode     `cbor:"3,keyasint,omitempty"`
	}

	adoptRequest struct {
		ClusterID record.ID       `cbor:"1,keyasint"`
		Timeline  record.Timeline `cbor:"2,keyasint"`
		Known     []knownNode     `cbor:"3,keyasint,omitempty"`
	}

	forwardRequest struct {
		Proposals [][]byte `cbor:"1,keyasint"`
	}

	forwardAnswer struct {
		Answers []forwarded `cbor:"1,keyasint"`
	}

	// forwarded is an answer as it crosses the wire.
	forwarded struct {
		Outcome  fsm.Outcome `cbor:"1,keyasint"`
		Replayed bool        `cbor:"2,keyasint,omitempty"`
		Index    uint64      `cbor:"3,keyasint,omitempty"`
		Kind     fault.Kind  `cbor:"4,keyasint,omitempty"` // not 0: there is no outcome
		Message  string      `cbor:"5,keyasint,omitempty"`
		Unknown  bool        `cbor:"6,keyasint,omitempty"`
	}

	readIndexRequest struct {
		Term  uint64 `cbor:"1,keyasint"`           // the caller's current term
		Quiet bool   `cbor:"2,keyasint,omitempty"` // never by a logged command
	}

	readIndexAnswer struct {
		Index uint64 `cbor:"1,keyasint"`
		Term  uint64 `cbor:"2,keyasint"`
	}

	termAnswer struct {
		Term uint64    `cbor:"1,keyasint"`
		Disk record.ID `cbor:"2,keyasint"` // a disk that took the place of a voter's does not speak for it
	}

	clockAnswer struct {
		UnixMilli int64 `cbor:"1,keyasint"`
	}

	// report is what the leader asks each node about.
	report struct {
		Disk      record.ID `cbor:"1,keyasint"`
		Process   record.ID `cbor:"2,keyasint"`
		Applied   uint64    `cbor:"3,keyasint"`
		LastIndex uint64    `cbor:"4,keyasint"`
		Replica   bool      `cbor:"5,keyasint,omitempty"`
		Serving   bool      `cbor:"6,keyasint,omitempty"`
		Alarms    []Alarm   `cbor:"7,keyasint,omitempty"`
	}

	changeRequest struct {
		Kind changeKind `cbor:"1,keyasint"`
		Node string     `cbor:"2,keyasint,omitempty"`
	}

	replicaRequest struct {
		On bool `cbor:"1,keyasint,omitempty"`
	}

	checksAnswer struct {
		Checks []checkAt `cbor:"1,keyasint,omitempty"`
	}

	checkAt struct {
		Index  uint64        `cbor:"1,keyasint"`
		Digest record.Digest `cbor:"2,keyasint"`
	}

	verdictRequest struct {
		Index    uint64 `cbor:"1,keyasint"`           // at which the digests were compared
		Minority bool   `cbor:"2,keyasint,omitempty"` // the receiver differs from a strict majority
		ReadOnly bool   `cbor:"3,keyasint,omitempty"` // there is no majority
	}
)

type empty struct{}

// handle serves op with typed bodies.
func handle[Q, A any](n *Node, op uint16, h func(context.Context, peer.From, Q) (A, error), o ...peer.HandleOption) {
	n.port.Handle(op, func(ctx context.Context, from peer.From, body []byte) ([]byte, error) {
		var q Q
		if err := record.Decode(body, &q); err != nil {
			return nil, fault.New(fault.Invalid, "operation %d of node %s does not decode: %w", op, from.Node, err)
		}
		a, err := h(ctx, from, q)
		if err != nil {
			return nil, err
		}
		return record.Encode(a)
	}, o...)
}

// call asks node to do op.
func call[A any](ctx context.Context, n *Node, node string, op uint16, q any) (A, error) {
	var a A
	body, err := record.Encode(q)
	if err != nil {
		return a, err
	}
	data, err := n.port.Call(ctx, node, op, body)
	if err != nil {
		return a, err
	}
	return decodeAs[A](data)
}

// callAddr asks whoever listens at addr.
func callAddr[A any](ctx context.Context, n *Node, addr string, op uint16, q any) (A, error) {
	var a A
	body, err := record.Encode(q)
	if err != nil {
		return a, err
	}
	data, err := n.port.CallAddr(ctx, addr, op, body)
	if err != nil {
		return a, err
	}
	return decodeAs[A](data)
}

func decodeAs[A any](data []byte) (A, error) {
	var a A
	if err := record.Decode(data, &a); err != nil {
		return a, fault.New(fault.Internal, "the answer of a node does not decode: %w", err)
	}
	return a, nil
}

// serve registers everything that other nodes may ask of this one. What is open
// to nodes without a cluster decides by itself whom it answers.
func (n *Node) serve() {
	handle(n, opHello, n.serveHello, peer.BeforeMembership())
	handle(n, opJoin, n.serveJoin, peer.BeforeMembership())
	handle(n, opAdopt, n.serveAdopt, peer.BeforeMembership())
	handle(n, opInvite, n.serveInvite, peer.BeforeMembership())
	handle(n, opForward, n.serveForward)
	handle(n, opReadIndex, n.serveReadIndex)
	handle(n, opTerm, func(context.Context, peer.From, empty) (termAnswer, error) {
		return termAnswer{Term: n.raft().CurrentTerm(), Disk: n.ident.get().Disk}, nil
	})
	handle(n, opClock, func(context.Context, peer.From, empty) (clockAnswer, error) {
		return clockAnswer{UnixMilli: n.cfg.WallClock().UnixMilli()}, nil
	})
	handle(n, opReport, func(context.Context, peer.From, empty) (report, error) { return n.report(), nil })
	handle(n, opChange, n.serveChange)
	handle(n, opReplica, n.serveReplica)
	handle(n, opChecks, n.serveChecks)
	handle(n, opVerdict, n.serveVerdict)
}
