package adminapi

import (
	"context"
	"net/url"
)

// A Pool bounds the connections to one upstream. Zero means the default.
type Pool struct {
	Size        uint32   `cbor:"1,keyasint,omitempty" json:"size,omitempty"`         // connections kept; at most 1024
	MaxOverflow uint32   `cbor:"2,keyasint,omitempty" json:"max_overflow,omitempty"` // more that may be opened and are closed on return
	KeepAlive   Duration `cbor:"3,keyasint,omitempty" json:"keep_alive,omitzero"`    // life of an idle one
	Timeout     Duration `cbor:"4,keyasint,omitempty" json:"timeout,omitzero"`       // how long a caller waits for one
}

// An UpstreamSpec is what a caller says of an upstream.
type UpstreamSpec struct {
	Transport      string            `cbor:"11,keyasint" json:"transport"`                           // http, sse, stdio
	URL            string            `cbor:"12,keyasint,omitempty" json:"url,omitempty"`             // http and sse
	Command        string            `cbor:"13,keyasint,omitempty" json:"command,omitempty"`         // stdio: a name from the nodes' configuration
	SessionMode    string            `cbor:"14,keyasint,omitempty" json:"session_mode,omitempty"`    // shared, per_principal, per_session, per_call
	RequestTimeout Duration          `cbor:"15,keyasint,omitempty" json:"request_timeout,omitzero"`  // at most 1h; 0 means the node's default
	SecretRef      string            `cbor:"16,keyasint,omitempty" json:"secret_ref,omitempty"`      // name of a credential in the nodes' configuration
	Credential     string            `cbor:"40,keyasint,omitempty" json:"credential,omitempty"`      // name of a credential of the cluster
	Recovery       string            `cbor:"42,keyasint,omitempty" json:"recovery,omitempty"`        // stdio: restart, relocate; "" means restart
	Failover       Duration          `cbor:"43,keyasint,omitempty" json:"failover_timeout,omitzero"` // stdio: how long a call waits for a lost process to be back; at most 1h; 0 means 15 s
	Pool           Pool              `cbor:"17,keyasint" json:"pool,omitzero"`
	Disabled       bool              `cbor:"18,keyasint,omitempty" json:"disabled,omitempty"`
	Metadata       map[string]string `cbor:"19,keyasint,omitempty" json:"metadata,omitempty"`
}

// An Upstream is an MCP server registered with the cluster.
type Upstream struct {
	Alias string `cbor:"10,keyasint" json:"alias"`
	UpstreamSpec
	Created  Time   `cbor:"20,keyasint,omitempty" json:"created,omitzero"`
	Updated  Time   `cbor:"21,keyasint,omitempty" json:"updated,omitzero"`
	Revision uint64 `cbor:"22,keyasint,omitempty" json:"revision"`

	// Catalogue is what it lists; nil if nobody has tried to list it yet.
	Catalogue *Catalogue `cbor:"41,keyasint,omitempty" json:"catalogue,omitempty"`

	// Processes are those of a stdio upstream in the cluster. A list of upstreams is
	// without them.
	Processes []Process `cbor:"44,keyasint,omitempty" json:"processes,omitempty"`
}

// PutUpstreamRequest creates an upstream, or replaces the one that has revision
// IfMatch. Without IfMatch an existing alias is a conflict.
type PutUpstreamRequest struct {
	WriteOptions
	Alias string `cbor:"10,keyasint" json:"-"` // [a-z0-9][a-z0-9-]{0,15}
	UpstreamSpec
}

// UpstreamsRequest lists upstreams in the order of their aliases.
type UpstreamsRequest struct {
	ReadOptions
	After string `cbor:"10,keyasint,omitempty"`
	Limit uint64 `cbor:"11,keyasint,omitempty"` // 1 to 1000; 0 means 100
}

// UpstreamRequest reads one upstream.
type UpstreamRequest struct {
	bare
	ReadOptions
	Alias string `cbor:"10,keyasint"`
}

// RemoveUpstreamRequest removes one upstream; IfMatch is optional.
type RemoveUpstreamRequest struct {
	bare
	WriteOptions
	Alias string `cbor:"10,keyasint"`
}

func (*PutUpstreamRequest) op() Op    { return OpPutUpstream }
func (*UpstreamsRequest) op() Op      { return OpUpstreams }
func (*UpstreamRequest) op() Op       { return OpUpstream }
func (*RemoveUpstreamRequest) op() Op { return OpRemoveUpstream }

func upstreamPath(alias string) string { return "/v1/upstreams/" + segment(alias) }

func (r *PutUpstreamRequest) path() string    { return upstreamPath(r.Alias) }
func (*UpstreamsRequest) path() string        { return "/v1/upstreams" }
func (r *UpstreamRequest) path() string       { return upstreamPath(r.Alias) }
func (r *RemoveUpstreamRequest) path() string { return upstreamPath(r.Alias) }

func (*PutUpstreamRequest) parameters(url.Values) {}
func (r *PutUpstreamRequest) body() any           { return &r.UpstreamSpec }
func (*UpstreamsRequest) body() any               { return nil }
func (r *UpstreamsRequest) parameters(q url.Values) {
	setIf(q, "after", r.After)
	setNumber(q, "limit", r.Limit)
}

// PutUpstream creates or replaces an upstream.
func (c *Client) PutUpstream(ctx context.Context, r *PutUpstreamRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}

// Upstreams lists upstreams.
func (c *Client) Upstreams(ctx context.Context, r *UpstreamsRequest) (Page[Upstream], Info, error) {
	return call[Page[Upstream]](ctx, c, r)
}

// Upstream reads one upstream.
func (c *Client) Upstream(ctx context.Context, r *UpstreamRequest) (Upstream, Info, error) {
	return call[Upstream](ctx, c, r)
}

// RemoveUpstream removes one upstream.
func (c *Client) RemoveUpstream(ctx context.Context, r *RemoveUpstreamRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}
