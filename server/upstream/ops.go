package upstream

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// Operations between nodes (docs/format/peer.md). Numbers are for ever.
const (
	opOpen    = raftnode.FirstOp + 34 // open a session at a process of yours
	opCall    = raftnode.FirstOp + 35 // send it this request, and give me the answer
	opNotify  = raftnode.FirstOp + 36 // send it this notification
	opListen  = raftnode.FirstOp + 37 // tell me what it sends outside calls
	opEnd     = raftnode.FirstOp + 38 // end the process that this session has to itself
	opTell    = raftnode.FirstOp + 39 // this came for an operation of yours
	opAsk     = raftnode.FirstOp + 40 // this is asked in an operation of yours
	opPart    = raftnode.FirstOp + 41 // a part of a body that is too large for one frame
	opProcess = raftnode.FirstOp + 42 // how are your processes?
	opLog     = raftnode.FirstOp + 43 // what did your process write?
)

type (
	// operation is what a node has another one do at a process of its.
	operation struct {
		Alias   string     `cbor:"1,keyasint"`
		Caller  wireCaller `cbor:"2,keyasint"`
		Message []byte     `cbor:"3,keyasint,omitempty"`
		ID      uint64     `cbor:"4,keyasint,omitempty"` // of the operation at the asking node, for opTell and opAsk; 0: nobody hears
		Watch   wireWatch  `cbor:"5,keyasint,omitzero"`  // opListen
	}

	wireCaller struct {
		Principal    record.Principal `cbor:"1,keyasint"`
		Session      string           `cbor:"2,keyasint,omitempty"`
		Capabilities []byte           `cbor:"3,keyasint,omitempty"`
		ClientInfo   []byte           `cbor:"4,keyasint,omitempty"`
		Binding      *record.Binding  `cbor:"5,keyasint,omitempty"`
		Version      string           `cbor:"6,keyasint,omitempty"`
		Modern       bool             `cbor:"7,keyasint,omitempty"`
		LogLevel     string           `cbor:"8,keyasint,omitempty"`
	}

	wireWatch struct {
		Tools     bool     `cbor:"1,keyasint,omitempty"`
		Prompts   bool     `cbor:"2,keyasint,omitempty"`
		Resources bool     `cbor:"3,keyasint,omitempty"`
		URIs      []string `cbor:"4,keyasint,omitempty"`
		Asks      bool     `cbor:"5,keyasint,omitempty"` // requests outside calls are answered
	}

	openedAnswer struct {
		Initialize []byte `cbor:"1,keyasint,omitempty"`
		Version    string `cbor:"2,keyasint,omitempty"`
	}

	// news is what comes for an operation before it ends.
	news struct {
		ID      uint64   `cbor:"1,keyasint"` // of the operation
		Kind    newsKind `cbor:"2,keyasint"`
		Message []byte   `cbor:"3,keyasint,omitempty"`
	}

	newsKind uint8

	// part is a piece of a body that another message refers to.
	part struct {
		Parcel uint64 `cbor:"1,keyasint"`
		Offset int    `cbor:"2,keyasint,omitempty"`
		Size   int    `cbor:"3,keyasint"` // of the whole
		Data   []byte `cbor:"4,keyasint"`
	}

	empty struct{}
)

const (
	newsMessage  newsKind = 1 // a notification
	newsStanding newsKind = 2 // opListen: the stream stands
)

func (c *Caller) wire() wireCaller {
	return wireCaller{
		Principal: c.Principal, Session: c.Session, Capabilities: c.Capabilities, ClientInfo: c.ClientInfo,
		Binding: c.Binding, Version: string(c.Version), Modern: c.Modern, LogLevel: c.LogLevel,
	}
}

func (w *wireCaller) caller() *Caller {
	return &Caller{
		Principal: w.Principal, Session: w.Session, Capabilities: w.Capabilities, ClientInfo: w.ClientInfo,
		Binding: w.Binding, Version: mcp.Version(w.Version), Modern: w.Modern, LogLevel: w.LogLevel,
	}
}

// handle serves op with typed bodies, which may come and go in parts.
func handle[Q, A any](r *remote, op uint16, h func(context.Context, peer.From, *Q) (A, error)) {
	r.peers.Handle(op, func(ctx context.Context, from peer.From, body []byte) ([]byte, error) {
		data, release, err := r.unpack(from.Node, body)
		if err != nil {
			return nil, err
		}
		defer release()
		q := new(Q)
		if err := record.Decode(data, q); err != nil {
			return nil, fault.New(fault.Invalid, "operation %d of node %s does not decode: %w", op, from.Node, err)
		}
		a, err := h(ctx, from, q)
		if err != nil {
			return nil, err
		}
		return r.pack(ctx, from.Node, a)
	})
}

// callPeer has node do op.
func callPeer[A any](ctx context.Context, r *remote, node string, op uint16, q any) (A, error) {
	var a A
	body, err := r.pack(ctx, node, q)
	if err != nil {
		return a, hopFault(node, err)
	}
	answer, err := r.peers.Call(ctx, node, op, body)
	if err != nil {
		return a, hopFault(node, err)
	}
	data, release, err := r.unpack(node, answer)
	if err != nil {
		return a, err
	}
	defer release()
	if err := record.Decode(data, &a); err != nil {
		return a, fault.New(fault.Internal, "the answer of node %s to operation %d does not decode: %w", node, op, err)
	}
	return a, nil
}
