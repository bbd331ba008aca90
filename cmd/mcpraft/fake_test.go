package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// fakeToken is the token that the fake cluster takes.
const fakeToken = "fake-token-of-thirty-two-characters"

// fakeTime is the time of every change of the fake cluster: an hour and a half
// ago, which lists show as 1h.
var fakeTime = adminapi.TimeOf(time.Now().Add(-90 * time.Minute))

// A fakeCluster answers /v1 like three nodes would, from memory: what the CLI
// needs to be tested without any.
type fakeCluster struct {
	servers map[string]*httptest.Server // by node name

	mu        sync.Mutex
	index     uint64
	leader    string
	members   []adminapi.Member
	entries   map[string]adminapi.Entry // by type and key
	upstreams map[string]adminapi.Upstream
	sessions  []adminapi.Session
	tokens    map[string]adminapi.Token
	behind    map[string]uint64 // entries that a node has not applied
	alarms    map[string][]string
}

func newFakeCluster(t *testing.T) *fakeCluster {
	f := &fakeCluster{
		servers:   make(map[string]*httptest.Server),
		index:     10,
		leader:    "n1",
		entries:   make(map[string]adminapi.Entry),
		upstreams: make(map[string]adminapi.Upstream),
		tokens:    make(map[string]adminapi.Token),
		behind:    make(map[string]uint64),
		alarms:    make(map[string][]string),
	}
	for i, node := range []string{"n1", "n2", "n3"} {
		s := httptest.NewServer(f.handler(node))
		t.Cleanup(s.Close)
		f.servers[node] = s
		f.members = append(f.members, adminapi.Member{
			Node: node, Disk: strings.Repeat(strconv.Itoa(i+1), 32), Voter: true, Binary: "1.0.0",
			PeerAddr: fmt.Sprintf("127.0.0.1:74%d2", 5+i), AdminAddr: strings.TrimPrefix(s.URL, "http://"),
			MCPAddr: strings.TrimPrefix(s.URL, "http://"),
		})
	}
	for i, state := range []string{"active", "suspended"} {
		f.sessions = append(f.sessions, adminapi.Session{
			ID: strings.Repeat(string(rune('a'+i)), 32), User: adminapi.Principal{Issuer: "https://idp.example", Subject: "alice"},
			ClientID: "client-1", State: state, OwnerNode: "n1", Created: fakeTime, LastActive: fakeTime, Expires: fakeTime, Revision: 3,
			Endpoint: "demo", Protocol: "2025-11-25", Bindings: []adminapi.Binding{{Upstream: "demo", Protocol: "2025-06-18", Session: true, Subscriptions: 2}},
		})
	}
	return f
}

// addrs lists the admin addresses of all nodes, also of those that are down.
func (f *fakeCluster) addrs() []string {
	var list []string
	for _, node := range sortedNames(f.servers) {
		list = append(list, f.servers[node].Listener.Addr().String())
	}
	return list
}

// control changes the cluster as a line of a script says.
func (f *fakeCluster) control(line string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	word, rest, _ := strings.Cut(line, " ")
	node, what, _ := strings.Cut(rest, " ")
	switch word {
	case "stop":
		f.servers[node].Close()
	case "leader":
		f.leader = strings.TrimPrefix(node, "none")
	case "behind":
		n, err := strconv.ParseUint(what, 10, 64)
		f.behind[node] = n
		return err
	case "alarm":
		f.alarms[node] = append(f.alarms[node], what)
	default:
		return fmt.Errorf("unknown control %q", word)
	}
	return nil
}

type fakeHandler func(r *http.Request) (any, error)

