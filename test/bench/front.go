package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// front are the benchmarks of the MCP front: `make bench-front`.
var front = []benchmark{
	{"tools-call", benchCall},
	{"tools-call-sse", benchCallSSE},
	{"tools-call-nodes", benchCallNodes},
	{"tools-list", benchList},
	{"initialize", benchInitialize},
	{"memory", benchMemory},
	{"failover-front", benchFailoverFront},
}

// A path is a way from the load to the native upstream.
type path struct {
	name  string
	nodes int // of ours; 0 for a peer
	start func(ctx context.Context, o options, upstream string) (*way, error)
}

// A way is a path that runs.
type way struct {
	*cluster
	url  string // path of the endpoint
	tool string
}

var (
	direct      = path{"direct", 0, startDirect}
	nginxOne    = path{"nginx-1", 0, func(ctx context.Context, o options, up string) (*way, error) { return startNginx(ctx, o, up, "1") }}
	nginxAuto   = path{"nginx-auto", 0, func(ctx context.Context, o options, up string) (*way, error) { return startNginx(ctx, o, up, "auto") }}
	vmcp        = path{"vmcp", 0, startVMCP}
	throughOne  = path{"ours-1", 1, func(ctx context.Context, o options, up string) (*way, error) { return startFront(ctx, o, up, 1) }}
	throughMany = func(n int) path {
		return path{fmt.Sprintf("ours-%d", n), n, func(ctx context.Context, o options, up string) (*way, error) { return startFront(ctx, o, up, n) }}
	}
)

// benchCall: tools/call through one node against nginx and ToolHive vMCP, with 1,
// 32 and 256 connections; the upstream by itself tells what is added.
func benchCall(ctx context.Context, o options) error {
	for _, conns := range []int{1, 32, 256} {
		if err := compareFront(ctx, o, "tools-call", conns, false, throughOne, direct, nginxOne, nginxAuto, vmcp); err != nil {
			return err
		}
	}
	return nil
}

// benchCallSSE: the same with an upstream that answers by an event stream.
func benchCallSSE(ctx context.Context, o options) error {
	return compareFront(ctx, o, "tools-call-sse", 32, true, throughOne, direct, nginxOne)
}

// benchCallNodes: processor time of a call when there are 1, 3 and 5 nodes.
func benchCallNodes(ctx context.Context, o options) error {
	return compareFront(ctx, o, "tools-call-nodes", 32, false, throughMany(3), throughMany(1), throughMany(5))
}

// listed is how many tools the list of benchList has.
const listed = 1000

// benchList: a list of a thousand tools, of which every node has a copy, against
// nginx with the same bytes on disk.
func benchList(ctx context.Context, o options) error {
	aggregate := path{"ours-1", 1, func(ctx context.Context, o options, up string) (*way, error) {
		w, err := startFront(ctx, o, up, 1)
		if err == nil {
			w.url = "/mcp"
		}
		return w, err
	}}
	file := path{"nginx-file", 0, startNginxFile}
	return compareWays(ctx, o, comparison{bench: "tools-list", op: "list", unit: "lists/s", conns: 32, native: []string{fmt.Sprintf("-tools=%d", listed)}}, aggregate, file)
}

// startNginxFile starts nginx with the answer to tools/list in a file.
func startNginxFile(ctx context.Context, _ options, _ string) (*way, error) {
	return startNginxWith(ctx, "1", func(dir string) (upstream, location string, err error) {
		text := `{"jsonrpc":"2.0","id":1,"result":` + listResult(listed) + `}`
		return "", "root " + dir + "; default_type application/json; error_page 405 =200 $uri;", os.WriteFile(filepath.Join(dir, "mcp"), []byte(text), 0o644)
	})
}

// A comparison is what compareWays measures on each path.
type comparison struct {
	bench, op, unit string
	conns           int
	native          []string // flags of the upstream
}

// compareFront compares calls of a tool.
func compareFront(ctx context.Context, o options, bench string, conns int, sse bool, us path, peers ...path) error {
	return compareWays(ctx, o, comparison{bench: bench, op: "call", unit: "calls/s", conns: conns, native: []string{fmt.Sprintf("-sse=%v", sse)}}, us, peers...)
}

