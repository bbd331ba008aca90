package archive

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/wal"
)

// Operations between nodes (docs/format/peer.md). Numbers are for ever.
const (
	opEntries = raftnode.FirstOp + 48 // give me entries of your log
	opFlush   = raftnode.FirstOp + 49 // archive up to this index now
)

// maxAnswerBytes bounds the data of the entries in one answer, but for the last one.
const maxAnswerBytes = 1 << 20

type (
	entriesRequest struct {
		From uint64 `cbor:"1,keyasint"`
		To   uint64 `cbor:"2,keyasint"`
	}

	// entriesAnswer has the entries from From up to To that change the state; To is
	// below From when the node does not have From any more.
	entriesAnswer struct {
		First   uint64      `cbor:"1,keyasint"` // oldest entry of the node's log
		To      uint64      `cbor:"2,keyasint,omitempty"`
		Entries []wireEntry `cbor:"3,keyasint,omitempty"`
	}

	wireEntry struct {
		Index   uint64         `cbor:"1,keyasint"`
		Term    uint64         `cbor:"2,keyasint"`
		Kind    wal.Kind       `cbor:"3,keyasint"`
		LogTime record.LogTime `cbor:"4,keyasint,omitempty"`
		Data    []byte         `cbor:"5,keyasint"`
	}

	flushRequest struct {
		Index uint64 `cbor:"1,keyasint"`
	}

	empty struct{}
)

// handle serves op with typed bodies.
func handle[Q, A any](a *Archiver, op uint16, h func(context.Context, *Q) (A, error)) {
	a.c.Peers.Handle(op, func(ctx context.Context, from peer.From, body []byte) ([]byte, error) {
		q := new(Q)
		if err := record.Decode(body, q); err != nil {
			return nil, fault.New(fault.Invalid, "operation %d of node %s does not decode: %w", op, from.Node, err)
		}
		answer, err := h(ctx, q)
		if err != nil {
			return nil, err
		}
		return record.Encode(answer)
	})
}

// call runs op on another node.
func call[A any](ctx context.Context, a *Archiver, node string, op uint16, q any) (answer A, err error) {
	body, err := record.Encode(q)
	if err != nil {
		return answer, err
	}
	if body, err = a.c.Peers.Call(ctx, node, op, body); err != nil {
		return answer, err
	}
	return answer, record.Decode(body, &answer)
}

func (a *Archiver) ask(ctx context.Context, node string, q entriesRequest) (entriesAnswer, error) {
	return call[entriesAnswer](ctx, a, node, opEntries, q)
}

// serveEntries answers with what this node's log has, about maxAnswerBytes of it.
func (a *Archiver) serveEntries(_ context.Context, q *entriesRequest) (entriesAnswer, error) {
	span, err := a.c.Log.LogRange()
	if err != nil {
		return entriesAnswer{}, err
	}
	answer := entriesAnswer{First: span.First}
	to := min(q.To, span.Applied)
	if q.From < span.First || to < q.From {
		return answer, nil
	}
	bytes := 0
	for e, err := range a.c.Log.Entries(q.From, to) {
		if err != nil {
			return entriesAnswer{}, err
		}
		answer.Entries = append(answer.Entries, wireEntry{Index: e.Index, Term: e.Term, Kind: e.Kind, LogTime: e.LogTime, Data: e.Data})
		if bytes += len(e.Data) + entryOverhead; bytes >= maxAnswerBytes {
			answer.To = e.Index
			return answer, nil
		}
	}
	answer.To = to
	return answer, nil
}

// others are the other members of the cluster.
func (a *Archiver) others(ctx context.Context) ([]string, error) {
	view, _, err := a.Backups.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return nil, err
	}
	defer view.Close()
	var nodes []string
	for m, err := range view.Members() {
		if err != nil {
			return nil, err
		}
		if m.Node != a.Backups.c.Node {
			nodes = append(nodes, m.Node)
		}
	}
	return nodes, nil
}
