package adminapi

import (
	"context"
	"net/url"
	"strconv"
	"strings"
)

// An Entry is one registered name: where the thing of this type and key lives.
type Entry struct {
	Type      string            `cbor:"1,keyasint" json:"type"` // resource, tool, session, prompt, template
	Key       string            `cbor:"2,keyasint" json:"key"`
	Metadata  map[string]string `cbor:"3,keyasint,omitempty" json:"metadata,omitempty"`
	OwnerNode string            `cbor:"4,keyasint,omitempty" json:"owner_node,omitempty"`
	Location  string            `cbor:"5,keyasint,omitempty" json:"location,omitempty"`
	Created   Time              `cbor:"6,keyasint,omitempty" json:"created,omitzero"`
	Updated   Time              `cbor:"7,keyasint,omitempty" json:"updated,omitzero"`
	Revision  uint64            `cbor:"8,keyasint,omitempty" json:"revision"`
	Principal Principal         `cbor:"9,keyasint" json:"principal"` // who registered it
}

// An EntrySpec is what a caller says of an entry.
type EntrySpec struct {
	Metadata  map[string]string `cbor:"12,keyasint,omitempty" json:"metadata,omitempty"`   // at most 64 pairs, 64 KiB
	OwnerNode string            `cbor:"13,keyasint,omitempty" json:"owner_node,omitempty"` // empty: not bound to a node
	Location  string            `cbor:"14,keyasint,omitempty" json:"location,omitempty"`   // at most 2048 bytes
}

// RegisterRequest creates an entry, or replaces the one that has revision
// IfMatch. Without IfMatch an existing entry is a conflict.
type RegisterRequest struct {
	WriteOptions
	Type string `cbor:"10,keyasint" json:"-"`
	Key  string `cbor:"11,keyasint" json:"-"` // 1 to 512 bytes
	EntrySpec
}

// UnregisterRequest removes an entry; IfMatch is optional.
type UnregisterRequest struct {
	bare
	WriteOptions
	Type string `cbor:"10,keyasint"`
	Key  string `cbor:"11,keyasint"`
}

// WhereIsRequest reads one entry.
type WhereIsRequest struct {
	bare
	ReadOptions
	Type string `cbor:"10,keyasint"`
	Key  string `cbor:"11,keyasint"`
}

// EntriesRequest lists entries of one type in the order of their keys. Page
// counts from 1 and costs a walk over the pages before it; After, the key to
// begin behind, does not. At most one of the two.
type EntriesRequest struct {
	ReadOptions
	Type   string `cbor:"10,keyasint"`
	Prefix string `cbor:"11,keyasint,omitempty"`
	After  string `cbor:"12,keyasint,omitempty"`
	Page   uint64 `cbor:"13,keyasint,omitempty"` // (Page-1) × Limit must be at most 100,000
	Limit  uint64 `cbor:"14,keyasint,omitempty"` // 1 to 1000; 0 means 100
}

func (*RegisterRequest) op() Op   { return OpRegister }
func (*UnregisterRequest) op() Op { return OpUnregister }
func (*WhereIsRequest) op() Op    { return OpWhereIs }
func (*EntriesRequest) op() Op    { return OpEntries }

func entryPath(typ, key string) string {
	return "/v1/registry/" + segment(typ) + "/" + segment(key)
}

// segment escapes one segment of a path. A segment of dots would be taken for a
// way through the tree.
func segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

func (r *RegisterRequest) path() string   { return entryPath(r.Type, r.Key) }
func (r *UnregisterRequest) path() string { return entryPath(r.Type, r.Key) }
func (r *WhereIsRequest) path() string    { return entryPath(r.Type, r.Key) }
func (r *EntriesRequest) path() string    { return "/v1/registry/" + segment(r.Type) }

func (r *RegisterRequest) parameters(url.Values) {}
func (r *RegisterRequest) body() any             { return &r.EntrySpec }
func (r *EntriesRequest) body() any              { return nil }
func (r *EntriesRequest) parameters(q url.Values) {
	setIf(q, "prefix", r.Prefix)
	setIf(q, "after", r.After)
	setNumber(q, "page", r.Page)
	setNumber(q, "limit", r.Limit)
}

func setNumber(q url.Values, name string, n uint64) {
	if n != 0 {
		q.Set(name, strconv.FormatUint(n, 10))
	}
}

// Register creates or replaces an entry.
func (c *Client) Register(ctx context.Context, r *RegisterRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}

// Unregister removes an entry.
func (c *Client) Unregister(ctx context.Context, r *UnregisterRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}

// WhereIs reads one entry; live sessions are found under type session.
func (c *Client) WhereIs(ctx context.Context, r *WhereIsRequest) (Entry, Info, error) {
	return call[Entry](ctx, c, r)
}

// Entries lists entries of one type.
func (c *Client) Entries(ctx context.Context, r *EntriesRequest) (Page[Entry], Info, error) {
	return call[Page[Entry]](ctx, c, r)
}
