package adminapi

import (
	"net/http"
	"net/url"
)

// An Op is the number of an operation on a stream. Numbers are for ever.
type Op uint16

const (
	OpRegister   Op = 1
	OpUnregister Op = 2
	OpWhereIs    Op = 3
	OpEntries    Op = 4

	OpCreateSession      Op = 10
	OpSessions           Op = 11
	OpSession            Op = 12
	OpKillSession        Op = 13
	OpSuspendSession     Op = 14
	OpResumeSession      Op = 15
	OpSessionSettings    Op = 16
	OpPutSessionSettings Op = 17

	OpPutUpstream    Op = 20
	OpUpstreams      Op = 21
	OpUpstream       Op = 22
	OpRemoveUpstream Op = 23

	OpMembers        Op = 30
	OpAddMember      Op = 31
	OpPromoteMember  Op = 32
	OpDemoteMember   Op = 33
	OpRemoveMember   Op = 34
	OpLeader         Op = 35
	OpTransferLeader Op = 36
	OpInitCluster    Op = 37

	OpStatus  Op = 40
	OpDigest  Op = 41
	OpWorkers Op = 42

	OpCreateToken Op = 50
	OpTokens      Op = 51
	OpToken       Op = 52
	OpRevokeToken Op = 53
	OpRotateKeys  Op = 54

	OpPutCredential    Op = 70
	OpCredentials      Op = 71
	OpCredential       Op = 72
	OpRemoveCredential Op = 73

	OpUpstreamLog Op = 80
	OpPools       Op = 81
)

// MaxOp is the highest number in use.
const MaxOp = OpPools

// An Operation is one thing that the API can do.
type Operation struct {
	Op     Op
	Name   string // for people, logs and metrics
	Method string
	Path   string // as http.ServeMux writes patterns
	Write  bool
}

var operations = []Operation{
	{OpRegister, "registry.register", http.MethodPut, "/v1/registry/{type}/{key...}", true},
	{OpUnregister, "registry.unregister", http.MethodDelete, "/v1/registry/{type}/{key...}", true},
	{OpWhereIs, "registry.whereis", http.MethodGet, "/v1/registry/{type}/{key...}", false},
	{OpEntries, "registry.list", http.MethodGet, "/v1/registry/{type}", false},

	{OpCreateSession, "sessions.create", http.MethodPost, "/v1/sessions", true},
	{OpSessions, "sessions.list", http.MethodGet, "/v1/sessions", false},
	{OpSession, "sessions.show", http.MethodGet, "/v1/sessions/{id}", false},
	{OpKillSession, "sessions.kill", http.MethodDelete, "/v1/sessions/{id}", true},
	{OpSuspendSession, "sessions.suspend", http.MethodPost, "/v1/sessions/{id}/suspend", true},
	{OpResumeSession, "sessions.resume", http.MethodPost, "/v1/sessions/{id}/resume", true},
	{OpSessionSettings, "sessions.settings", http.MethodGet, "/v1/settings/sessions", false},
	{OpPutSessionSettings, "sessions.put_settings", http.MethodPut, "/v1/settings/sessions", true},

	{OpPutUpstream, "upstreams.put", http.MethodPut, "/v1/upstreams/{alias}", true},
	{OpUpstreams, "upstreams.list", http.MethodGet, "/v1/upstreams", false},
	{OpUpstream, "upstreams.show", http.MethodGet, "/v1/upstreams/{alias}", false},
	{OpRemoveUpstream, "upstreams.remove", http.MethodDelete, "/v1/upstreams/{alias}", true},

	{OpMembers, "members.list", http.MethodGet, "/v1/cluster/members", false},
	{OpAddMember, "members.add", http.MethodPut, "/v1/cluster/members/{node}", true},
	{OpPromoteMember, "members.promote", http.MethodPost, "/v1/cluster/members/{node}/promote", true},
	{OpDemoteMember, "members.demote", http.MethodPost, "/v1/cluster/members/{node}/demote", true},
	{OpRemoveMember, "members.remove", http.MethodDelete, "/v1/cluster/members/{node}", true},
	{OpLeader, "leader.show", http.MethodGet, "/v1/cluster/leader", false},
	{OpTransferLeader, "leader.transfer", http.MethodPost, "/v1/cluster/leader", true},
	{OpInitCluster, "cluster.init", http.MethodPost, "/v1/cluster/init", true},

	{OpStatus, "status", http.MethodGet, "/v1/status", false},
	{OpDigest, "digest", http.MethodGet, "/v1/digest", false},
	{OpWorkers, "workers", http.MethodGet, "/v1/workers", false},

	{OpCreateToken, "tokens.create", http.MethodPost, "/v1/tokens", true},
	{OpTokens, "tokens.list", http.MethodGet, "/v1/tokens", false},
	{OpToken, "tokens.show", http.MethodGet, "/v1/tokens/{name}", false},
	{OpRevokeToken, "tokens.revoke", http.MethodDelete, "/v1/tokens/{name}", true},
	{OpRotateKeys, "keys.rotate", http.MethodPost, "/v1/keys/rotate", true},

	{OpPutCredential, "credentials.put", http.MethodPut, "/v1/credentials/{name}", true},
	{OpCredentials, "credentials.list", http.MethodGet, "/v1/credentials", false},
	{OpCredential, "credentials.show", http.MethodGet, "/v1/credentials/{name}", false},
	{OpRemoveCredential, "credentials.remove", http.MethodDelete, "/v1/credentials/{name}", true},

	{OpUpstreamLog, "upstreams.logs", http.MethodGet, "/v1/upstreams/{alias}/logs", false},
	{OpPools, "pools.list", http.MethodGet, "/v1/pools", false},
}

// byNumber finds the row of an Op; a gap has an empty Name.
var byNumber = func() []Operation {
	list := make([]Operation, MaxOp+1)
	for _, o := range operations {
		list[o.Op] = o
	}
	return list
}()

// Operations lists every operation in the order of the numbers.
func Operations() []Operation { return append([]Operation(nil), operations...) }

// Operation is the row of op; ok is false for a number that is not in use.
func (op Op) Operation() (row Operation, ok bool) {
	if int(op) >= len(byNumber) || byNumber[op].Name == "" {
		return Operation{}, false
	}
	return byNumber[op], true
}

func (op Op) String() string {
	if row, ok := op.Operation(); ok {
		return row.Name
	}
	return "unknown"
}

// A request is one operation with its arguments. Path arguments and options are
// fields beside the body, so that one struct serves both carriers.
type request interface {
	op() Op
	options() (*ReadOptions, *WriteOptions)
	path() string          // escaped
	parameters(url.Values) // adds the arguments that HTTP carries in the query
	body() any             // what HTTP carries as JSON; nil: nothing
}

// bare is embedded by requests without query and body.
type bare struct{}

func (bare) parameters(url.Values) {}
func (bare) body() any             { return nil }

func setIf(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}
