package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// banner is the result of dev: what runs where, and what to do next. For
// programs it is what the ready file says, without the token.
func (r *devRun) banner(status adminapi.Status) error {
	ready := r.readyNow()
	secret := ready.Token
	ready.Token = ""
	took := time.Since(r.begun).Round(time.Millisecond)
	return r.app.show(ready, func(p *page) {
		b := thisBuild()
		p.line("mcpraft %s (%s, %s), development cluster, loopback only", b.Version, b.Platform, b.Go)
		p.line("")
		p.fields(r.bannerFields(status, ready, secret, took)...)
		p.line("")
		p.line("Next:")
		for _, line := range r.next(status) {
			p.line("  %s", line)
		}
		p.line("")
	})
}

func (r *devRun) bannerFields(status adminapi.Status, ready devReady, secret string, took time.Duration) [][2]string {
	var admin, metrics, nodes []string
	for _, n := range ready.Nodes {
		admin = append(admin, n.Admin)
		metrics = append(metrics, n.Admin+"/metrics")
		nodes = append(nodes, fmt.Sprintf("%s pid %d", n.ID, n.PID))
	}
	data := r.home.dir
	if r.home.ephemeral {
		data += " (removed at the end)"
	}
	token := `saved in context "dev" (` + r.command("token show") + `)`
	if isTerminal(r.app.stdout) {
		token = secret + ", " + token
	}
	return [][2]string{
		{"mcp", ready.Front + "/mcp (all servers as one; each alone at /servers/NAME/mcp)"},
		{"admin", strings.Join(admin, "  ")},
		{"metrics", strings.Join(metrics, "  ")},
		{"nodes", strings.Join(nodes, "  ")},
		{"data", data},
		{"status", fmt.Sprintf("%s, %s leads, term %d, index %d", r.history(), status.Leader, status.Term, status.Applied)},
		{"token", token},
		{"started in", took.String()},
	}
}

func (r *devRun) history() string {
	if r.home.reopened {
		return "reopened cluster"
	}
	return "new cluster"
}

// next is what a person could do now, at most four lines; each works as it is.
func (r *devRun) next(status adminapi.Status) []string {
	lines := []string{r.command("tools call demo__add a=2 b=3"), r.command("tools ls")}
	if pid := r.pidOf(status.Leader); pid != 0 && len(r.nodes) > 1 {
		lines = append(lines, "kill -9 "+strconv.Itoa(pid)+"   # "+status.Leader+" leads: another takes over, and it is back after 10 s")
	} else {
		lines = append(lines, invocation()+" dev --nodes 3 --ephemeral   # a cluster that survives kill -9")
	}
	return append(lines, r.command("upstreams add NAME URL")+"   # an MCP server of yours")
}

func (r *devRun) pidOf(id string) int {
	for _, n := range r.nodes {
		if n.id == id {
			return n.PID()
		}
	}
	return 0
}

// command is a command line that reaches this cluster.
func (r *devRun) command(line string) string {
	if r.current {
		return invocation() + " " + line
	}
	return invocation() + " --context " + devContext + " " + line
}

// invocation is how this binary is called from where the person is: by its name
// if the shell finds this one under it, else by the path that was typed.
func invocation() string {
	name := filepath.Base(os.Args[0])
	self, err := os.Executable()
	if err != nil {
		return name
	}
	if found, err := exec.LookPath(name); err == nil && sameFile(found, self) {
		return name
	}
	return shellQuote(os.Args[0])
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
