package clientfile

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestEdits runs the scripts in testdata: a file of a client, and what an edit
// makes of it. After each put, the entry is removed again, which must give back
// what was there if the entry was new, unless the list was, too (new-list).
//
//	put client=NAME name=NAME [url=URL token=TOKEN] [command=COMMAND args=(A,B)] [new-list]
//	remove client=NAME name=NAME
//	servers
func TestEdits(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			doc := []byte(d.Input)
			if len(doc) > 0 {
				doc = append(doc, '\n')
			}
			out, err := edit(t, d, doc)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			return strings.ReplaceAll(out, "\n\n", "\n.\n") // datadriven ends at a blank line
		})
	})
}

func edit(t *testing.T, d *datadriven.TestData, doc []byte) (string, error) {
	var client, name, url, token, command string
	var args []string
	d.MaybeScanArgs(t, "client", &client)
	d.MaybeScanArgs(t, "name", &name)
	d.MaybeScanArgs(t, "url", &url)
	d.MaybeScanArgs(t, "token", &token)
	d.MaybeScanArgs(t, "command", &command)
	d.MaybeScanArgs(t, "args", &args)
	if d.Cmd == "servers" {
		list, err := Servers(doc)
		var b strings.Builder
		for _, s := range list {
			b.WriteString(strings.Join(append([]string{s.Name, s.Transport, s.URL, s.Command}, s.Args...), "|") + "\n")
		}
		return b.String(), err
	}
	c, err := Lookup(client)
	if err != nil {
		return "", err
	}
	if d.Cmd == "remove" {
		after, err := c.Remove(doc, name)
		return string(after), err
	}
	e := Entry{URL: url, Command: command, Args: args}
	if token != "" {
		e.Headers = map[string]string{"Authorization": "Bearer " + token}
	}
	_, had, err := c.Get(doc, name)
	if err != nil {
		return "", err
	}
	after, err := c.Put(doc, name, e)
	if err != nil {
		return "", err
	}
	got, ok, err := c.Get(after, name)
	if err != nil || !ok || got.URL != url || got.Command != command || got.Headers["Authorization"] != e.Headers["Authorization"] {
		t.Errorf("%s reads back as %+v, %t, %v", d.Pos, got, ok, err)
	}
	again, err := c.Put(after, name, e)
	if err != nil || string(again) != string(after) {
		t.Errorf("%s: a second time gives %s, %v", d.Pos, again, err)
	}
	back, err := c.Remove(after, name)
	if err != nil {
		t.Errorf("%s: removed again: %v", d.Pos, err)
	}
	if !had && !d.HasArg("new-list") && string(back) != string(doc) {
		t.Errorf("%s: removed again it is\n%s", d.Pos, back)
	}
	return string(after), nil
}

func TestFilesAreWhereTheClientsLook(t *testing.T) {
	env := map[string]string{}
	for _, test := range []struct{ client, os, variable, want string }{
		{"claude-code", "linux", "", "/home/u/.claude.json"},
		{"claude-code", "linux", "CLAUDE_CONFIG_DIR=/c", "/c/.claude.json"},
		{"claude-desktop", "darwin", "", "/home/u/Library/Application Support/Claude/claude_desktop_config.json"},
		{"claude-desktop", "windows", "APPDATA=/a", "/a/Claude/claude_desktop_config.json"},
		{"claude-desktop", "linux", "", "/home/u/.config/Claude/claude_desktop_config.json"},
		{"cursor", "linux", "", "/home/u/.cursor/mcp.json"},
		{"vscode", "linux", "XDG_CONFIG_HOME=/x", "/x/Code/User/mcp.json"},
		{"vscode", "darwin", "", "/home/u/Library/Application Support/Code/User/mcp.json"},
		{"codex", "linux", "", "/home/u/.codex/config.toml"},
		{"codex", "linux", "CODEX_HOME=/c", "/c/config.toml"},
	} {
		clear(env)
		name, value, _ := strings.Cut(test.variable, "=")
		env[name] = value
		c, err := Lookup(test.client)
		if err != nil {
			t.Fatal(err)
		}
		got := c.Path(System{OS: test.os, Home: "/home/u", Getenv: func(name string) string { return env[name] }})
		if filepath.ToSlash(got) != test.want {
			t.Errorf("%s on %s with %q: %s, want %s", test.client, test.os, test.variable, got, test.want)
		}
	}
}

func TestADifferenceIsWhatChangedAndThreeLinesAround(t *testing.T) {
	before := "1\n2\n3\n4\n5\n6\n7\n8\n"
	after := "1\n2\n3\n4\nX\nY\n6\n7\n8\n"
	var got strings.Builder
	for _, l := range Diff([]byte(before), []byte(after)) {
		got.WriteString(string(l.Mark) + l.Text + "\n")
	}
	if want := "@line 2\n 2\n 3\n 4\n-5\n+X\n+Y\n 6\n 7\n 8\n"; got.String() != want {
		t.Errorf("difference\n%swant\n%s", got.String(), want)
	}
	if Diff([]byte(after), []byte(after)) != nil {
		t.Error("a difference to itself")
	}
}

// FuzzEdits: whatever a file holds, an edit of it is refused, or what was added
// reads back and everything else as it was.
func FuzzEdits(f *testing.F) {
	for _, doc := range []string{"", "{}", "{\"mcpServers\":{}}", "{\n// c\n\"a\": 1, /* x */\n}", "[mcp_servers.x]\nurl=\"u\"\n# c\n[b]\nc=1\n", "mcp_servers = {x={}}"} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, c := range All() {
			others, err := c.format.read(doc)
			if err != nil {
				continue
			}
			e := Entry{Command: "mcpraft", Args: []string{"stdio", "é\""}}
			after, err := c.Put(doc, "mcpraft", e)
			if err != nil {
				continue
			}
			got, ok, err := c.Get(after, "mcpraft")
			if err != nil || !ok || got.Command != "mcpraft" || len(got.Args) != 2 || got.Args[1] != e.Args[1] {
				t.Fatalf("%s: %q reads back as %+v, %t, %v", c.Name, after, got, ok, err)
			}
			list, _ := c.format.read(after)
			if len(list) < len(others) {
				t.Fatalf("%s: %q has lost an entry", c.Name, after)
			}
			if _, err := c.Remove(after, "mcpraft"); err != nil {
				t.Fatalf("%s: %q cannot be removed from: %v", c.Name, after, err)
			}
		}
	})
}