func (f *fakeCluster) handler(node string) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, write bool, h fakeHandler) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			body, err := f.admit(r, write)
			if err == nil {
				body, err = h(r)
			}
			f.answer(w, body, err)
		})
	}
	handle("PUT /v1/registry/{type}/{key...}", true, f.register)
	handle("DELETE /v1/registry/{type}/{key...}", true, f.unregister)
	handle("GET /v1/registry/{type}/{key...}", false, f.whereis)
	handle("GET /v1/registry/{type}", false, f.list)
	handle("GET /v1/sessions", false, f.listSessions)
	handle("GET /v1/sessions/{id}", false, f.session)
	handle("DELETE /v1/sessions/{id}", true, f.moveSession("dead"))
	handle("POST /v1/sessions/{id}/suspend", true, f.moveSession("suspended"))
	handle("POST /v1/sessions/{id}/resume", true, f.moveSession("active"))
	handle("PUT /v1/upstreams/{alias}", true, f.putUpstream)
	handle("GET /v1/upstreams", false, f.listUpstreams)
	handle("GET /v1/upstreams/{alias}", false, f.upstream)
	handle("DELETE /v1/upstreams/{alias}", true, f.removeUpstream)
	f.fakeTokens(handle)
	mux.HandleFunc("/servers/{alias}/mcp", f.mcp)
	mux.HandleFunc("/mcp", f.mcp)
	handle("GET /v1/cluster/members", false, func(*http.Request) (any, error) {
		return adminapi.Page[adminapi.Member]{Items: f.membersNow()}, nil
	})
	handle("PUT /v1/cluster/members/{node}", true, func(r *http.Request) (any, error) {
		f.members = append(f.members, adminapi.Member{Node: r.PathValue("node")})
		return adminapi.MemberChange{Node: r.PathValue("node")}, nil
	})
	handle("POST /v1/cluster/members/{node}/promote", true, f.changeMember(func(m *adminapi.Member) { m.Voter = true }))
	handle("POST /v1/cluster/members/{node}/demote", true, f.changeMember(func(m *adminapi.Member) { m.Voter = false }))
	handle("DELETE /v1/cluster/members/{node}", true, func(r *http.Request) (any, error) {
		f.members = slices.DeleteFunc(f.members, func(m adminapi.Member) bool { return m.Node == r.PathValue("node") })
		return adminapi.MemberChange{Node: r.PathValue("node")}, nil
	})
	handle("GET /v1/cluster/leader", false, func(*http.Request) (any, error) { return f.leaderNow(), nil })
	handle("POST /v1/cluster/leader", true, f.transfer)
	handle("POST /v1/cluster/init", false, func(*http.Request) (any, error) {
		if f.leader != "" {
			return nil, fault.New(fault.Conflict, "node %s belongs to cluster fake (cccccccc) already", node)
		}
		f.leader = node
		return adminapi.Cluster{Node: node, ID: strings.Repeat("c", 32), Name: "fake"}, nil
	})
	handle("GET /v1/status", false, func(*http.Request) (any, error) { return f.status(node), nil })
	handle("GET /v1/workers", false, func(*http.Request) (any, error) {
		return adminapi.Worker{Name: "mcpraft", Strategy: "one_for_one", Children: []adminapi.Worker{
			{Name: "core", Strategy: "one_for_all", Children: []adminapi.Worker{
				{Name: "registry", State: "running"},
				{Name: "sessions", State: "restarting", Restarts: 2, LastFailure: "panic: \x1b[31mred"},
			}},
		}}, nil
	})
	return mux
}

// admit refuses who may not ask, and writes while there is no leader.
func (f *fakeCluster) admit(r *http.Request, write bool) (any, error) {
	if r.Header.Get("Authorization") != "Bearer "+fakeToken {
		return nil, fault.New(fault.Unauthenticated, "the request carries no valid token").WithHint("send Authorization: Bearer TOKEN")
	}
	if write && f.leader == "" {
		return nil, fault.New(fault.NoLeader, "the cluster has no leader").WithHint("try again in a moment")
	}
	return nil, nil
}

func (f *fakeCluster) answer(w http.ResponseWriter, body any, err error) {
	info := adminapi.Info{Index: f.index, Timeline: "1-00000001"}
	info.SetHeader(w.Header())
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		e := fault.As(err)
		w.WriteHeader(e.Kind.Status())
		body = adminapi.ErrorBody{Error: adminapi.ErrorOf(e, "req-1")}
	}
	_ = json.NewEncoder(w).Encode(body)
}

