package admin

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// A route connects one operation to its method of API, for both carriers.
type route struct {
	op     adminapi.Operation
	status int // HTTP status of success
	http   func(a *API, ctx context.Context, c *call, from *args) (any, adminapi.Info, error)
	frame  func(a *API, ctx context.Context, c *call, body []byte) ([]byte, error)
}

// on makes a route: bind fills a request from the arguments of HTTP, do carries
// it out.
func on[R, T any](op adminapi.Op, bind func(*args, *R), do func(*API, context.Context, *call, *R) (T, adminapi.Info, error)) *route {
	row, _ := op.Operation()
	return &route{
		op:     row,
		status: http.StatusOK,
		http: func(a *API, ctx context.Context, c *call, from *args) (any, adminapi.Info, error) {
			r := new(R)
			bind(from, r)
			if err := from.done(); err != nil {
				return nil, adminapi.Info{}, err
			}
			return doAny(do(a, ctx, c, r))
		},
		frame: func(a *API, ctx context.Context, c *call, body []byte) ([]byte, error) {
			r := new(R)
			if err := adminapi.DecodeRequest(body, r); err != nil {
				return nil, err
			}
			result, info, err := do(a, ctx, c, r)
			if err != nil {
				return nil, err
			}
			return adminapi.EncodeAnswer(info, result)
		},
	}
}

func doAny[T any](result T, info adminapi.Info, err error) (any, adminapi.Info, error) {
	return result, info, err
}

