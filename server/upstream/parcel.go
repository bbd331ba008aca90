package upstream

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// A body between nodes begins with a byte that says where it is.
const (
	bodyHere   byte = 0 // it follows
	bodyParcel byte = 1 // the number of the parcel follows, whose parts came before
)

const (
	partBytes  = 2 << 20            // of a body, in one frame
	inlineMost = 3 << 20            // larger bodies go in parts
	maxParcel  = MaxMessage + 1<<20 // bytes of a body
	maxParcels = 64                 // of other nodes that are not whole or not taken
	parcelLife = 30 * time.Second
)

// parcels are bodies of other nodes that come in parts.
type parcels struct {
	budget Budget

	mu   sync.Mutex
	last uint64
	come map[parcelKey]*parcel
}

type parcelKey struct {
	node   string
	number uint64
}

type parcel struct {
	meter meter
	data  []byte
	size  int
	begun time.Time
}

// pack is v as the body of an operation or an answer for node; what is too large
// for one frame is sent ahead.
func (r *remote) pack(ctx context.Context, node string, v any) ([]byte, error) {
	data, err := record.Encode(v)
	if err != nil {
		return nil, err
	}
	if len(data) <= inlineMost {
		return append(append(make([]byte, 0, len(data)+1), bodyHere), data...), nil
	}
	r.parcels.mu.Lock()
	r.parcels.last++
	number := r.parcels.last
	r.parcels.mu.Unlock()
	for at := 0; at < len(data); at += partBytes {
		p := part{Parcel: number, Offset: at, Size: len(data), Data: data[at:min(at+partBytes, len(data))]}
		body, err := record.Encode(&p)
		if err != nil {
			return nil, err
		}
		if _, err := r.peers.Call(ctx, node, opPart, body); err != nil {
			return nil, err
		}
	}
	return binary.BigEndian.AppendUint64([]byte{bodyParcel}, number), nil
}

// unpack is the reverse. The data is good until release is called.
func (r *remote) unpack(node string, body []byte) (data []byte, release func(), err error) {
	switch {
	case len(body) > 0 && body[0] == bodyHere:
		return body[1:], func() {}, nil
	case len(body) == 9 && body[0] == bodyParcel:
		return r.parcels.take(parcelKey{node, binary.BigEndian.Uint64(body[1:])})
	default:
		return nil, nil, fault.New(fault.Invalid, "a body of node %s is in no form that this node knows", node)
	}
}

func (p *parcels) take(k parcelKey) ([]byte, func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.come[k]
	delete(p.come, k)
	if c == nil || len(c.data) != c.size {
		if c != nil {
			c.meter.giveBack()
		}
		return nil, nil, fault.New(fault.Invalid, "parcel %d of node %s is not whole", k.number, k.node)
	}
	return c.data, c.meter.giveBack, nil
}

// part takes a part of a parcel. The parts of one come one after the other.
func (r *remote) part(ctx context.Context, from peer.From, body []byte) ([]byte, error) {
	var q part
	if err := record.Decode(body, &q); err != nil {
		return nil, fault.New(fault.Invalid, "a part of node %s does not decode: %w", from.Node, err)
	}
	k := parcelKey{from.Node, q.Parcel}
	if q.Offset == 0 {
		if err := r.parcels.begin(ctx, k, q.Size); err != nil {
			return nil, err
		}
	}
	p := &r.parcels
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.come[k]
	if c == nil || q.Offset != len(c.data) || q.Size != c.size || len(c.data)+len(q.Data) > c.size {
		return nil, fault.New(fault.Invalid, "a part of node %s does not follow what came before it", from.Node)
	}
	c.data = append(c.data, q.Data...)
	return []byte{}, nil
}

func (p *parcels) begin(ctx context.Context, k parcelKey, size int) error {
	if size <= 0 || size > maxParcel {
		return tooLargeParcel(size)
	}
	c := &parcel{meter: meter{budget: p.budget}, size: size, begun: time.Now()}
	if err := c.meter.draw(ctx, int64(size)); err != nil {
		return err
	}
	c.data = make([]byte, 0, size)
	p.mu.Lock()
	defer p.mu.Unlock()
	for old, c := range p.come {
		if time.Since(c.begun) > parcelLife {
			c.meter.giveBack()
			delete(p.come, old)
		}
	}
	if _, twice := p.come[k]; twice || len(p.come) >= maxParcels {
		c.meter.giveBack()
		return fault.New(fault.Overloaded, "%d large messages of other nodes wait on this node", len(p.come)).After(time.Second)
	}
	p.come[k] = c
	return nil
}

func tooLargeParcel(size int) error {
	return fault.New(fault.TooLarge, "a message of %d bytes is above the limit of %d between nodes", size, maxParcel)
}
