package session

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// Operations between nodes (docs/format/peer.md). Numbers are for ever.
const (
	opRead   = raftnode.FirstOp + 0 // give me what follows on a stream of yours
	opSaid   = raftnode.FirstOp + 1 // a client answers a request of yours, or tells its progress
	opCancel = raftnode.FirstOp + 2 // a client cancels a call, which may be yours
	opListen = raftnode.FirstOp + 3 // these GET streams are open here; which are open there?
	opClose  = raftnode.FirstOp + 4 // close a GET stream
	opAdopt  = raftnode.FirstOp + 5 // keep these streams of mine: I am stopping
)

type (
	// readRequest asks for the events of a stream behind what the caller has.
	readRequest struct {
		Session  string    `cbor:"1,keyasint"` // id of its record
		Stream   record.ID `cbor:"2,keyasint"`
		Reader   uint64    `cbor:"3,keyasint,omitempty"` // as the first answer gave it; 0: attach behind Sequence
		Sequence uint64    `cbor:"4,keyasint,omitempty"` // with Reader 0
		Offset   uint64    `cbor:"5,keyasint,omitempty"` // with Reader: next event wanted
		At       int       `cbor:"6,keyasint,omitempty"` // bytes of that event that the caller has
		Wait     uint32    `cbor:"7,keyasint,omitempty"` // ms to wait if there is none
	}

	readAnswer struct {
		Reader uint64      `cbor:"1,keyasint,omitempty"`
		Offset uint64      `cbor:"2,keyasint,omitempty"` // of the next event that there will be
		Events []wireEvent `cbor:"3,keyasint,omitempty"`
		Done   bool        `cbor:"4,keyasint,omitempty"` // the last event of the stream is among them, whole
	}

	// wireEvent is an event, or a part of one that is too large for one answer;
	// then it is the only one.
	wireEvent struct {
		Offset   uint64 `cbor:"1,keyasint"`
		Sequence uint64 `cbor:"2,keyasint,omitempty"`
		ID       string `cbor:"3,keyasint,omitempty"`
		Data     []byte `cbor:"4,keyasint,omitempty"`
		Size     int    `cbor:"5,keyasint,omitempty"` // of all its data; 0: Data is all
		Last     bool   `cbor:"6,keyasint,omitempty"` // it is the answer of the call
	}

	saidRequest struct {
		Session string    `cbor:"1,keyasint"`
		Stream  record.ID `cbor:"2,keyasint"`
		Number  uint64    `cbor:"3,keyasint"` // of the request in its stream
		Message []byte    `cbor:"4,keyasint"`
	}

	saidAnswer struct {
		Taken bool `cbor:"1,keyasint,omitempty"` // somebody waited for it
	}

	cancelRequest struct {
		Session string     `cbor:"1,keyasint"`
		Request string     `cbor:"2,keyasint"` // JSON-RPC id of the call, as JSON
		Reason  string     `cbor:"3,keyasint,omitempty"`
		Act     cancelKind `cbor:"4,keyasint,omitempty"`
	}

	cancelAnswer struct {
		Running  int  `cbor:"1,keyasint,omitempty"` // calls under that id
		Answered bool `cbor:"2,keyasint,omitempty"` // one was answered a moment ago
	}

	listenRequest struct {
		Sessions []openStreams `cbor:"1,keyasint"` // at most listenBatch
	}

	listenAnswer struct {
		Sessions []openStreams `cbor:"1,keyasint,omitempty"` // as asked for, in that order
	}

	// openStreams are the GET streams of a session on one node.
	openStreams struct {
		Session string      `cbor:"1,keyasint"`
		Ranks   []uint64    `cbor:"2,keyasint,omitempty"` // ascending
		Streams []record.ID `cbor:"3,keyasint,omitempty"` // as Ranks
		Before  bool        `cbor:"4,keyasint,omitempty"` // there was one
	}

	closeRequest struct {
		Session string    `cbor:"1,keyasint"`
		Stream  record.ID `cbor:"2,keyasint"`
	}

	adoptRequest struct {
		Session string      `cbor:"1,keyasint"`
		Stream  record.ID   `cbor:"2,keyasint"`
		Owner   string      `cbor:"3,keyasint"`
		Events  []wireEvent `cbor:"4,keyasint"` // all of the stream, the last one its answer
	}

	empty struct{}
)

// handle serves op with typed bodies.
func handle[Q, A any](s *Sessions, op uint16, h func(context.Context, peer.From, *Q) (A, error)) {
	s.node.Handle(op, func(ctx context.Context, from peer.From, body []byte) ([]byte, error) {
		q := new(Q)
		if err := record.Decode(body, q); err != nil {
			return nil, fault.New(fault.Invalid, "operation %d of node %s does not decode: %w", op, from.Node, err)
		}
		a, err := h(ctx, from, q)
		if err != nil {
			return nil, err
		}
		return record.Encode(a)
	})
}

// call asks node to do op.
func call[A any](ctx context.Context, s *Sessions, node string, op uint16, q any) (A, error) {
	var a A
	body, err := record.Encode(q)
	if err != nil {
		return a, err
	}
	data, err := s.node.Call(ctx, node, op, body)
	if err != nil {
		return a, err
	}
	if err := record.Decode(data, &a); err != nil {
		return a, fault.New(fault.Internal, "the answer of node %s to operation %d does not decode: %w", node, op, err)
	}
	return a, nil
}

// serve registers everything that other nodes may ask of this one.
func (s *Sessions) serve() {
	handle(s, opRead, s.serveRead)
	handle(s, opSaid, s.serveSaid)
	handle(s, opCancel, s.serveCancel)
	handle(s, opListen, s.serveListen)
	handle(s, opClose, s.serveClose)
	handle(s, opAdopt, s.serveAdopt)
}

// nodesFor is how long the list of other nodes is used before it is read again.
const nodesFor = time.Second

// A nodeList is the names of the other nodes.
type nodeList struct {
	mu    sync.Mutex
	at    time.Time
	names []string // not to be changed
}

// others are the other nodes of the cluster, whether they run or not.
func (s *Sessions) others() []string {
	n := &s.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at.IsZero() || time.Since(n.at) > nodesFor {
		status := s.node.Status()
		names := slices.Concat(status.Voters, status.Replicas)
		n.names = slices.DeleteFunc(names, func(name string) bool { return name == s.c.Self })
		n.at = time.Now()
	}
	return n.names
}

// askOthers calls op on all other nodes at once, for at most limit, and gives the
// answers of those that gave one.
func askOthers[A any](ctx context.Context, s *Sessions, limit time.Duration, op uint16, q any) (answers map[string]A, all bool) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	nodes := s.others()
	answers = make(map[string]A, len(nodes))
	for _, node := range nodes {
		wg.Go(func() {
			a, err := call[A](ctx, s, node, op, q)
			if err != nil {
				s.log.Debug("a node was not asked about a session", "node", node, "op", op, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answers[node] = a
		})
	}
	wg.Wait()
	return answers, len(answers) == len(nodes)
}
