package admin

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/auth"
	"github.com/mcpraft/mcpraft/server/upstream"
	"github.com/mcpraft/mcpraft/test/model/solo"
)

const secret = "a-token-of-32-characters-for-test"

// membership notes what it is asked.
type membership struct{ asked []string }

func (m *membership) Members(context.Context) ([]adminapi.Member, error) {
	return []adminapi.Member{{Node: solo.Node, Voter: true, Leader: true, Reachable: true, Serving: true}}, nil
}

func (m *membership) ChangeMember(_ context.Context, c MemberChange) error {
	m.asked = append(m.asked, fmt.Sprintf("%d %s %s", c.Action, c.Node, c.PeerAddr))
	if c.Node == "nobody" {
		return fault.New(fault.NotFound, "node %q is no member", c.Node)
	}
	return nil
}

func (m *membership) TransferLeadership(_ context.Context, to string) error {
	m.asked = append(m.asked, "transfer "+to)
	return nil
}

func (m *membership) InitCluster(context.Context) error {
	m.asked = append(m.asked, "init")
	return fault.New(fault.Conflict, "node %s belongs to cluster test (02000000) already", solo.Node)
}

// observer tells of a healthy node, unless sick.
type observer struct{ sick bool }

func (o *observer) Status() adminapi.Status {
	return adminapi.Status{Node: solo.Node, Role: "leader", Leader: solo.Node, Term: 1}
}

func (o *observer) Checks(string) []adminapi.Check {
	if o.sick {
		return []adminapi.Check{{Name: "leader", Detail: "no leader is known"}, {Name: "disk", OK: true}}
	}
	return []adminapi.Check{{Name: "leader", OK: true}}
}

func (o *observer) DigestChecks() []adminapi.DigestCheck {
	return []adminapi.DigestCheck{{Index: 1, Digest: strings.Repeat("0", 32)}}
}

func workers() adminapi.Worker {
	return adminapi.Worker{Name: "mcpraft", Strategy: "one_for_one", Children: []adminapi.Worker{{Name: "transport", State: "running"}}}
}

// oneToken lets the holder of secret pass.
type oneToken struct{}

func (oneToken) Authenticate(_ context.Context, token string) (record.Principal, error) {
	if token != secret {
		return record.Principal{}, fault.New(fault.Unauthenticated, "the bearer token is not one of this cluster").WithHint("use another")
	}
	return record.Principal{Issuer: auth.TokenIssuer, Subject: "test"}, nil
}

func (credentials) Seal(name string, secret []byte) ([]byte, error) {
	return append([]byte(name+":"), secret...), nil
}

// credentials makes tokens whose secret is no secret.
type credentials struct{}

func (credentials) NewToken(name string) (auth.Secret, error) {
	if err := record.ValidTokenName(name); err != nil {
		return auth.Secret{}, err
	}
	return auth.Secret{Text: "mcpraft_" + name + "_SECRET", Hash: bytes.Repeat([]byte{7}, record.TokenHashBytes), KeyID: 1}, nil
}

func (credentials) RotateKeys(context.Context, record.Principal) (raftnode.Receipt, error) {
	return raftnode.Receipt{Index: 9, Outcome: fsm.Outcome{Revision: 5}}, nil
}

// upstreams are those of a node that owns one process, and another that is away.
type upstreams struct{}

func (upstreams) Processes(_ context.Context, node, _ string) ([]upstream.Process, error) {
	if node != "n1" {
		return nil, fault.New(fault.Unreachable, "node %s cannot be reached", node)
	}
	return []upstream.Process{{Slot: "0", PID: 4711, Restarts: 2, Since: 1_700_000_000_000, LastExit: "exit status 1"}}, nil
}

func (upstreams) Log(_ context.Context, node, _ string, _ int) (upstream.Log, error) {
	if node != "n1" {
		return upstream.Log{}, fault.New(fault.Unreachable, "node %s cannot be reached", node)
	}
	return upstream.Log{Lines: []upstream.LogLine{{Slot: "0", At: 1_700_000_000_000, Text: "ready"}}, Earlier: 3}, nil
}