// compareWays measures all paths in turn and prints one line for each peer.
func compareWays(ctx context.Context, o options, c comparison, us path, peers ...path) error {
	bench, conns := c.bench, c.conns
	upstream, stop, err := startNative(ctx, c.native...)
	if err != nil {
		return err
	}
	defer stop()
	samples := make(map[string][]sample)
	for round := range o.rounds {
		for _, p := range append([]path{us}, peers...) {
			s, err := measureFront(ctx, o, p, upstream, c.op, conns)
			if err != nil {
				progress("%s %s: %v", bench, p.name, err)
				continue
			}
			progress("%s/%d round %d %-10s %8.0f/s p50 %v p99 %v failed %d cpu %.0f+%.0f µs %s", bench, conns, round+1, p.name, s.rate(), s.P50, s.P99, s.Failed, nodesCPU(s), loadCPU(s), s.Note)
			samples[p.name] = append(samples[p.name], s)
		}
	}
	ours := samples[us.name]
	if len(ours) == 0 {
		return fmt.Errorf("%s was not measured", us.name)
	}
	for _, p := range peers {
		theirs := samples[p.name]
		if len(theirs) == 0 {
			continue
		}
		line{
			Bench: fmt.Sprintf("%s/%s/%d", bench, p.name, conns),
			Ours:  median(ours, rates), Theirs: median(theirs, rates), Unit: c.unit,
			P50: median(ours, p50s), P99: median(ours, p99s), TheirsP99: median(theirs, p99s),
			CPU: median(ours, nodesCPU), TheirsCPU: median(theirs, nodesCPU), LoadCPU: median(ours, loadCPU),
			Conns: conns, Nodes: us.nodes,
			Conditions: fmt.Sprintf("%s against %s; session and JWT on ours; native upstream; medians of %d rounds of %v; %s", us.name, p.name, o.rounds, o.duration, machine()),
		}.print()
	}
	return nil
}

func measureFront(ctx context.Context, o options, p path, upstream, op string, conns int) (sample, error) {
	w, err := p.start(ctx, o, upstream)
	if err != nil {
		return sample{}, err
	}
	defer w.close()
	return frontLoad{
		op: op, addrs: strings.Join(w.addrs, ","), path: w.url, tool: w.tool, token: w.token,
		conns: conns, duration: o.duration, pids: w.pids(),
	}.measure(ctx)
}

// benchInitialize: sessions opened on three nodes by 256 principals.
func benchInitialize(ctx context.Context, o options) error {
	upstream, stop, err := startNative(ctx)
	if err != nil {
		return err
	}
	defer stop()
	var samples []sample
	for round := range o.rounds {
		s, err := measureFront(ctx, o, throughMany(nodes), upstream, "initialize", 64)
		if err != nil {
			return err
		}
		progress("initialize round %d %8.0f/s p50 %v p99 %v failed %d cpu %.0f+%.0f µs %s", round+1, s.rate(), s.P50, s.P99, s.Failed, nodesCPU(s), loadCPU(s), s.Note)
		samples = append(samples, s)
	}
	line{
		Bench: "initialize", Ours: median(samples, rates), Unit: "sessions/s",
		P50: median(samples, p50s), P99: median(samples, p99s), CPU: median(samples, nodesCPU), LoadCPU: median(samples, loadCPU),
		Conns: 64, Nodes: nodes,
		Conditions: fmt.Sprintf("initialize and notifications/initialized, JWTs of 256 principals; native upstream; medians of %d rounds of %v; %s", o.rounds, o.duration, machine()),
	}.print()
	return nil
}

// startNative starts the upstream in a process of its own.
func startNative(ctx context.Context, flags ...string) (addr string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "bench-native-")
	if err != nil {
		return "", nil, err
	}
	c := &cluster{dir: dir}
	addr, _, err = twoPorts()
	if err == nil {
		err = c.start("log", self, append(append([]string{"native"}, flags...), addr)...)
	}
	if err == nil {
		err = waitListener(ctx, addr)
	}
	if err != nil {
		c.close()
		return "", nil, err
	}
	return addr, c.close, nil
}

func waitListener(ctx context.Context, addr string) error {
	return waitFor(ctx, 30*time.Second, func() error {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			nc.Close()
		}
		return err
	})
}

