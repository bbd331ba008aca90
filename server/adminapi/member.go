package adminapi

import (
	"context"
	"net/url"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A Member is one node of the cluster: what it says of itself, and its part in
// the Raft configuration.
type Member struct {
	Node      string `cbor:"1,keyasint" json:"node"`
	Disk      string `cbor:"2,keyasint,omitempty" json:"disk,omitempty"`    // id of its data directory
	Process   string `cbor:"3,keyasint,omitempty" json:"process,omitempty"` // id of its current start
	Voter     bool   `cbor:"4,keyasint,omitempty" json:"voter"`
	Leader    bool   `cbor:"5,keyasint,omitempty" json:"leader"`
	PeerAddr  string `cbor:"6,keyasint,omitempty" json:"peer_addr,omitempty"`
	AdminAddr string `cbor:"7,keyasint,omitempty" json:"admin_addr,omitempty"`
	MCPAddr   string `cbor:"8,keyasint,omitempty" json:"mcp_addr,omitempty"`
	Binary    string `cbor:"9,keyasint,omitempty" json:"binary,omitempty"`    // version of its binary
	Supports  uint32 `cbor:"10,keyasint,omitempty" json:"supports,omitempty"` // highest cluster version it can live with
	Started   Time   `cbor:"11,keyasint,omitempty" json:"started,omitzero"`
	Replica   bool   `cbor:"12,keyasint,omitempty" json:"replica,omitempty"` // stays without a vote until it is promoted by hand

	// What the member answered just now; Reachable is false if it did not.
	Reachable bool     `cbor:"13,keyasint,omitempty" json:"reachable"`
	Problem   string   `cbor:"14,keyasint,omitempty" json:"problem,omitempty"` // why it did not answer
	Serving   bool     `cbor:"15,keyasint,omitempty" json:"serving"`           // takes reads and writes
	Applied   uint64   `cbor:"16,keyasint,omitempty" json:"applied_index,omitempty"`
	LastLog   uint64   `cbor:"17,keyasint,omitempty" json:"last_log_index,omitempty"`
	Alarms    []string `cbor:"18,keyasint,omitempty" json:"alarms,omitempty"` // sentences
}

// MembersRequest lists the members; there are never enough of them for pages.
// The asked node asks each of them how it is, for at most half a second.
type MembersRequest struct {
	bare
	ReadOptions
}

// AddMemberRequest lets a running node join as a non-voter; it is promoted when
// it has caught up and been stable for 10 s.
type AddMemberRequest struct {
	WriteOptions
	Node string `cbor:"10,keyasint" json:"-"`
	MemberSpec
}

// A MemberSpec is what a caller says of a node that is to join.
type MemberSpec struct {
	PeerAddr string `cbor:"11,keyasint" json:"peer_addr"` // host:port of its peer port
}

// PromoteMemberRequest makes a node a voter now.
type PromoteMemberRequest struct {
	bare
	WriteOptions
	Node string `cbor:"10,keyasint"`
}

// DemoteMemberRequest takes a node's vote; it keeps its data and serves on.
type DemoteMemberRequest struct {
	bare
	WriteOptions
	Node string `cbor:"10,keyasint"`
}

// RemoveMemberRequest removes a node for good. It comes back only under a new
// disk id, that is with an empty data directory.
type RemoveMemberRequest struct {
	bare
	WriteOptions
	Node string `cbor:"10,keyasint"`
}

// A MemberChange answers a change of the membership. Members and votes are the
// log's own business: these changes take no IfMatch and no IdempotencyKey,
// because each is idempotent.
type MemberChange struct {
	Node string `cbor:"1,keyasint" json:"node"`
}

// A Leader is who leads, as the asked node knows it.
type Leader struct {
	Node      string `cbor:"1,keyasint,omitempty" json:"node"` // empty: none is known
	Term      uint64 `cbor:"2,keyasint,omitempty" json:"term"`
	AdminAddr string `cbor:"3,keyasint,omitempty" json:"admin_addr,omitempty"`
}

// LeaderRequest asks who leads.
type LeaderRequest struct {
	bare
	ReadOptions
}

// A TransferSpec says who should lead.
type TransferSpec struct {
	To string `cbor:"10,keyasint,omitempty" json:"to,omitempty"` // empty: the most up-to-date voter
}

// TransferLeaderRequest hands leadership over.
type TransferLeaderRequest struct {
	WriteOptions
	TransferSpec
}

// InitClusterRequest has the asked node, which must belong to no cluster and find
// none, begin one alone. It answers when the node leads.
type InitClusterRequest struct {
	bare
	WriteOptions
}

// A Cluster is one that a node has begun.
type Cluster struct {
	Node string `cbor:"1,keyasint" json:"node"` // the one that was asked, its only member
	ID   string `cbor:"2,keyasint" json:"cluster_id"`
	Name string `cbor:"3,keyasint" json:"cluster_name"`
}

func (*MembersRequest) op() Op        { return OpMembers }
func (*AddMemberRequest) op() Op      { return OpAddMember }
func (*PromoteMemberRequest) op() Op  { return OpPromoteMember }
func (*DemoteMemberRequest) op() Op   { return OpDemoteMember }
func (*RemoveMemberRequest) op() Op   { return OpRemoveMember }
func (*LeaderRequest) op() Op         { return OpLeader }
func (*TransferLeaderRequest) op() Op { return OpTransferLeader }
func (*InitClusterRequest) op() Op    { return OpInitCluster }

func memberPath(node string) string { return "/v1/cluster/members/" + segment(node) }

func (*MembersRequest) path() string         { return "/v1/cluster/members" }
func (r *AddMemberRequest) path() string     { return memberPath(r.Node) }
func (r *PromoteMemberRequest) path() string { return memberPath(r.Node) + "/promote" }
func (r *DemoteMemberRequest) path() string  { return memberPath(r.Node) + "/demote" }
func (r *RemoveMemberRequest) path() string  { return memberPath(r.Node) }
func (*LeaderRequest) path() string          { return "/v1/cluster/leader" }
func (*TransferLeaderRequest) path() string  { return "/v1/cluster/leader" }
func (*InitClusterRequest) path() string     { return "/v1/cluster/init" }

func (*AddMemberRequest) parameters(url.Values)      {}
func (r *AddMemberRequest) body() any                { return &r.MemberSpec }
func (*TransferLeaderRequest) parameters(url.Values) {}
func (r *TransferLeaderRequest) body() any           { return &r.TransferSpec }

// Members lists the nodes of the cluster.
func (c *Client) Members(ctx context.Context, r *MembersRequest) (Page[Member], Info, error) {
	return call[Page[Member]](ctx, c, r)
}

// AddMember lets a running node join.
func (c *Client) AddMember(ctx context.Context, r *AddMemberRequest) (MemberChange, Info, error) {
	return call[MemberChange](ctx, c, r)
}

// PromoteMember makes a node a voter.
func (c *Client) PromoteMember(ctx context.Context, r *PromoteMemberRequest) (MemberChange, Info, error) {
	return call[MemberChange](ctx, c, r)
}

// DemoteMember takes a node's vote.
func (c *Client) DemoteMember(ctx context.Context, r *DemoteMemberRequest) (MemberChange, Info, error) {
	return call[MemberChange](ctx, c, r)
}

// RemoveMember removes a node.
func (c *Client) RemoveMember(ctx context.Context, r *RemoveMemberRequest) (MemberChange, Info, error) {
	return call[MemberChange](ctx, c, r)
}

// Leader asks who leads.
func (c *Client) Leader(ctx context.Context, r *LeaderRequest) (Leader, Info, error) {
	return call[Leader](ctx, c, r)
}

// TransferLeader hands leadership over and answers who leads then.
func (c *Client) TransferLeader(ctx context.Context, r *TransferLeaderRequest) (Leader, Info, error) {
	return call[Leader](ctx, c, r)
}

// InitCluster has a node begin a cluster alone. A client of several addresses
// could reach any of them, so it refuses.
func (c *Client) InitCluster(ctx context.Context, r *InitClusterRequest) (Cluster, Info, error) {
	if len(c.targets) != 1 {
		return Cluster{}, Info{}, fault.New(fault.Invalid, "a cluster begins on one node, %d addresses are given", len(c.targets)).
			WithHint("give the address of that node alone")
	}
	return call[Cluster](ctx, c, r)
}