func (f *fakeCluster) receipt() adminapi.Receipt {
	return adminapi.Receipt{Revision: f.index, Time: fakeTime}
}

// match compares If-Match with the revision of what exists.
func match(r *http.Request, what string, exists bool, revision uint64) error {
	header := r.Header.Get(adminapi.HeaderIfMatch)
	wanted, _ := adminapi.ParseETag(header)
	switch {
	case header == "" && exists && r.Method == http.MethodPut:
		return fault.New(fault.Conflict, "%s exists already, with revision %d", what, revision).
			WithHint("to replace it, name that revision").WithDetail("revision", strconv.FormatUint(revision, 10))
	case header != "" && !exists, !exists && r.Method != http.MethodPut:
		return fault.New(fault.NotFound, "%s is not registered", what)
	case header != "" && wanted != revision:
		return fault.New(fault.Precondition, "%s has revision %d, not %d", what, revision, wanted).
			WithHint("read it again and decide anew").WithDetail("revision", strconv.FormatUint(revision, 10))
	}
	return nil
}

func entryName(r *http.Request) string { return r.PathValue("type") + " " + r.PathValue("key") }

func (f *fakeCluster) register(r *http.Request) (any, error) {
	old, exists := f.entries[entryName(r)]
	if err := match(r, entryName(r), exists, old.Revision); err != nil {
		return nil, err
	}
	var spec adminapi.EntrySpec
	if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
		return nil, err
	}
	f.index++
	f.entries[entryName(r)] = adminapi.Entry{
		Type: r.PathValue("type"), Key: r.PathValue("key"), Metadata: spec.Metadata, OwnerNode: spec.OwnerNode,
		Location: spec.Location, Created: fakeTime, Updated: fakeTime, Revision: f.index,
		Principal: adminapi.Principal{Issuer: "mcpraft", Subject: "admin"},
	}
	return f.receipt(), nil
}

func (f *fakeCluster) unregister(r *http.Request) (any, error) {
	old, exists := f.entries[entryName(r)]
	if err := match(r, entryName(r), exists, old.Revision); err != nil {
		return nil, err
	}
	f.index++
	delete(f.entries, entryName(r))
	return f.receipt(), nil
}

func (f *fakeCluster) whereis(r *http.Request) (any, error) {
	e, exists := f.entries[entryName(r)]
	if !exists {
		return nil, fault.New(fault.NotFound, "%s is not registered", entryName(r))
	}
	return e, nil
}

func (f *fakeCluster) list(r *http.Request) (any, error) {
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	if limit == 0 {
		limit = adminapi.DefaultListLimit
	}
	var page adminapi.Page[adminapi.Entry]
	for _, name := range sortedNames(f.entries) {
		e := f.entries[name]
		if e.Type != r.PathValue("type") || !strings.HasPrefix(e.Key, q.Get("prefix")) || e.Key <= q.Get("after") {
			continue
		}
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].Key
			break
		}
		page.Items = append(page.Items, e)
	}
	return page, nil
}

