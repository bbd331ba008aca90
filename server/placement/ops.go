package placement

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// Operations between nodes (docs/format/peer.md). Numbers are for ever.
const (
	opRenew = raftnode.FirstOp + 32 // I live: may I go on?
	opPlace = raftnode.FirstOp + 33 // who runs this?
)

type (
	renewRequest struct {
		Node    string    `cbor:"1,keyasint"`
		Process record.ID `cbor:"2,keyasint"`
		Leaving bool      `cbor:"3,keyasint,omitempty"` // give it nothing more
	}

	renewAnswer struct {
		Index uint64 `cbor:"1,keyasint"` // that the node must have applied before it goes on
	}

	// placeRequest asks for the claim of a name, or, with Token, gives it away.
	placeRequest struct {
		Name    string `cbor:"1,keyasint"`
		Command string `cbor:"2,keyasint"`
		Limit   int    `cbor:"3,keyasint,omitempty"` // of the claims of its upstream
		From    string `cbor:"4,keyasint,omitempty"` // with Token: the node that gives it away
		Token   uint64 `cbor:"5,keyasint,omitempty"`
	}

	placeAnswer struct {
		Claim record.Claim `cbor:"1,keyasint"`
	}
)

// serve registers what other nodes may ask of this one.
func (p *Placement) serve() {
	handle(p, opRenew, func(ctx context.Context, from peer.From, q renewRequest) (renewAnswer, error) {
		if q.Node != from.Node || q.Process != from.Process {
			return renewAnswer{}, fault.New(fault.Invalid, "node %s asks for the lease of another process", from.Node)
		}
		return p.renewed(ctx, q)
	})
	handle(p, opPlace, func(ctx context.Context, _ peer.From, q placeRequest) (placeAnswer, error) { return p.placed(ctx, q) })
}

// handle serves op with typed bodies.
func handle[Q, A any](p *Placement, op uint16, h func(context.Context, peer.From, Q) (A, error)) {
	p.node.Handle(op, func(ctx context.Context, from peer.From, body []byte) ([]byte, error) {
		var q Q
		if err := record.Decode(body, &q); err != nil {
			return nil, fault.New(fault.Invalid, "operation %d of node %s does not decode: %w", op, from.Node, err)
		}
		a, err := h(ctx, from, q)
		if err != nil {
			return nil, err
		}
		return record.Encode(a)
	})
}
