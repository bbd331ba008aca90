package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A cell is one run of the official suite: a version of it, the revision of the
// protocol that it asks for, and an upstream that has it.
type cell struct {
	name     string
	suite    string   // package below node_modules
	upstream string   // alias of the everything-server behind the cluster; "" for the aggregate
	args     []string // what the suite is asked to run
	version  []string // beside the name of a single scenario
}

// cells are those that the everything-server passes when it is asked directly.
// What may fail through the cluster is in testdata/conformance/NAME.yml, each
// line with its reason.
var cells = []cell{
	{"0.1-all", "conformance-0.1", "legacy", []string{"--suite", "all"}, nil},
	{"0.2-2025-11-25", "conformance-0.2", "legacy", []string{"--requirements", "2025-11-25"}, []string{"--spec-version", "2025-11-25"}},
	{"0.2-2026-07-28", "conformance-0.2", "modern", []string{"--requirements", "2026-07-28"}, []string{"--spec-version", "2026-07-28"}},
}

// TestConformance runs every cell through three nodes, each request at the next
// node: no session has a home.
func TestConformance(t *testing.T) {
	c, front := conformanceCluster(t)
	for _, cell := range cells {
		t.Run(cell.name, func(t *testing.T) {
			output, code := cell.run(t, front.URL)
			t.Log(summary(output))
			if code != 0 {
				t.Errorf("the suite ends with %d; repeat it with -v and --scenario", code)
			}
		})
	}
	for _, n := range c.nodes {
		select {
		case <-n.ended:
			t.Errorf("node %s ended", n.id)
		default:
		}
	}
}

// onlyLate is how the suite counts a server-stateless that it only warned about.
var onlyLate = regexp.MustCompile(`server-stateless: \d+ passed, 0 failed`)

// TestConformanceOfTheAggregate runs every cell at the endpoint that joins both
// everything-servers, which have the same names. The suite knows the names of one by
// heart; a proxy says them as they are called there.
//
// In server-stateless the suite waits 1.5 s for word of a changed list, which it only
// recommends. Here that is an upstream that is listed again, an entry of the log and
// its way to every node: it may be late on a machine that does other things as well.
func TestConformanceOfTheAggregate(t *testing.T) {
	c, front := conformanceCluster(t)
	c.Listed(2)
	for _, cell := range cells {
		at := startRenaming(t, cell.upstream, front.URL)
		cell.upstream = ""
		output, code := cell.run(t, at)
		t.Log(summary(output))
		_, unexpected, _ := strings.Cut(output, "Unexpected failures (not in baseline)")
		late := strings.Count(unexpected, "✗") == 1 && strings.Contains(unexpected, "✗ server-stateless") && onlyLate.MatchString(output)
		if code != 0 && !late {
			t.Errorf("%s: the suite ends with %d; repeat it with -v and --scenario", cell.name, code)
		}
	}
}

// TestConformanceWithKills runs every scenario by itself and kills a node before
// each, in turn; the one before comes back meanwhile.
func TestConformanceWithKills(t *testing.T) {
	t.Parallel()
	c, front := conformanceCluster(t)
	killed := -1
	for _, cell := range cells { // no subtests: the nodes live as long as the test that starts them
		for i, scenario := range cell.scenarios(t) {
			if killed >= 0 {
				c.Start(killed)
				c.Ready(killed)
			}
			killed = i % len(c.nodes)
			c.nodes[killed].Kill()
			if output, code := cell.run(t, front.URL, append(cell.version, "--scenario", scenario)...); code != 0 {
				t.Errorf("%s: %s with node %s killed:\n%s", cell.name, scenario, c.nodes[killed].id, summary(output))
			}
		}
	}
}

// TestConformanceOfTheUpstreamClient lets the suite be the upstream: it judges the
// headers, the retries and the metadata of what server/upstream sends.
func TestConformanceOfTheUpstreamClient(t *testing.T) {
	client := filepath.Join(t.TempDir(), "client")
	build(t, client, "../conformance/client")
	for _, scenario := range []string{"http-standard-headers", "http-custom-headers", "http-invalid-tool-headers", "sse-retry", "request-metadata"} {
		t.Run(scenario, func(t *testing.T) {
			output, code := node(t, t.TempDir(), nil,
				peerFile(t, "node_modules", "conformance-0.2", "dist", "index.js"), "client",
				"--command", client, "--scenario", scenario, "-o", t.TempDir())
			if _, results, ok := strings.Cut(output, "Test Results:"); !ok || code != 0 || !strings.Contains(results, "OVERALL: PASSED") {
				t.Errorf("the suite ends with %d:\n%s", code, lastLines(output, 60))
			}
		})
	}
}

// conformanceCluster is three nodes with both everything-servers behind them and
// a balancer before them.
func conformanceCluster(t *testing.T) (*Cluster, *balancer) {
	t.Helper()
	c := StartCluster(t, 3)
	for alias, stateless := range map[string]bool{"legacy": false, "modern": true} {
		if out, talk, code := c.Run("upstreams", "add", alias, startEverything(t, stateless)); code != 0 {
			t.Fatalf("adding %s: %d\n%s%s", alias, code, out, talk)
		}
	}
	for i := range c.nodes {
		c.Ready(i)
	}
	return c, startBalancer(t, c.token, c.mcp()...)
}

func (cell cell) run(t *testing.T, front string, more ...string) (output string, code int) {
	t.Helper()
	expected, err := filepath.Abs(filepath.Join("testdata", "conformance", cell.name+".yml"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		peerFile(t, "node_modules", cell.suite, "dist", "index.js"), "server",
		"--url", front + cell.path(), "--expected-failures", expected, "-o", t.TempDir(),
	}
	if len(more) == 0 {
		more = cell.args
	}
	return node(t, t.TempDir(), nil, append(args, more...)...)
}

// path is the endpoint that the cell is run against.
func (cell cell) path() string {
	if cell.upstream == "" {
		return "/mcp"
	}
	return fmt.Sprintf("/servers/%s/mcp", cell.upstream)
}

var scenarioLine = regexp.MustCompile(`(?m)^=== Running scenario: (\S+) ===$|^[✓✗] ([a-z0-9][\w-]*):`)

// scenarios are those of the cell, in the order in which the suite runs them.
func (cell cell) scenarios(t *testing.T) []string {
	t.Helper()
	direct := startEverything(t, cell.upstream == "modern")
	output, _ := node(t, t.TempDir(), nil, append([]string{
		peerFile(t, "node_modules", cell.suite, "dist", "index.js"), "server", "--url", direct, "-o", t.TempDir(),
	}, cell.args...)...)
	var list []string
	seen := make(map[string]bool)
	for _, m := range scenarioLine.FindAllStringSubmatch(output, -1) {
		if name := strings.TrimSpace(m[1] + m[2]); !seen[name] {
			seen[name] = true
			list = append(list, name)
		}
	}
	if len(list) < 20 {
		t.Fatalf("the suite names %d scenarios:\n%s", len(list), lastLines(output, 40))
	}
	return list
}