func (upstreams) Stats() []upstream.Stats {
	return []upstream.Stats{{Alias: "files", Transport: "stdio", Size: 8, InUse: 1, Processes: 1}}
}

type fixture struct {
	api        *API
	replica    Replica
	membership *membership
	observer   *observer
}

func newFixture(t testing.TB, replica Replica) *fixture {
	registry := prometheus.NewPedanticRegistry()
	f := &fixture{replica: replica, membership: new(membership), observer: new(observer)}
	archiver := newBackups(t, replica)
	var err error
	f.api, err = New(Config{
		Replica: replica, Membership: f.membership, Observer: f.observer, Workers: workers,
		Authenticator: oneToken{}, Credentials: credentials{}, Sealer: credentials{}, Backups: archiver.Backups, Archive: archiver, Upstreams: upstreams{}, Registerer: registry, Gatherer: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.api.Shutdown(context.Background()) })
	return f
}

// do sends one request with the token.
func (f *fixture) do(t testing.TB, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+secret)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	return w
}

var (
	times  = regexp.MustCompile(`"2\d{3}-\d\d-\d\dT[0-9:.]+Z"`)
	digest = regexp.MustCompile(`"digest":"[0-9a-f]{32}"`)
	shown  = []string{"Www-Authenticate", "Retry-After", "Allow", "Etag", "Mcpraft-Index", "Mcpraft-Timeline", "Mcpraft-Consistency", "Mcpraft-Staleness", "Idempotency-Replayed"}
)

