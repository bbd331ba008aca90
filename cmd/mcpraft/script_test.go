package main

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestScripts runs the scripts in testdata/script: command lines and what they
// print, against a cluster of three nodes that is faked. Each script begins with
// a new cluster, an empty configuration directory, and MCPRAFT_ADDR and
// MCPRAFT_TOKEN set.
//
//	run        command lines, one each; standard error is marked with "! ",
//	           an exit code that is not 0 is told at the end
//	cluster    changes the fake cluster, see fakeCluster.control
//	env        NAME=VALUE lines; an empty value unsets
func TestScripts(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "script"), func(t *testing.T, path string) {
		s := newScript(t)
		datadriven.RunTest(t, path, s.step)
	})
}

type script struct {
	cluster *fakeCluster
	env     map[string]string
	stable  *strings.Replacer // what differs from run to run, by what is printed for it
}

func newScript(t *testing.T) *script {
	s := &script{cluster: newFakeCluster(t)}
	home := t.TempDir()
	s.env = map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": home,
		"MCPRAFT_ADDR": strings.Join(s.cluster.addrs(), ","), "MCPRAFT_TOKEN": fakeToken,
	}
	names := []string{home, "$HOME"}
	for i, addr := range s.cluster.addrs() {
		names = append(names, addr, fmt.Sprintf("n%d.example:7441", i+1)[:len(addr)])
	}
	s.stable = strings.NewReplacer(names...)
	return s
}

func (s *script) step(t *testing.T, d *datadriven.TestData) string {
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		line = strings.TrimSpace(s.expand(line))
		switch d.Cmd {
		case "run":
			s.run(t, &out, line)
		case "cluster":
			if err := s.cluster.control(line); err != nil {
				d.Fatalf(t, "%s: %v", line, err)
			}
		case "env":
			name, value, _ := strings.Cut(line, "=")
			s.env[name] = value
		default:
			d.Fatalf(t, "unknown command %s", d.Cmd)
		}
	}
	return out.String()
}

// expand replaces what a script cannot say: addresses ($N1, $N2, $N3), the token
// that is valid, and characters that nobody should see in an editor.
func (s *script) expand(line string) string {
	for i, addr := range s.cluster.addrs() {
		line = strings.ReplaceAll(line, fmt.Sprintf("$N%d", i+1), addr)
	}
	return strings.NewReplacer("$HOME", s.env["HOME"], "$TOKEN", fakeToken, "$ESC", "\x1b", "$RLO", "\u202e").Replace(line)
}

func (s *script) run(t *testing.T, out *strings.Builder, line string) {
	words := splitWords(line)
	if len(words) == 0 || words[0] != "mcpraft" {
		t.Fatalf("%q does not begin with mcpraft", line)
	}
	var stdout, stderr bytes.Buffer
	a := &app{
		stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr,
		getenv: func(name string) string { return s.env[name] },
		environ: func() (list []string) {
			for _, name := range slices.Sorted(maps.Keys(s.env)) {
				list = append(list, name+"="+s.env[name])
			}
			return list
		},
	}
	code := a.run(t.Context(), words[1:])
	out.WriteString(s.normal(stdout.String()))
	for text := range strings.Lines(stderr.String()) {
		if strings.TrimSpace(text) == "" {
			continue
		}
		out.WriteString("! " + s.normal(text))
	}
	if code != 0 {
		fmt.Fprintf(out, "exit %d\n", code)
	}
}

var timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// elapsed is a time that something took, behind what announces it.
var elapsed = regexp.MustCompile(`(  (?:ok|failed)  |(?:opened|listed) in: +|"(?:open|list)_ms": )[0-9.]+( ?m?s)?`)

// normal is text without what differs from run to run, and without the blank
// lines that datadriven takes for the end of an output.
func (s *script) normal(text string) string {
	text = timestamp.ReplaceAllString(s.stable.Replace(text), "TIME")
	text = elapsed.ReplaceAllString(text, "${1}TOOK")
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.TrimSpace(line) == "" })
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ") + "\n"
	}
	return strings.Join(lines, "")
}

// splitWords splits a command line as a shell would that knows only single
// quotes.
func splitWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
			continue
		}
		words = append(words, strings.Fields(part)...)
	}
	return words
}