func startDirect(_ context.Context, _ options, upstream string) (*way, error) {
	dir, err := os.MkdirTemp("", "bench-direct-")
	if err != nil {
		return nil, err
	}
	return &way{&cluster{dir: dir, addrs: []string{upstream}}, "/mcp", "echo"}, nil
}

// startNginx starts nginx as a reverse proxy, as its manual has it for upstreams
// with kept connections.
func startNginx(ctx context.Context, _ options, upstream, workers string) (*way, error) {
	return startNginxWith(ctx, workers, func(string) (string, string, error) {
		return fmt.Sprintf("upstream native { server %s; keepalive 512; keepalive_requests 100000000; }", upstream),
			`proxy_pass http://native; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;`, nil
	})
}

// startNginxWith starts nginx with the upstream and the location that configure
// writes; files of its own go into dir.
func startNginxWith(ctx context.Context, workers string, configure func(dir string) (upstream, location string, err error)) (*way, error) {
	binary, err := exec.LookPath("nginx")
	if err != nil {
		return nil, fmt.Errorf("nginx: %w (apt-get install nginx-light)", errNoPeer)
	}
	c, addr, err := oneListener("nginx")
	if err != nil {
		return nil, err
	}
	if err = os.Chmod(c.dir, 0o755); err != nil { // its workers are another user
		c.close()
		return nil, err
	}
	upstream, location, err := configure(c.dir)
	conf := fmt.Sprintf(`daemon off; master_process on; worker_processes %s; pid %[2]s/pid; error_log %[2]s/error.log error;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path %[2]s/a; proxy_temp_path %[2]s/b; fastcgi_temp_path %[2]s/c; uwsgi_temp_path %[2]s/d; scgi_temp_path %[2]s/e;
  keepalive_requests 100000000;
  %[3]s
  server {
    listen %[4]s;
    location / { %[5]s }
  }
}
`, workers, c.dir, upstream, addr, location)
	file := filepath.Join(c.dir, "nginx.conf")
	if err == nil {
		err = os.WriteFile(file, []byte(conf), 0o600)
	}
	if err == nil {
		err = c.start("log", binary, "-c", file)
	}
	return c.ready1(ctx, err, addr, "/mcp", "echo")
}

// startVMCP starts ToolHive's vMCP with the upstream as its only backend.
func startVMCP(ctx context.Context, o options, upstream string) (*way, error) {
	binary := o.vmcp
	if binary == "" {
		var err error
		if binary, err = exec.LookPath("vmcp"); err != nil {
			return nil, fmt.Errorf("vmcp: %w (go install github.com/stacklok/toolhive/cmd/vmcp@v0.45.0, then -vmcp PATH)", errNoPeer)
		}
	}
	c, addr, err := oneListener("vmcp")
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`name: bench-vmcp
groupRef: bench
incomingAuth: {type: anonymous}
outgoingAuth: {source: inline, default: {type: unauthenticated}}
backends: [{name: fast, url: "http://%s/mcp", transport: streamable-http}]
aggregation: {conflictResolution: prefix, conflictResolutionConfig: {prefixFormat: "{workload}_"}}
`, upstream)
	file := filepath.Join(c.dir, "vmcp.yaml")
	host, port, _ := net.SplitHostPort(addr)
	if err = os.WriteFile(file, []byte(conf), 0o600); err == nil {
		err = c.start("log", "env", "LOG_LEVEL=error", "HOME="+c.dir, binary, "serve", "--config", file, "--host", host, "--port", port)
	}
	return c.ready1(ctx, err, addr, "/mcp", "fast_echo")
}

// oneListener prepares a peer that is one process with one port.
func oneListener(name string) (*cluster, string, error) {
	dir, err := os.MkdirTemp("", "bench-"+name+"-")
	if err != nil {
		return nil, "", err
	}
	addr, _, err := twoPorts()
	return &cluster{dir: dir}, addr, err
}

func (c *cluster) ready1(ctx context.Context, err error, addr, url, tool string) (*way, error) {
	if err == nil {
		err = waitListener(ctx, addr)
	}
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
		c.close()
		return nil, fmt.Errorf("%w\n%s", err, log)
	}
	c.addrs = []string{addr}
	for _, p := range c.procs {
		c.nodes = append(c.nodes, familyOf(p.Process.Pid)...)
	}
	return &way{c, url, tool}, nil
}