// TestHTTP runs the scripts of testdata/http: each request as it crosses the
// wire, and its answer. Lines of the form "@repeat N TEXT" in a body stand for
// TEXT written N times; "!no-token" sends none.
func TestHTTP(t *testing.T) {
	datadriven.Walk(t, "testdata/http", func(t *testing.T, path string) {
		f := newFixture(t, solo.New(t))
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "send":
				return f.send(t, d.Input)
			case "state":
				f.observer.sick = d.HasArg("sick")
				return "ok"
			case "asked":
				return strings.Join(f.membership.asked, "\n")
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

// send sends the request in script and renders the answer.
func (f *fixture) send(t *testing.T, script string) string {
	head, body, _ := strings.Cut(script, "\n\n")
	body = expand(body)
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: node\r\n\r\n")))
	if err != nil {
		t.Fatalf("%s: %v", lines[0], err)
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	r.Header.Set("X-Request-Id", "r")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
		r.Body, r.ContentLength = http.NoBody, int64(len(body))
		r.Body = readCloser{bytes.NewReader([]byte(body))}
	}
	for _, line := range lines[1:] {
		if line == "!no-token" {
			r.Header.Del("Authorization")
			continue
		}
		name, value, _ := strings.Cut(line, ": ")
		name = http.CanonicalHeaderKey(name)
		if strings.HasPrefix(value, "+") {
			r.Header[name] = append(r.Header[name], value[1:])
			continue
		}
		r.Header[name] = []string{value}
	}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	return render(w)
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func expand(body string) string {
	for {
		at := strings.Index(body, "@repeat ")
		if at < 0 {
			return strings.ReplaceAll(body, "@bad-utf8", "\xff")
		}
		var n int
		var text string
		line, rest, _ := strings.Cut(body[at:], "\n")
		if _, err := fmt.Sscanf(line, "@repeat %d %s", &n, &text); err != nil {
			return body
		}
		body = body[:at] + strings.Repeat(text, n) + rest
	}
}

func render(w *httptest.ResponseRecorder) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", w.Code)
	for _, name := range shown {
		for _, value := range w.Header()[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	body := times.ReplaceAllString(w.Body.String(), `"TIME"`)
	body = digest.ReplaceAllString(body, `"digest":"DIGEST"`)
	b.WriteString(body)
	return b.String()
}

func TestEveryOperationHasARoute(t *testing.T) {
	f := newFixture(t, refusing{})
	for _, o := range adminapi.Operations() {
		rt := f.api.byOp[o.Op]
		if rt == nil || rt.op != o {
			t.Errorf("%s has no route", o.Name)
		}
	}
}

// refusing is a replica that is not there.
type refusing struct{}

func (refusing) Propose(context.Context, raftnode.Request) (raftnode.Receipt, error) {
	return raftnode.Receipt{}, fault.New(fault.NoLeader, "no leader is known")
}

func (refusing) Read(context.Context, raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error) {
	return nil, raftnode.ReadInfo{}, fault.New(fault.Stale, "this replica is 7s behind")
}

func TestAPanicIsAnInternalErrorAndIsCounted(t *testing.T) {
	f := newFixture(t, panicking{})
	w := f.do(t, http.MethodGet, "/v1/upstreams", "")
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "the reason") {
		t.Errorf("answer = %d %s", w.Code, w.Body)
	}
	if body := f.do(t, http.MethodGet, "/metrics", "").Body.String(); !strings.Contains(body, "mcpraft_admin_panics_total 1") {
		t.Error("the panic is not counted")
	}
}

type panicking struct{ refusing }

func (panicking) Read(context.Context, raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error) {
	panic("the reason")
}

func TestSessionIDsAreShownAsHashes(t *testing.T) {
	replica := solo.New(t)
	f := newFixture(t, replica)
	ids := []string{"SECRETSESSIONALPHA", "SECRETSESSIONBRAVO", `SECRET"QUOTED\SESSION`}
	for _, id := range ids {
		replica.Must(t, record.Principal{Issuer: "i", Subject: "s"}, &fsm.CreateSession{Session: record.Session{
			ID: id, Principal: record.Principal{Issuer: "i", Subject: "s"}, State: record.Initializing,
		}})
	}
	for _, target := range []string{"/v1/sessions", "/v1/sessions?limit=1", "/v1/registry/session", "/v1/registry/session?limit=1"} {
		if body := f.do(t, http.MethodGet, target, "").Body.String(); strings.Contains(body, "SECRET") {
			t.Errorf("%s shows a session id: %s", target, body)
		}
	}
	for _, id := range ids {
		target := "/v1/sessions/" + strings.ReplaceAll(strings.ReplaceAll(id, `"`, "%22"), `\`, "%5C")
		if w := f.do(t, http.MethodGet, target, ""); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "SECRET") {
			t.Errorf("show = %d %s", w.Code, w.Body)
		}
		if w := f.do(t, http.MethodPost, target+"/resume", ""); w.Code != http.StatusConflict || strings.Contains(w.Body.String(), "SECRET") {
			// Initializing → active is legal; the second time it is not.
			w = f.do(t, http.MethodPost, target+"/resume", "")
			if w.Code != http.StatusConflict || strings.Contains(w.Body.String(), "SECRET") {
				t.Errorf("resume = %d %s", w.Code, w.Body)
			}
		}
	}
}

func TestPagesOfSessionsAreComplete(t *testing.T) {
	replica := solo.New(t)
	f := newFixture(t, replica)
	want := 25
	for i := range want {
		replica.Must(t, record.Principal{Issuer: "i", Subject: "s"}, &fsm.CreateSession{Session: record.Session{
			ID: fmt.Sprintf("SESSION-%02d", i), Principal: record.Principal{Issuer: "i", Subject: "s"}, State: record.Initializing,
		}})
	}
	seen := map[string]bool{}
	request := adminapi.SessionsRequest{User: "i#s", Limit: 4}
	for range want {
		page, _, err := f.api.sessions(t.Context(), &call{}, &request)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Items {
			seen[s.ID] = true
		}
		if request.After = page.Next; page.Next == "" {
			break
		}
		f.api.cursors = cursors{} // as on another node: the cursor is searched for
	}
	if len(seen) != want {
		t.Errorf("pages hold %d sessions, want %d", len(seen), want)
	}
}
