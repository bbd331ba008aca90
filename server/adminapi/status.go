package adminapi

import (
	"context"
	"encoding/json"
	"net/http"
)

// A Status is one node's account of itself and of the cluster.
type Status struct {
	Node           string   `cbor:"1,keyasint" json:"node"`
	ClusterID      string   `cbor:"2,keyasint,omitempty" json:"cluster_id,omitempty"`
	ClusterName    string   `cbor:"3,keyasint,omitempty" json:"cluster_name,omitempty"`
	ClusterVersion uint32   `cbor:"4,keyasint,omitempty" json:"cluster_version"`
	Role           string   `cbor:"5,keyasint,omitempty" json:"role"`   // leader, follower, candidate, replica (has no vote), shutdown
	Leader         string   `cbor:"6,keyasint,omitempty" json:"leader"` // node name; empty: none is known
	Term           uint64   `cbor:"7,keyasint,omitempty" json:"term"`
	Applied        uint64   `cbor:"8,keyasint,omitempty" json:"applied_index"`
	Committed      uint64   `cbor:"9,keyasint,omitempty" json:"committed_index"`
	LastLog        uint64   `cbor:"10,keyasint,omitempty" json:"last_log_index"`
	Durable        uint64   `cbor:"11,keyasint,omitempty" json:"durable_index"` // of the state machine
	Revision       uint64   `cbor:"12,keyasint,omitempty" json:"revision"`
	LogTime        Time     `cbor:"13,keyasint,omitempty" json:"log_time,omitzero"`
	Digest         string   `cbor:"14,keyasint,omitempty" json:"digest"`
	Staleness      Duration `cbor:"15,keyasint,omitempty" json:"staleness"` // upper bound, as this node measures it; -1ms: unknown
	Ready          bool     `cbor:"16,keyasint,omitempty" json:"ready"`
	Checks         []Check  `cbor:"17,keyasint,omitempty" json:"checks"`
	Sessions       uint64   `cbor:"18,keyasint,omitempty" json:"sessions"`   // live ones
	DiskBytes      uint64   `cbor:"19,keyasint,omitempty" json:"disk_bytes"` // of the state machine
	Version        string   `cbor:"20,keyasint,omitempty" json:"version"`    // of the binary
	Started        Time     `cbor:"21,keyasint,omitempty" json:"started,omitzero"`
	Disk           string   `cbor:"22,keyasint,omitempty" json:"disk,omitempty"`
	Process        string   `cbor:"23,keyasint,omitempty" json:"process,omitempty"`
	Alarms         []string `cbor:"24,keyasint,omitempty" json:"alarms,omitempty"` // sentences; what an operator must look at
	Members        []Member `cbor:"25,keyasint,omitempty" json:"members"`
	FirstLog       uint64   `cbor:"26,keyasint,omitempty" json:"first_log_index"` // what lies before it has been cut off the log
	Messages       uint64   `cbor:"27,keyasint,omitempty" json:"messages_10s"`    // of MCP clients, in the last 10 s
}

// A Check is one part of being ready.
type Check struct {
	Name   string `cbor:"1,keyasint" json:"name"`
	OK     bool   `cbor:"2,keyasint,omitempty" json:"ok"`
	Detail string `cbor:"3,keyasint,omitempty" json:"detail,omitempty"` // what was found, when not OK
}

// StatusRequest asks one node; the default is consistency any.
type StatusRequest struct {
	bare
	ReadOptions
}

// A Digest is the hash of a node's replicated state. Equal indexes on one
// timeline mean equal digests on every node.
type Digest struct {
	Node    string `cbor:"1,keyasint" json:"node"`
	Index   uint64 `cbor:"2,keyasint,omitempty" json:"index"`
	Digest  string `cbor:"3,keyasint" json:"digest"`                         // 32 hexadecimal digits
	Checked uint64 `cbor:"4,keyasint,omitempty" json:"checked_index"`        // of the newest check that all nodes made at one index
	Since   uint64 `cbor:"5,keyasint,omitempty" json:"commands_since_check"` // applied after it

	// Checks are the newest, at most 32, oldest first.
	Checks []DigestCheck `cbor:"6,keyasint,omitempty" json:"checks,omitempty"`
}

// A DigestCheck is the digest of a node's state before one index of the log, at
// which every node takes it.
type DigestCheck struct {
	Index  uint64 `cbor:"1,keyasint" json:"index"`
	Digest string `cbor:"2,keyasint" json:"digest"`
}

// DigestRequest asks one node; the default is consistency any. MinIndex waits.
type DigestRequest struct {
	bare
	ReadOptions
}

// A Worker is a node of the supervision tree of the asked node.
type Worker struct {
	Name        string   `cbor:"1,keyasint" json:"name"`
	Strategy    string   `cbor:"2,keyasint,omitempty" json:"strategy,omitempty"` // of a supervisor: one_for_one, one_for_all
	State       string   `cbor:"3,keyasint,omitempty" json:"state,omitempty"`    // of a worker: running, restarting, stopped
	Restarts    uint64   `cbor:"4,keyasint,omitempty" json:"restarts"`
	LastFailure string   `cbor:"5,keyasint,omitempty" json:"last_failure,omitempty"`
	Since       Time     `cbor:"6,keyasint,omitempty" json:"since,omitzero"` // of its current state
	Children    []Worker `cbor:"7,keyasint,omitempty" json:"children,omitempty"`
}

// WorkersRequest asks for the supervision tree of one node.
type WorkersRequest struct {
	bare
	ReadOptions
}

func (*StatusRequest) op() Op  { return OpStatus }
func (*DigestRequest) op() Op  { return OpDigest }
func (*WorkersRequest) op() Op { return OpWorkers }

func (*StatusRequest) path() string  { return "/v1/status" }
func (*DigestRequest) path() string  { return "/v1/digest" }
func (*WorkersRequest) path() string { return "/v1/workers" }

// Status asks a node about itself and the cluster.
func (c *Client) Status(ctx context.Context, r *StatusRequest) (Status, Info, error) {
	return call[Status](ctx, c, r)
}

// Digest asks a node for the hash of its state.
func (c *Client) Digest(ctx context.Context, r *DigestRequest) (Digest, Info, error) {
	return call[Digest](ctx, c, r)
}

// Workers asks a node for its supervision tree.
func (c *Client) Workers(ctx context.Context, r *WorkersRequest) (Worker, Info, error) {
	return call[Worker](ctx, c, r)
}

// Health is the answer of /livez, /readyz and /startupz.
type Health struct {
	Status string  `json:"status"` // ok or failing
	Checks []Check `json:"checks,omitempty"`
}

// Paths of the health probes. They need no token.
const (
	Livez    = "/livez"    // the process works; never depends on a leader
	Readyz   = "/readyz"   // it should be given traffic
	Startupz = "/startupz" // it has finished starting
)

// Health asks the first address that answers, with every check listed. A probe
// that fails is an answer, not an error.
func (c *Client) Health(ctx context.Context, probe string) (Health, error) {
	var health Health
	err := c.each(ctx, harmless, func(ctx context.Context, t target) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.base()+probe+"?verbose", http.NoBody)
		if err != nil {
			return &unsentError{err}
		}
		resp, body, err := c.http.exchange(req)
		if err != nil {
			return err
		}
		if json.Unmarshal(body, &health) != nil || health.Status == "" {
			return httpError(t.addr, resp, body)
		}
		return nil
	})
	return health, err
}
