package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// programs writes a file of commands for all nodes: the official servers for memory
// and files, as child processes whose data outlives them.
func (c *Cluster) programs(files string) {
	c.t.Helper()
	script := func(name string) string {
		return peerFile(c.t, "node_modules", "@modelcontextprotocol", name, "dist", "index.js")
	}
	c.write("commands.yaml", fmt.Sprintf(`memory: {command: %[1]s, args: [%[2]s], env: [MEMORY_FILE_PATH=%[3]s]}
files: {command: %[1]s, args: [%[4]s, %[5]s]}
`, nodeBinary(c.t), script("server-memory"), filepath.Join(c.dir, "memory.jsonl"), script("server-filesystem"), files))
	c.settings = append(c.settings, "upstreams.command_file="+filepath.Join(c.dir, "commands.yaml"))
}

// Process is the one process of an upstream, which runs.
func (c *Cluster) Process(alias string) adminapi.Process {
	c.t.Helper()
	var u adminapi.Upstream
	c.RunJSON(&u, "upstreams", "show", alias)
	if len(u.Processes) != 1 || u.Processes[0].PID == 0 {
		c.t.Fatalf("processes of %s: %+v", alias, u.Processes)
	}
	return u.Processes[0]
}

// TestOfficialStdioServersGoOnElsewhere kills the node that runs the memory server,
// twice, between calls through the aggregate and through its own endpoint on the
// next node each: every call succeeds, and the graph is what was acknowledged.
func TestOfficialStdioServersGoOnElsewhere(t *testing.T) {
	t.Parallel()
	c, files := NewCluster(t, "e2e", 3), t.TempDir()
	c.programs(files)
	c.StartAll()
	for _, alias := range []string{"memory", "files"} {
		if out, talk, code := c.Run("upstreams", "add", alias, "--command", alias); code != 0 {
			t.Fatalf("adding %s: %d\n%s%s", alias, code, out, talk)
		}
	}
	c.Listed(2)
	b := startBalancer(t, "", c.mcp()...)
	all := startGoClient(t, "aggregate", b.URL+"/mcp", c.token, "2025-11-25")
	own := startGoClient(t, "memory", b.URL+"/servers/memory/mcp", c.token, "2025-11-25")

	var want []string
	remember := func(g *goClient, tool, name string) {
		t.Helper()
		entity := map[string]any{"name": name, "entityType": "event", "observations": []string{"seen as " + name}}
		if _, err := g.tool(t.Context(), tool, map[string]any{"entities": []any{entity}}); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		want = append(want, name+": seen as "+name)
	}
	work := func(round int) {
		t.Helper()
		for n := range 4 { // each request reaches another node
			remember(all, "memory__create_entities", fmt.Sprintf("%d-%d-aggregate", round, n))
			remember(own, "create_entities", fmt.Sprintf("%d-%d-own", round, n))
		}
		path, text := filepath.Join(files, "note.txt"), fmt.Sprintf("round %d", round)
		if _, err := all.tool(t.Context(), "files__write_file", map[string]any{"path": path, "content": text}); err != nil {
			t.Errorf("writing a file: %v", err)
		}
		if got, err := all.tool(t.Context(), "files__read_text_file", map[string]any{"path": path}); err != nil || got != text {
			t.Errorf("reading it: %q, %v", got, err)
		}
	}

	work(0)
	for round := 1; round <= 2; round++ {
		before := c.Process("memory")
		killed := c.index(before.Node)
		c.nodes[killed].Kill()
		work(round)
		if now := c.Process("memory"); now.Node == before.Node {
			t.Errorf("process %d still runs on %s, which was killed", now.PID, now.Node)
		}
		c.Start(killed)
		c.Ready(killed)
	}

	slices.Sort(want)
	for tool, g := range map[string]*goClient{"memory__read_graph": all, "read_graph": own} {
		if got := graph(t, g, tool); !slices.Equal(got, want) {
			t.Errorf("the graph by %s has\n%q, want\n%q", tool, got, want)
		}
	}
	var log adminapi.UpstreamLog
	c.RunJSON(&log, "upstreams", "logs", "memory")
	if len(log.Lines) == 0 {
		t.Errorf("nothing of what the server says when it starts is in its log: %+v", log)
	}
}

// graph is what the memory server remembers, sorted.
func graph(t *testing.T, g *goClient, tool string) []string {
	t.Helper()
	text, err := g.tool(t.Context(), tool, map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Entities []struct {
			Name         string
			Observations []string
		}
	}
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	seen := make(map[string]bool)
	for _, e := range read.Entities {
		for _, o := range e.Observations {
			seen[e.Name+": "+o] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
