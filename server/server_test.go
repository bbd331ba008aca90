package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/auth"
)

const secret = "a-token-of-32-characters-for-test"

// rootKeys are the same at each start.
var rootKeys = func() seal.Ring {
	key, err := seal.NewKey()
	if err != nil {
		panic(err)
	}
	return seal.NewRing(key)
}()

// An instance is a running Server of a cluster of one, on loopback and a real disk.
type instance struct {
	server *Server
	admin  string
	mcp    string
	stop   context.CancelFunc
	ended  chan error
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func testConfig(t testing.TB, dir string) Config {
	t.Helper()
	ca, err := peer.MakeCA("test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue("n1", []string{"127.0.0.1"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := peer.NewCredentials(pair, ca.Pair().Cert)
	if err != nil {
		t.Fatal(err)
	}
	peerListener := listen(t)
	return Config{
		Node: raftnode.Config{
			Node: "n1", Cluster: "test", Dir: dir, BootstrapExpect: 1, Binary: "v0.0.0-test",
			Listener: peerListener, PeerAddr: peerListener.Addr().String(), Credentials: credentials,
		},
		Admin: listen(t), MCP: listen(t), Drain: 5 * time.Second, MemoryLimit: -1,
		Auth:   auth.Options{Static: []auth.Static{{Name: "test", Secret: secret}}, Root: rootKeys},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// start runs a server until it takes reads and writes.
func start(t testing.TB, c Config) *instance {
	t.Helper()
	p := run(t, c)
	ready, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.server.Ready(ready); err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t testing.TB, c Config) *instance {
	t.Helper()
	p := &instance{admin: c.Admin.Addr().String(), mcp: c.MCP.Addr().String(), ended: make(chan error, 1)}
	s, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	p.server = s
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() {
		defer close(p.ended)
		p.ended <- s.Run(ctx)
	}()
	t.Cleanup(func() { p.end(t) })
	return p
}

// end stops the process as SIGTERM would and checks that it ended well.
func (p *instance) end(t testing.TB) {
	t.Helper()
	p.stop()
	select {
	case err := <-p.ended: // nil when it had ended before
		if err != nil {
			t.Errorf("Run = %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not stop")
	}
}

func (p *instance) client(t testing.TB, stream bool) *adminapi.Client {
	t.Helper()
	open := adminapi.New
	if stream {
		open = adminapi.NewStream
	}
	c, err := open(adminapi.Config{Addrs: []string{p.admin}, Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAServerServesBothCarriersAndKeepsItsRecords(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(t, dir)
	c.Seed = new(record.DefaultSessionSettings())
	c.Seed.MaxPerPrincipal = 7
	p := start(t, c)
	for _, stream := range []bool{false, true} {
		client := p.client(t, stream)
		name := map[bool]string{false: "a/http", true: "a/stream"}[stream]
		receipt, info, err := client.Register(t.Context(), &adminapi.RegisterRequest{Type: "tool", Key: name, EntrySpec: adminapi.EntrySpec{Location: "here"}})
		if err != nil {
			t.Fatal(err)
		}
		entry, read, err := client.WhereIs(t.Context(), &adminapi.WhereIsRequest{Type: "tool", Key: name})
		if err != nil || entry.Location != "here" || entry.Revision != receipt.Revision {
			t.Fatalf("whereis = %+v, %v; registered at %d", entry, err, receipt.Revision)
		}
		if read.Index < info.Index || read.Timeline != info.Timeline || read.Consistency != adminapi.Linearizable || read.Revision != entry.Revision {
			t.Errorf("read %+v after write %+v", read, info)
		}
		if _, _, err := client.Register(t.Context(), &adminapi.RegisterRequest{Type: "tool", Key: name}); fault.Of(err) != fault.Conflict {
			t.Errorf("registering again = %v, want a conflict", err)
		}
	}
	client := p.client(t, false)
	status, _, err := client.Status(t.Context(), &adminapi.StatusRequest{})
	if err != nil || !status.Ready || status.Role != "leader" || status.Version != "v0.0.0-test" || len(status.Members) != 1 || !status.Members[0].Reachable {
		t.Errorf("status = %+v, %v", status, err)
	}
	if health, err := client.Health(t.Context(), adminapi.Readyz); err != nil || health.Status != "ok" {
		t.Errorf("readyz = %+v, %v", health, err)
	}
	tree, _, err := client.Workers(t.Context(), &adminapi.WorkersRequest{})
	if err != nil || !slices.Equal(namesOf(tree), []string{"core", "observability", "validation", "transport"}) || !slices.Equal(namesOf(tree.Children[0]), []string{"registry", "auth", "sessions", "resources"}) {
		t.Errorf("workers = %+v, %v", tree, err)
	}
	p.end(t)

	again := testConfig(t, dir)
	again.Node.Credentials = c.Node.Credentials
	p = start(t, again)
	client = p.client(t, true)
	page, _, err := client.Entries(t.Context(), &adminapi.EntriesRequest{Type: "tool"})
	if err != nil || len(page.Items) != 2 {
		t.Errorf("after a restart the list is %+v, %v", page, err)
	}
	settings, _, err := client.SessionSettings(t.Context(), &adminapi.SessionSettingsRequest{})
	if err != nil || settings.MaxPerPrincipal != 7 {
		t.Errorf("after a restart the settings are %+v, %v", settings, err)
	}
}

func TestANodeThatWaitsBeginsAClusterWhenItIsToldTo(t *testing.T) {
	c := testConfig(t, t.TempDir())
	c.Node.BootstrapExpect = 0
	p := run(t, c)
	client := p.client(t, false)
	if health, err := client.Health(t.Context(), adminapi.Readyz); err != nil || health.Status == "ok" {
		t.Errorf("a node without a cluster is ready: %+v, %v", health, err)
	}
	cluster, info, err := client.InitCluster(t.Context(), &adminapi.InitClusterRequest{})
	if err != nil || cluster.Node != "n1" || cluster.Name != "test" || len(cluster.ID) != 32 || info.Index == 0 {
		t.Fatalf("init = %+v at %+v, %v", cluster, info, err)
	}
	if _, _, err := client.Register(t.Context(), &adminapi.RegisterRequest{Type: "tool", Key: "a"}); err != nil {
		t.Errorf("a write right after: %v", err)
	}
	status, _, err := client.Status(t.Context(), &adminapi.StatusRequest{})
	if err != nil || status.ClusterID != cluster.ID || status.Role != "leader" {
		t.Errorf("status = %+v, %v; cluster %+v", status, err, cluster)
	}
	if _, _, err := client.InitCluster(t.Context(), &adminapi.InitClusterRequest{}); fault.Of(err) != fault.Conflict || !strings.Contains(err.Error(), cluster.ID[:8]) {
		t.Errorf("the second time = %v, want a conflict that names %s", err, cluster.ID[:8])
	}
}

func TestDigestListsTheLoggedChecks(t *testing.T) {
	c := testConfig(t, t.TempDir())
	c.Node.DigestInterval = 50 * time.Millisecond
	p := start(t, c)
	client := p.client(t, false)
	var digest adminapi.Digest
	for len(digest.Checks) == 0 { // the next entry, sooner or later, is a check
		var err error
		next := adminapi.ReadOptions{MinIndex: digest.Index + 1}
		if digest, _, err = client.Digest(t.Context(), &adminapi.DigestRequest{ReadOptions: next}); err != nil {
			t.Fatal(err)
		}
	}
	if first := digest.Checks[0]; first.Index == 0 || first.Index > digest.Checked || len(first.Digest) != 32 {
		t.Errorf("digest = %+v", digest)
	}
}

func namesOf(w adminapi.Worker) []string {
	var list []string
	for _, child := range w.Children {
		list = append(list, child.Name)
	}
	return list
}

func TestMetricsNeedTheTokenAndNameTheNode(t *testing.T) {
	p := start(t, testConfig(t, t.TempDir()))
	req, _ := http.NewRequest(http.MethodGet, "http://"+p.admin+"/metrics", nil)
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"mcpraft_raft_is_leader 1", "mcpraft_ready 1", `mcpraft_build_info{go="go`, "mcpraft_admin_requests_total", "go_goroutines", "process_cpu_seconds_total", "mcpraft_pebble_l0_files", "mcpraft_message_bytes 0", "mcpraft_message_bytes_limit 5.36870912e+08"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
}

func TestStoppingFinishesWhatWasTaken(t *testing.T) {
	p := start(t, testConfig(t, t.TempDir()))
	client := p.client(t, true)
	done := make(chan error, 64)
	for i := range cap(done) {
		go func() {
			_, _, err := client.Register(t.Context(), &adminapi.RegisterRequest{Type: "tool", Key: string(rune('a' + i%26)), WriteOptions: adminapi.WriteOptions{IdempotencyKey: "k"}})
			done <- err
		}()
	}
	p.end(t)
	for range cap(done) {
		// Answered, or refused before anything was done: never cut in between.
		if err := <-done; fault.Of(err) == fault.OutcomeUnknown {
			t.Errorf("a call was cut off: %v", err)
		}
	}
}

func TestAFatalErrorEndsRun(t *testing.T) {
	p := start(t, testConfig(t, t.TempDir()))
	p.server.fatal(errors.New("the disk is gone"))
	select {
	case err := <-p.ended:
		if !errors.Is(err, ErrFatal) || !strings.Contains(err.Error(), "the disk is gone") {
			t.Errorf("Run = %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Run goes on")
	}
}

func TestConfigurationMistakesAreReportedTogether(t *testing.T) {
	_, err := New(t.Context(), Config{Drain: -1})
	for _, want := range []string{"admin:", "mcp:", "auth:", "drain:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, which does not mention %s", err, want)
		}
	}
}

func TestMemoryOfTheMachine(t *testing.T) {
	files := map[string]string{"/proc/meminfo": "MemTotal:        8000000 kB\nMemFree: 1 kB\n"}
	read := func(path string) ([]byte, error) {
		if text, ok := files[path]; ok {
			return []byte(text), nil
		}
		return nil, errors.New("no such file")
	}
	if got := machineMemory(read); got != 8000000<<10 {
		t.Errorf("machine = %d", got)
	}
	files["/sys/fs/cgroup/memory.max"] = "max\n"
	if got := machineMemory(read); got != 8000000<<10 {
		t.Errorf("unlimited container = %d", got)
	}
	files["/sys/fs/cgroup/memory.max"] = "1073741824\n"
	if got := machineMemory(read); got != 1<<30 {
		t.Errorf("container = %d", got)
	}
}