func sortedNames[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (f *fakeCluster) listSessions(r *http.Request) (any, error) {
	q := r.URL.Query()
	page := adminapi.Page[adminapi.Session]{Items: []adminapi.Session{}}
	for _, s := range f.sessions {
		if (q.Get("state") == "" || s.State == q.Get("state")) && (q.Get("user") == "" || s.User.String() == q.Get("user")) &&
			(q.Get("client") == "" || s.ClientID == q.Get("client")) {
			page.Items = append(page.Items, s)
		}
	}
	return page, nil
}

func (f *fakeCluster) findSession(r *http.Request) (*adminapi.Session, error) {
	for i := range f.sessions {
		if strings.HasPrefix(f.sessions[i].ID, r.PathValue("id")) {
			return &f.sessions[i], nil
		}
	}
	return nil, fault.New(fault.NotFound, "there is no session %s", r.PathValue("id"))
}

func (f *fakeCluster) session(r *http.Request) (any, error) {
	s, err := f.findSession(r)
	if err != nil {
		return nil, err
	}
	return *s, nil
}

func (f *fakeCluster) moveSession(to string) fakeHandler {
	return func(r *http.Request) (any, error) {
		s, err := f.findSession(r)
		if err != nil {
			return nil, err
		}
		if s.State == "dead" {
			return nil, fault.New(fault.Conflict, "session %s is dead, it cannot become %s", r.PathValue("id"), to)
		}
		f.index++
		s.State, s.Revision = to, f.index
		return f.receipt(), nil
	}
}

func (f *fakeCluster) putUpstream(r *http.Request) (any, error) {
	alias := r.PathValue("alias")
	old, exists := f.upstreams[alias]
	if err := match(r, "upstream "+alias, exists, old.Revision); err != nil {
		return nil, err
	}
	u := adminapi.Upstream{Alias: alias, Created: fakeTime, Updated: fakeTime}
	if err := json.NewDecoder(r.Body).Decode(&u.UpstreamSpec); err != nil {
		return nil, err
	}
	f.index++
	u.Revision = f.index
	f.upstreams[alias] = u
	return f.receipt(), nil
}

func (f *fakeCluster) listUpstreams(*http.Request) (any, error) {
	var page adminapi.Page[adminapi.Upstream]
	for _, name := range sortedNames(f.upstreams) {
		page.Items = append(page.Items, f.upstreams[name])
	}
	return page, nil
}

func (f *fakeCluster) upstream(r *http.Request) (any, error) {
	u, exists := f.upstreams[r.PathValue("alias")]
	if !exists {
		return nil, fault.New(fault.NotFound, "there is no upstream %s", r.PathValue("alias"))
	}
	return u, nil
}

func (f *fakeCluster) removeUpstream(r *http.Request) (any, error) {
	alias := r.PathValue("alias")
	old, exists := f.upstreams[alias]
	if err := match(r, "upstream "+alias, exists, old.Revision); err != nil {
		return nil, err
	}
	f.index++
	delete(f.upstreams, alias)
	return f.receipt(), nil
}

func (f *fakeCluster) membersNow() []adminapi.Member {
	list := slices.Clone(f.members)
	for i := range list {
		list[i].Leader = list[i].Node == f.leader
	}
	return list
}

func (f *fakeCluster) changeMember(change func(*adminapi.Member)) fakeHandler {
	return func(r *http.Request) (any, error) {
		for i := range f.members {
			if f.members[i].Node == r.PathValue("node") {
				change(&f.members[i])
				return adminapi.MemberChange{Node: r.PathValue("node")}, nil
			}
		}
		return nil, fault.New(fault.NotFound, "%s is not a member", r.PathValue("node"))
	}
}

func (f *fakeCluster) leaderNow() adminapi.Leader { return adminapi.Leader{Node: f.leader, Term: 2} }

func (f *fakeCluster) transfer(r *http.Request) (any, error) {
	var spec adminapi.TransferSpec
	if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
		return nil, err
	}
	f.leader = first(spec.To, "n2")
	return f.leaderNow(), nil
}

func (f *fakeCluster) status(node string) adminapi.Status {
	role := "follower"
	if node == f.leader {
		role = "leader"
	}
	return adminapi.Status{
		Node: node, ClusterID: strings.Repeat("c", 32), ClusterName: "fake", ClusterVersion: 1, Role: role, Leader: f.leader, Term: 2,
		Applied: f.index - f.behind[node], Committed: f.index, Ready: f.leader != "", Sessions: uint64(len(f.sessions)),
		Version: "1.0.0", Alarms: f.alarms[node], Members: f.membersNow(),
		Checks: []adminapi.Check{{Name: "leader", OK: f.leader != "", Detail: "no leader is known"}},
	}
}