// routes are all operations, in the order of adminapi.Operations. To add one,
// see the checklist in CONTRIBUTING.md.
func routes() []*route {
	return []*route{
		on(adminapi.OpRegister, func(a *args, r *adminapi.RegisterRequest) {
			r.Type, r.Key, r.WriteOptions = a.path("type"), a.path("key"), a.write()
			a.json(&r.EntrySpec)
		}, (*API).register),
		on(adminapi.OpUnregister, func(a *args, r *adminapi.UnregisterRequest) {
			r.Type, r.Key, r.WriteOptions = a.path("type"), a.path("key"), a.write()
		}, (*API).unregister),
		on(adminapi.OpWhereIs, func(a *args, r *adminapi.WhereIsRequest) {
			r.Type, r.Key, r.ReadOptions = a.path("type"), a.path("key"), a.read()
		}, (*API).whereIs),
		on(adminapi.OpEntries, func(a *args, r *adminapi.EntriesRequest) {
			r.Type, r.ReadOptions = a.path("type"), a.read()
			r.Prefix, r.After, r.Page, r.Limit = a.text("prefix"), a.text("after"), a.number("page"), a.number("limit")
		}, (*API).entries),

		created(on(adminapi.OpCreateSession, func(a *args, r *adminapi.CreateSessionRequest) {
			r.WriteOptions = a.write()
			a.json(&r.SessionSpec)
		}, (*API).createSession)),
		on(adminapi.OpSessions, func(a *args, r *adminapi.SessionsRequest) {
			r.ReadOptions = a.read()
			r.User, r.Client, r.State = a.text("user"), a.text("client"), a.text("state")
			r.After, r.Limit = a.text("after"), a.number("limit")
		}, (*API).sessions),
		on(adminapi.OpSession, func(a *args, r *adminapi.SessionRequest) {
			r.ID, r.ReadOptions = a.path("id"), a.read()
		}, (*API).session),
		on(adminapi.OpKillSession, func(a *args, r *adminapi.KillSessionRequest) {
			r.ID, r.WriteOptions = a.path("id"), a.write()
		}, (*API).killSession),
		on(adminapi.OpSuspendSession, func(a *args, r *adminapi.SuspendSessionRequest) {
			r.ID, r.WriteOptions = a.path("id"), a.write()
		}, (*API).suspendSession),
		on(adminapi.OpResumeSession, func(a *args, r *adminapi.ResumeSessionRequest) {
			r.ID, r.WriteOptions = a.path("id"), a.write()
		}, (*API).resumeSession),
		on(adminapi.OpSessionSettings, func(a *args, r *adminapi.SessionSettingsRequest) {
			r.ReadOptions = a.read()
		}, (*API).sessionSettings),
		on(adminapi.OpPutSessionSettings, func(a *args, r *adminapi.PutSessionSettingsRequest) {
			r.WriteOptions = a.write()
			a.json(&r.SessionSettings)
		}, (*API).putSessionSettings),

		on(adminapi.OpPutUpstream, func(a *args, r *adminapi.PutUpstreamRequest) {
			r.Alias, r.WriteOptions = a.path("alias"), a.write()
			a.json(&r.UpstreamSpec)
		}, (*API).putUpstream),
		on(adminapi.OpUpstreams, func(a *args, r *adminapi.UpstreamsRequest) {
			r.ReadOptions, r.After, r.Limit = a.read(), a.text("after"), a.number("limit")
		}, (*API).upstreams),
		on(adminapi.OpUpstream, func(a *args, r *adminapi.UpstreamRequest) {
			r.Alias, r.ReadOptions = a.path("alias"), a.read()
		}, (*API).upstream),
		on(adminapi.OpRemoveUpstream, func(a *args, r *adminapi.RemoveUpstreamRequest) {
			r.Alias, r.WriteOptions = a.path("alias"), a.write()
		}, (*API).removeUpstream),

		on(adminapi.OpMembers, func(a *args, r *adminapi.MembersRequest) {
			r.ReadOptions = a.read()
		}, (*API).members),
		on(adminapi.OpAddMember, func(a *args, r *adminapi.AddMemberRequest) {
			r.Node, r.WriteOptions = a.path("node"), a.write()
			a.json(&r.MemberSpec)
		}, (*API).addMember),
		on(adminapi.OpPromoteMember, func(a *args, r *adminapi.PromoteMemberRequest) {
			r.Node, r.WriteOptions = a.path("node"), a.write()
		}, (*API).promoteMember),
		on(adminapi.OpDemoteMember, func(a *args, r *adminapi.DemoteMemberRequest) {
			r.Node, r.WriteOptions = a.path("node"), a.write()
		}, (*API).demoteMember),
		on(adminapi.OpRemoveMember, func(a *args, r *adminapi.RemoveMemberRequest) {
			r.Node, r.WriteOptions = a.path("node"), a.write()
		}, (*API).removeMember),
		on(adminapi.OpLeader, func(a *args, r *adminapi.LeaderRequest) {
			r.ReadOptions = a.read()
		}, (*API).leader),
		on(adminapi.OpTransferLeader, func(a *args, r *adminapi.TransferLeaderRequest) {
			r.WriteOptions = a.write()
			a.json(&r.TransferSpec)
		}, (*API).transferLeader),
		on(adminapi.OpInitCluster, func(a *args, r *adminapi.InitClusterRequest) {
			r.WriteOptions = a.write()
		}, (*API).initCluster),

		on(adminapi.OpStatus, func(a *args, r *adminapi.StatusRequest) {
			r.ReadOptions = a.read()
		}, (*API).status),
		on(adminapi.OpDigest, func(a *args, r *adminapi.DigestRequest) {
			r.ReadOptions = a.read()
		}, (*API).digest),
		on(adminapi.OpWorkers, func(a *args, r *adminapi.WorkersRequest) {
			r.ReadOptions = a.read()
		}, (*API).workers),

		created(on(adminapi.OpCreateToken, func(a *args, r *adminapi.CreateTokenRequest) {
			r.WriteOptions = a.write()
			a.json(&r.TokenSpec)
		}, (*API).createToken)),
		on(adminapi.OpTokens, func(a *args, r *adminapi.TokensRequest) {
			r.ReadOptions, r.After, r.Limit = a.read(), a.text("after"), a.number("limit")
		}, (*API).tokens),
		on(adminapi.OpToken, func(a *args, r *adminapi.TokenRequest) {
			r.Name, r.ReadOptions = a.path("name"), a.read()
		}, (*API).token),
		on(adminapi.OpRevokeToken, func(a *args, r *adminapi.RevokeTokenRequest) {
			r.Name, r.WriteOptions = a.path("name"), a.write()
		}, (*API).revokeToken),
		on(adminapi.OpRotateKeys, func(a *args, r *adminapi.RotateKeysRequest) {
			r.WriteOptions = a.write()
		}, (*API).rotateKeys),

		on(adminapi.OpPutCredential, func(a *args, r *adminapi.PutCredentialRequest) {
			r.Name, r.WriteOptions = a.path("name"), a.write()
			a.json(&r.NewCredential)
		}, (*API).putCredential),
		on(adminapi.OpCredentials, func(a *args, r *adminapi.CredentialsRequest) {
			r.ReadOptions, r.After, r.Limit = a.read(), a.text("after"), a.number("limit")
		}, (*API).credentials),
		on(adminapi.OpCredential, func(a *args, r *adminapi.CredentialRequest) {
			r.Name, r.ReadOptions = a.path("name"), a.read()
		}, (*API).credential),
		on(adminapi.OpRemoveCredential, func(a *args, r *adminapi.RemoveCredentialRequest) {
			r.Name, r.WriteOptions = a.path("name"), a.write()
		}, (*API).removeCredential),

		on(adminapi.OpUpstreamLog, func(a *args, r *adminapi.UpstreamLogRequest) {
			r.Alias, r.ReadOptions, r.Lines = a.path("alias"), a.read(), a.number("lines")
		}, (*API).upstreamLog),
		on(adminapi.OpPools, func(a *args, r *adminapi.PoolsRequest) {
			r.ReadOptions = a.read()
		}, (*API).pools),
	}
}

