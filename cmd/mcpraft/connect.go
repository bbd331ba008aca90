package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/clientfile"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/mcpclient"
)

// connectFlags are the flags of connect.
type connectFlags struct {
	name     string
	upstream string
	url      string
	file     string
	stdio    bool
	print    bool
	undo     bool
	replace  bool
}

func newConnectCommand(a *app) *cobra.Command {
	var f connectFlags
	cmd := &cobra.Command{
		Use:     "connect " + strings.Join(clientfile.Names(), "|"),
		GroupID: groupUse,
		Short:   "Make an MCP client of this machine use the cluster",
		Long: `Write the cluster into the configuration of an MCP client, as one MCP server with
the tools of all upstreams, or of --upstream alone. What changes is shown, the file
is backed up beside itself, and the rest of it stays as it is. Before anything is
written, a session is opened with exactly what will be written, and tools are listed.

A client that takes URLs gets one with an API token of its own, which is for MCP
only. It is that of what stands in front of the nodes: MCPRAFT_MCP_ADDR, the
context's, or --url. Where there is nothing in front of several nodes, where a client
takes commands only, and with --stdio, the client gets the command "mcpraft stdio"
with the context in use: it changes over when a node dies.

--undo takes the entry out again and revokes its token. --print shows what would be
written, without a token, and changes nothing.`,
		Example: `  mcpraft connect claude-code
  mcpraft connect cursor --upstream demo --name demo
  mcpraft connect vscode --file .vscode/mcp.json
  mcpraft connect codex --print
  mcpraft connect claude-code --undo`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: clientfile.Names(),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.newConnection(args[0], f)
			if err != nil {
				return err
			}
			switch {
			case f.undo && f.print:
				return usageError(cmd, fmt.Errorf("--undo and --print exclude each other"))
			case f.stdio && f.url != "":
				return usageError(cmd, fmt.Errorf("--stdio and --url exclude each other"))
			case f.url != "" && !c.client.HTTP:
				return usageError(cmd, fmt.Errorf("%s takes no URL, only commands", c.client.Title))
			case f.undo:
				return c.undo(cmd)
			}
			return a.useGateway(cmd, func(ctx context.Context, g *gateway) error {
				if f.print {
					return c.print(g)
				}
				return c.connect(ctx, g)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "mcpraft", "`NAME` of the entry")
	flags.StringVar(&f.upstream, "upstream", "", "`NAME` of the one upstream to connect to (default: all)")
	flags.StringVar(&f.url, "url", "", "base `URL` to write, such as that of a load balancer")
	flags.StringVar(&f.file, "file", "", "`FILE` to edit, such as that of a project (default: the user's)")
	flags.BoolVar(&f.stdio, "stdio", false, "write the command mcpraft stdio instead of a URL")
	flags.BoolVar(&f.print, "print", false, "print what would be written, and change nothing")
	flags.BoolVar(&f.undo, "undo", false, "take the entry out again, and revoke its token")
	flags.BoolVar(&f.replace, "replace", false, "replace an entry of that name that connect did not make")
	return cmd
}

// A connection is one entry of one client's configuration.
type connection struct {
	app    *app
	flags  connectFlags
	client clientfile.Client
	path   string // of the file, symbolic links followed
}

func (a *app) newConnection(client string, f connectFlags) (*connection, error) {
	c, err := clientfile.Lookup(client)
	if err != nil {
		return nil, err
	}
	path := f.file
	if path == "" {
		home := a.getenv("HOME")
		if home == "" {
			if home, err = os.UserHomeDir(); err != nil {
				return nil, fault.New(fault.Invalid, "the configuration of %s cannot be found: %w", c.Title, err).WithHint("name it with --file")
			}
		}
		path = c.Path(clientfile.System{OS: runtime.GOOS, Home: home, Getenv: a.getenv})
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return &connection{app: a, flags: f, client: c, path: path}, nil
}

// A connectResult is the answer of connect.
type connectResult struct {
	Client  string   `json:"client"`
	Name    string   `json:"name"`
	File    string   `json:"file"`
	Backup  string   `json:"backup,omitempty"` // absent: nothing changed, or there was no file
	Changed bool     `json:"changed"`
	URL     string   `json:"url,omitempty"`
	Command []string `json:"command,omitempty"`
	Token   string   `json:"token,omitempty"` // its name
	Tools   int      `json:"tools"`
}

// connect writes the entry, unless it is there already and works.
func (c *connection) connect(ctx context.Context, g *gateway) error {
	file, err := openClientFile(c.path)
	if err != nil {
		return err
	}
	old, had, err := c.client.Get(file.text, c.flags.name)
	if err != nil {
		return fileError(c.path, err)
	}
	if had && !ours(old) && !c.flags.replace {
		return c.foreign()
	}
	want, err := c.entry(g)
	if err != nil {
		return err
	}
	if had && samePlace(old, want) {
		if tools, err := c.probe(ctx, g, old); err == nil {
			return c.report(old, tools, "", false)
		}
	}
	entry, err := c.authorised(ctx, g, want)
	if err != nil {
		return err
	}
	tools, err := c.probe(ctx, g, entry)
	if err == nil {
		var backup string
		if backup, err = c.write(file, func(text []byte) ([]byte, error) { return c.client.Put(text, c.flags.name, entry) }); err == nil {
			c.revoke(ctx, g.admin, old)
			if file.open() && tokenOf(entry) != "" {
				c.app.note("others on this machine can read %s, and it holds a token now: chmod 600 it", c.path)
			}
			return c.report(entry, tools, backup, true)
		}
	}
	c.revoke(ctx, g.admin, entry)
	return err
}

func (c *connection) foreign() error {
	return fault.New(fault.Conflict, "%s has an entry %q that connect did not make", c.path, c.flags.name).
		WithHint("--name chooses another name, --replace replaces it")
}

// entry is what to write, without a token.
func (c *connection) entry(g *gateway) (clientfile.Entry, error) {
	base := g.bases[0]
	alone := len(g.bases) == 1 || len(g.t.MCP) > 0
	if c.flags.url != "" {
		base, alone = baseURL(c.flags.url, g.t.Addresses[0]), true
	}
	if c.client.HTTP && !c.flags.stdio && alone {
		return clientfile.Entry{URL: base + endpointPath(c.flags.upstream)}, nil
	}
	if g.t.Context == "" {
		return clientfile.Entry{}, fault.New(fault.Invalid, "the client is to start mcpraft stdio, which takes the cluster from a context, and none is in use").
			WithHint("save one with mcpraft context add, or give a URL with --url")
	}
	if !alone && !c.flags.stdio && c.client.HTTP {
		c.app.note("the cluster has %d MCP addresses and nothing in front of them: the client starts mcpraft stdio, which changes over when a node dies", len(g.bases))
	}
	self, err := os.Executable()
	if err != nil {
		return clientfile.Entry{}, err
	}
	args := []string{"stdio", "--context", g.t.Context}
	if c.flags.upstream != "" {
		args = append(args, "--upstream", c.flags.upstream)
	}
	return clientfile.Entry{Command: self, Args: args}, nil
}

// authorised is e with a new API token, if it needs one.
func (c *connection) authorised(ctx context.Context, g *gateway, e clientfile.Entry) (clientfile.Entry, error) {
	if e.URL == "" {
		return e, nil
	}
	name := c.client.Name + "-" + strings.ToLower(rand.Text()[:6])
	spec := adminapi.TokenSpec{Name: name, ClientID: c.client.Name}
	created, _, err := g.admin.CreateToken(ctx, &adminapi.CreateTokenRequest{TokenSpec: spec})
	if err != nil {
		return e, err
	}
	e.Headers = map[string]string{"Authorization": "Bearer " + created.Token}
	c.app.note("made token %s, for MCP only, until %s: run connect again before it expires", name, expiry(created.Expires))
	return e, nil
}

// probe opens a session with exactly what an entry says, and counts the tools.
func (c *connection) probe(ctx context.Context, g *gateway, e clientfile.Entry) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, g.limit)
	defer cancel()
	if e.URL == "" {
		return probeCommand(ctx, e.Command, e.Args)
	}
	config, err := g.t.tls()
	if err != nil {
		return 0, err
	}
	client := mcpclient.New(mcpclient.Config{
		URLs: []string{e.URL}, Token: tokenOf(e), TLS: config, Name: "mcpraft", Version: thisBuild().Version,
	})
	defer client.Close(ctx)
	if _, err := client.Open(ctx); err != nil {
		return 0, err
	}
	return countTools(ctx, client)
}

// write edits the file: backed up, as a whole or not at all. It returns the path
// of the backup.
func (c *connection) write(file *clientFile, edit func([]byte) ([]byte, error)) (backup string, err error) {
	after, err := edit(file.text)
	if err != nil {
		return "", fileError(c.path, err)
	}
	c.showDifference(file.text, after)
	if backup, err = file.backUp(time.Now()); err != nil {
		return "", err
	}
	return backup, file.replace(after)
}

// showDifference tells on standard error what an edit changes, without secrets.
func (c *connection) showDifference(before, after []byte) {
	p := &page{w: c.app.stderr, colour: c.app.colour(c.app.stderr)}
	p.line("%s:", c.path)
	for _, l := range clientfile.Diff(before, after) {
		text := string(l.Mark) + " " + strings.ReplaceAll(hideTokens(l.Text), "\t", "    ")
		switch l.Mark {
		case '+':
			p.line("%s", p.paint(green, text))
		case '-':
			p.line("%s", p.paint(red, text))
		default:
			p.line("%s", text)
		}
	}
}

func (c *connection) report(e clientfile.Entry, tools int, backup string, changed bool) error {
	r := connectResult{
		Client: c.client.Name, Name: c.flags.name, File: c.path, Backup: backup, Changed: changed,
		URL: e.URL, Token: tokenName(tokenOf(e)), Tools: tools,
	}
	if e.URL == "" {
		r.Command = append([]string{e.Command}, e.Args...)
	}
	return c.app.show(r, func(p *page) {
		state := "connected"
		if !changed {
			state = "is connected already"
		}
		p.fields([][2]string{
			{"client", c.client.Title + ", " + state},
			{"entry", fmt.Sprintf("%s: %s", r.Name, first(r.URL, strings.Join(r.Command, " ")))},
			{"checked", fmt.Sprintf("a session was opened, %d tools", tools)},
			{"file", r.File},
			{"backup", first(backup, "-")},
			{"token", first(r.Token, "that of the context")},
			{"next", c.client.After},
		}...)
	})
}

// print shows the entry as a file of its own.
func (c *connection) print(g *gateway) error {
	entry, err := c.entry(g)
	if err != nil {
		return err
	}
	if entry.URL != "" {
		entry.Headers = map[string]string{"Authorization": "Bearer TOKEN"}
		c.app.note("in the place of TOKEN goes what this prints: mcpraft token create NAME")
	}
	text, err := c.client.Put(nil, c.flags.name, entry)
	if err != nil {
		return err
	}
	c.app.note("for %s:", c.path)
	_, err = c.app.stdout.Write(text)
	return err
}

// undo takes the entry out again, and revokes its token if the cluster can be
// reached.
func (c *connection) undo(cmd *cobra.Command) error {
	file, err := openClientFile(c.path)
	if err != nil {
		return err
	}
	old, had, err := c.client.Get(file.text, c.flags.name)
	switch {
	case err != nil:
		return fileError(c.path, err)
	case !had:
		return fault.New(fault.NotFound, "%s has no entry %q", c.path, c.flags.name)
	case !ours(old) && !c.flags.replace:
		return c.foreign()
	}
	backup, err := c.write(file, func(text []byte) ([]byte, error) { return c.client.Remove(text, c.flags.name) })
	if err != nil {
		return err
	}
	if name := tokenName(tokenOf(old)); name != "" {
		if err := c.app.ask(cmd, func(ctx context.Context, admin *adminapi.Client) error {
			c.revoke(ctx, admin, old)
			return nil
		}); err != nil {
			c.app.note("its token is not revoked: %s", err)
		}
	}
	r := connectResult{Client: c.client.Name, Name: c.flags.name, File: c.path, Backup: backup, Changed: true}
	return c.app.show(r, func(p *page) {
		p.fields([2]string{"client", c.client.Title + ", disconnected"}, [2]string{"file", c.path}, [2]string{"backup", backup})
	})
}

// revoke ends the token that connect had made for an entry. A failure is told, and
// is no failure of the command: the token is for MCP only and expires.
func (c *connection) revoke(ctx context.Context, admin *adminapi.Client, e clientfile.Entry) {
	name := tokenName(tokenOf(e))
	if !strings.HasPrefix(name, c.client.Name+"-") {
		return // somebody else's, pasted by hand
	}
	_, _, err := admin.RevokeToken(ctx, &adminapi.RevokeTokenRequest{WriteOptions: onceKey(), Name: name})
	switch {
	case err == nil:
		c.app.note("revoked token %s", name)
	case fault.Of(err) != fault.NotFound:
		c.app.note("token %s is not revoked: %s", name, err)
	}
}

// ours reports whether e looks like what connect writes.
func ours(e clientfile.Entry) bool {
	if e.URL != "" {
		return tokenName(tokenOf(e)) != ""
	}
	return len(e.Args) > 0 && e.Args[0] == "stdio" && strings.HasPrefix(filepath.Base(e.Command), "mcpraft")
}

// samePlace reports whether two entries lead to the same endpoint.
func samePlace(a, b clientfile.Entry) bool {
	return a.URL == b.URL && a.Command == b.Command && strings.Join(a.Args, "\x00") == strings.Join(b.Args, "\x00")
}

// tokenOf is the bearer token of an entry, "" if it has none.
func tokenOf(e clientfile.Entry) string {
	token, ok := strings.CutPrefix(e.Headers["Authorization"], "Bearer ")
	if !ok {
		return ""
	}
	return token
}

// tokenName is the name in an API token, "" if it is none of ours.
func tokenName(token string) string {
	rest, ok := strings.CutPrefix(token, "mcpraft_")
	if !ok {
		return ""
	}
	name, secret, ok := strings.Cut(rest, "_")
	if !ok || secret == "" {
		return ""
	}
	return name
}

// hideTokens is a line of a file without the secrets of API tokens.
func hideTokens(line string) string {
	at := strings.Index(line, "mcpraft_")
	if at < 0 {
		return line
	}
	begin := at + len("mcpraft_")
	under := strings.IndexByte(line[begin:], '_')
	if under < 0 {
		return line
	}
	begin += under + 1
	end := strings.IndexFunc(line[begin:], func(r rune) bool { return r == '"' || r == ' ' || r == '\'' || r == ',' })
	if end < 0 {
		return line[:begin] + "…"
	}
	return line[:begin] + "…" + line[begin+end:]
}
