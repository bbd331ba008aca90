package adminapi

import (
	"context"
	"net/url"
)

// A Process is one child process of a stdio upstream, which one node may run.
type Process struct {
	Node     string `cbor:"10,keyasint" json:"node"`                          // that owns it
	Slot     string `cbor:"11,keyasint" json:"slot"`                          // tells it from others of the upstream: a number if callers share it
	PID      int    `cbor:"12,keyasint,omitempty" json:"pid,omitempty"`       // 0: none runs at this moment
	Restarts uint64 `cbor:"13,keyasint,omitempty" json:"restarts,omitempty"`  // on that node, since it owns it
	Failures int    `cbor:"14,keyasint,omitempty" json:"failures,omitempty"`  // in a row
	Since    Time   `cbor:"15,keyasint,omitempty" json:"since,omitzero"`      // when it was started last
	LastExit string `cbor:"16,keyasint,omitempty" json:"last_exit,omitempty"` // how the one before ended, on that node
	Problem  string `cbor:"17,keyasint,omitempty" json:"problem,omitempty"`   // why nothing but node and slot is known
}

// An UpstreamLog is the end of what the processes of a stdio upstream have written.
type UpstreamLog struct {
	Lines   []LogLine    `cbor:"10,keyasint,omitempty" json:"lines"`             // in the order of time
	Earlier uint64       `cbor:"11,keyasint,omitempty" json:"earlier,omitempty"` // lines that there were before these
	Missing []MissingLog `cbor:"12,keyasint,omitempty" json:"missing,omitempty"`
}

// A LogLine is one line of stderr, or what the node says about the process. It is
// printable: what a terminal would act on is escaped.
type LogLine struct {
	Node string `cbor:"10,keyasint" json:"node"`
	Slot string `cbor:"11,keyasint" json:"slot"`
	At   Time   `cbor:"12,keyasint" json:"at"`
	Text string `cbor:"13,keyasint" json:"text"`
}

// A MissingLog is a node whose lines could not be had.
type MissingLog struct {
	Node    string `cbor:"10,keyasint" json:"node"`
	Problem string `cbor:"11,keyasint" json:"problem"`
}

// UpstreamLogRequest asks the nodes that own processes of an upstream for what they
// have written. An upstream of another transport is Invalid.
type UpstreamLogRequest struct {
	ReadOptions
	Alias string `cbor:"10,keyasint"`
	Lines uint64 `cbor:"11,keyasint,omitempty"` // the newest, 1 to 1000; 0 means 100
}

// Pools are how one node stands with the upstreams that it has used.
type Pools struct {
	Node  string      `cbor:"10,keyasint" json:"node"`
	Items []PoolState `cbor:"11,keyasint,omitempty" json:"items"` // in the order of the aliases
}

// A PoolState is how a node stands with one upstream.
type PoolState struct {
	Alias       string `cbor:"10,keyasint" json:"alias"`
	Transport   string `cbor:"11,keyasint" json:"transport"`
	Size        int    `cbor:"12,keyasint,omitempty" json:"size"`
	MaxOverflow int    `cbor:"13,keyasint,omitempty" json:"max_overflow"`
	InUse       int    `cbor:"14,keyasint,omitempty" json:"in_use"`                // calls inside
	Waiting     int    `cbor:"15,keyasint,omitempty" json:"waiting"`               // calls that wait for a place
	Refused     uint64 `cbor:"16,keyasint,omitempty" json:"refused"`               // calls that waited in vain, since the record last changed
	Connections int    `cbor:"17,keyasint,omitempty" json:"connections,omitempty"` // open, in use or idle
	Processes   int    `cbor:"18,keyasint,omitempty" json:"processes,omitempty"`   // stdio: that run on this node
}

// PoolsRequest asks one node for its pools.
type PoolsRequest struct {
	bare
	ReadOptions
}

func (*UpstreamLogRequest) op() Op { return OpUpstreamLog }
func (*PoolsRequest) op() Op       { return OpPools }

func (r *UpstreamLogRequest) path() string { return upstreamPath(r.Alias) + "/logs" }
func (*PoolsRequest) path() string         { return "/v1/pools" }

func (*UpstreamLogRequest) body() any                 { return nil }
func (r *UpstreamLogRequest) parameters(q url.Values) { setNumber(q, "lines", r.Lines) }

// UpstreamLog reads what the processes of an upstream have written.
func (c *Client) UpstreamLog(ctx context.Context, r *UpstreamLogRequest) (UpstreamLog, Info, error) {
	return call[UpstreamLog](ctx, c, r)
}

// Pools reads the pools of the node that answers.
func (c *Client) Pools(ctx context.Context, r *PoolsRequest) (Pools, Info, error) {
	return call[Pools](ctx, c, r)
}