// created makes success 201.
func created(rt *route) *route {
	rt.status = http.StatusCreated
	return rt
}

// mount fills the mux: the operations, the routes that are none, and for each
// path an answer to methods that it does not have.
func (a *API) mount() {
	methods := map[string][]string{} // by path
	add := func(method, path string, h http.Handler) {
		a.mux.Handle(method+" "+path, h)
		methods[path] = append(methods[path], method)
		if method == http.MethodGet {
			methods[path] = append(methods[path], http.MethodHead) // the mux serves it too
		}
	}
	for _, rt := range routes() {
		a.byOp[rt.op.Op] = rt
		add(rt.op.Method, rt.op.Path, a.operation(rt))
	}
	for _, path := range []string{adminapi.Livez, adminapi.Readyz, adminapi.Startupz} {
		add(http.MethodGet, path, a.serve(a.probe))
	}
	add(http.MethodGet, "/metrics", promhttp.HandlerFor(a.c.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	add(http.MethodGet, "/v1/stream", a.serve(a.stream))
	add(http.MethodGet, adminapi.SnapshotPath, a.serve(a.snapshot))
	for _, rt := range a.workRoutes() {
		add(rt.method, rt.path, a.workRoute(rt.bind))
	}
	for path, list := range methods {
		a.mux.Handle(path, a.serve(methodNotAllowed(list)))
	}
	a.mux.Handle("/", a.serve(unknownRoute))
}

func methodNotAllowed(methods []string) func(*exchange, *http.Request) error {
	allow := strings.Join(slices.Sorted(slices.Values(methods)), ", ")
	return func(x *exchange, r *http.Request) error {
		x.Header().Set("Allow", allow)
		return fault.New(fault.MethodNotAllowed, "%s is not a method of %s", r.Method, r.URL.EscapedPath()).
			WithHint("it takes %s", allow)
	}
}

func unknownRoute(_ *exchange, r *http.Request) error {
	return fault.New(fault.NotFound, "there is no route %s", r.URL.EscapedPath()).
		WithHint("the routes are described in docs/api/openapi.yaml; they begin with /v1")
}

// paths lists the patterns of every route, for the test of the description.
func (a *API) paths() []string {
	seen := map[string]bool{"GET /metrics": true, "GET /v1/stream": true, "GET " + adminapi.SnapshotPath: true}
	for _, path := range []string{adminapi.Livez, adminapi.Readyz, adminapi.Startupz} {
		seen["GET "+path] = true
	}
	for _, rt := range routes() {
		seen[rt.op.Method+" "+rt.op.Path] = true
	}
	for _, rt := range a.workRoutes() {
		seen[rt.method+" "+rt.path] = true
	}
	return slices.Sorted(maps.Keys(seen))
}
