package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

var (
	command  = regexp.MustCompile(`(?m)^    \$ (.+)$`)
	endpoint = regexp.MustCompile("`(http://[^`]+/mcp)`")
	killLine = regexp.MustCompile(`kill -9 (\d+)`)
	front    = regexp.MustCompile(`mcp: +(http://\S+)/mcp `)
)

// TestReadmeCommandsWork does what the README's section "Use it" says, in its order
// and as written, but for two commands: `make run` would build the binary that is
// there already, and the one that begins with npx would fetch a package that
// `make peers` has installed.
func TestReadmeCommandsWork(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Use it\n")
	if !ok {
		t.Fatal("the README has no section named Use it")
	}
	section, _, _ = strings.Cut(section, "\n## ")

	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(home, "bin", "mcpraft")); err != nil {
		t.Fatal(err)
	}
	dev := start(t, "dev", home, "dev", "--nodes", "3")
	dev.Says("Next:", "kill -9")

	first, rest, ok := strings.Cut(section, "`kill -9`")
	if !ok {
		t.Fatal("the README kills no node")
	}
	for _, line := range commands(t, first) {
		shell(t, home, line)
	}
	pid, err := strconv.Atoi(killLine.FindStringSubmatch(dev.output.String())[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, line := range commands(t, first) {
		shell(t, home, line)
	}

	last := ""
	for _, line := range commands(t, rest) {
		if strings.HasPrefix(line, "npx ") {
			startReference(t, "3001") // where it listens unless told otherwise
			continue
		}
		last = shell(t, home, line)
	}
	found := endpoint.FindStringSubmatch(rest)
	if found == nil {
		t.Fatal("the README gives no address for clients")
	}
	// Where that port is taken, dev says which it has taken instead.
	url := strings.Replace(found[1], "http://127.0.0.1:7440", front.FindStringSubmatch(dev.output.String())[1], 1)
	g := startGoClient(t, "reader", url, strings.TrimSpace(last), "2025-11-25")
	eventually(t, "the new server is listed", func() bool {
		sum, err := g.tool(t.Context(), "mine__get-sum", map[string]any{"a": 2, "b": 3})
		return err == nil && strings.Contains(sum, "5")
	})
}

// commands are the commands of a part of the README.
func commands(t *testing.T, part string) (list []string) {
	t.Helper()
	for _, m := range command.FindAllStringSubmatch(part, -1) {
		list = append(list, m[1])
	}
	if len(list) < 3 {
		t.Fatalf("a part of the README has the commands %q", list)
	}
	return list
}

// shell runs a line as a person would and returns what it writes, which must be
// something.
func shell(t *testing.T, dir, line string) string {
	t.Helper()
	var out, talk bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", line)
	cmd.Dir, cmd.Env = dir, environment(dir)
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil || out.Len() == 0 {
		t.Errorf("$ %s\n%s%s(%v)", line, &out, &talk, err)
	}
	return out.String()
}