// familyOf is a process and its children: nginx works in those.
func familyOf(pid int) []int {
	list := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for field := range strings.FieldsSeq(string(text)) {
			var child int
			if _, err := fmt.Sscan(field, &child); err == nil {
				list = append(list, familyOf(child)...)
			}
		}
	}
	return list
}

// benchKey signs the JWTs of the load.
const benchKey = "bench-0123456789abcdef0123456789abcdef"

// startFront starts n nodes with the upstream registered as `native`.
func startFront(ctx context.Context, o options, upstream string, n int) (*way, error) {
	dir, err := os.MkdirTemp("", "bench-front-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir}
	w, err := c.startNodes(ctx, o, upstream, n)
	if err != nil {
		var logs strings.Builder
		files, _ := filepath.Glob(filepath.Join(dir, "log*"))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			logs.Write(text)
		}
		c.close()
		return nil, fmt.Errorf("mcpraft did not become ready: %w\n%s", err, logs.String())
	}
	return w, nil
}

func (c *cluster) startNodes(ctx context.Context, o options, upstream string, n int) (*way, error) {
	command := func(args ...string) error {
		out, err := exec.CommandContext(ctx, o.binary, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("mcpraft %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	file := func(name string) string { return filepath.Join(c.dir, name) }
	const admin = "bench_0123456789abcdef0123456789abcdef"
	if err := os.WriteFile(file("token"), []byte(admin), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file("jwt.key"), []byte(benchKey), 0o600); err != nil {
		return nil, err
	}
	if err := command("cluster", "cert", "init", "--cluster", "bench", "--dir", c.dir); err != nil {
		return nil, err
	}
	var peersOf, admins []string
	configs := make([]string, n)
	for i := range n {
		mcp, adminAddr, err := twoPorts()
		if err != nil {
			return nil, err
		}
		peer, _, err := twoPorts()
		if err != nil {
			return nil, err
		}
		node := fmt.Sprintf("n%d", i+1)
		if err := command("cluster", "cert", "issue", node, "--dir", c.dir, "--host", "127.0.0.1"); err != nil {
			return nil, err
		}
		c.addrs, admins, peersOf = append(c.addrs, mcp), append(admins, adminAddr), append(peersOf, peer)
		configs[i] = fmt.Sprintf(benchConfig, node, file(node), mcp, adminAddr, peer, file(node+".crt"), file(node+".key"), file("ca.crt"), n, file("token"), file("cluster.key"), benchIssuer, benchAudience, file("jwt.key"))
	}
	for i, config := range configs {
		config = strings.ReplaceAll(config, "JOIN", strings.Join(peersOf, ", "))
		name := file(fmt.Sprintf("n%d.yaml", i+1))
		if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
			return nil, err
		}
		if i == 0 {
			if err := command("keys", "generate", file("cluster.key")); err != nil {
				return nil, err
			}
		}
		if err := c.start(fmt.Sprintf("log%d", i+1), o.binary, "server", "--config", name); err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, c.procs[i].Process.Pid)
	}
	for _, addr := range admins {
		if err := waitFor(ctx, 60*time.Second, func() error {
			answer, err := http.Get("http://" + addr + "/readyz")
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				return fmt.Errorf("readyz: %s", answer.Status)
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	c.token = signing + benchKey
	err := command("--addr", strings.Join(admins, ","), "--token", admin, "upstreams", "add", "native", "http://"+upstream+"/mcp")
	return &way{c, "/servers/native/mcp", "echo"}, err
}

// benchConfig is a node: JWTs under a file secret, everything else at its default.
const benchConfig = `version: 1
node: {name: %s, data_dir: %s}
listen:
  mcp: {addr: "%s"}
  admin: {addr: "%s"}
  peer: {addr: "%s", tls: peer}
tls: {profiles: {peer: {cert_file: %s, key_file: %s, ca_file: %s}}}
cluster: {name: bench, bootstrap_expect: %d, join: [JOIN]}
auth:
  bootstrap_token_file: %s
  key_file: %s
  issuers: {bench: {issuer: "%s", audience: [%s], secret_file: %s}}
upstreams: {allow_private: true}
log: {level: warn, format: text}
`
