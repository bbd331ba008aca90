package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/mcpclient"
)

// maxAtOnce is how many upstreams one command asks at the same time.
const maxAtOnce = 8

// A wireName is how the command line calls what an upstream has: the alias, two
// underscores, and the upstream's own name. The aggregate calls it the same, unless
// the name is long or has characters that models do not take.
func wireName(alias, name string) string { return alias + "__" + name }

func splitWireName(cmd *cobra.Command, s string) (alias, name string, err error) {
	alias, name, ok := strings.Cut(s, "__")
	if !ok || alias == "" || name == "" {
		return "", "", usageError(cmd, fmt.Errorf("%q is not of the form UPSTREAM__NAME", s))
	}
	return alias, name, nil
}

// A gateway is the message plane of a cluster as commands use it.
type gateway struct {
	app   *app
	t     target
	admin *adminapi.Client
	bases []string      // base URLs of MCP ports
	limit time.Duration // for one session; 0: none
}

// useGateway runs f with the MCP ports of the cluster that the command line means:
// those of MCPRAFT_MCP_ADDR or of the context, else those that the nodes announce.
func (a *app) useGateway(cmd *cobra.Command, f func(context.Context, *gateway) error) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	return a.ask(cmd, func(ctx context.Context, admin *adminapi.Client) error {
		g := &gateway{app: a, t: t, admin: admin, limit: a.flags.timeout}
		if err := g.findBases(ctx); err != nil {
			return err
		}
		return f(ctx, g)
	})
}

// findBases finds the MCP ports of the cluster.
func (g *gateway) findBases(ctx context.Context) error {
	if len(g.t.MCP) == 0 {
		return g.findPorts(ctx)
	}
	for _, addr := range g.t.MCP {
		g.bases = append(g.bases, baseURL(addr, g.t.Addresses[0]))
	}
	return nil
}

// findPorts asks the cluster for the addresses of its MCP ports, that of the node
// that answers first.
func (g *gateway) findPorts(ctx context.Context) error {
	status, _, err := g.admin.Status(ctx, &adminapi.StatusRequest{ReadOptions: adminapi.ReadOptions{Consistency: adminapi.Any}})
	if err != nil {
		return err
	}
	members := slices.Clone(status.Members)
	slices.SortStableFunc(members, func(a, b adminapi.Member) int {
		return cmpBool(b.Node == status.Node, a.Node == status.Node)
	})
	for _, m := range members {
		if m.MCPAddr != "" && g.t.reaches(m.MCPAddr) {
			g.bases = append(g.bases, baseURL(m.MCPAddr, g.t.Addresses[0]))
		}
	}
	if len(g.bases) == 0 {
		return fault.New(fault.NotFound, "no node announces an MCP port that can be reached from here").
			WithHint("set MCPRAFT_MCP_ADDR to the host:port or URL of one")
	}
	return nil
}

func cmpBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// baseURL is addr as a URL, with the scheme of the admin address when it brings
// none: nodes have TLS on both ports or on neither.
func baseURL(addr, admin string) string {
	if strings.Contains(addr, "://") {
		return strings.TrimSuffix(addr, "/")
	}
	if u, err := url.Parse(admin); err == nil && u.Scheme == "https" {
		return "https://" + addr
	}
	return "http://" + addr
}

// aggregatePath is the endpoint of all upstreams together.
const aggregatePath = "/mcp"

// endpointPath is the endpoint of one upstream, of all for "".
func endpointPath(alias string) string {
	if alias == "" {
		return aggregatePath
	}
	return "/servers/" + url.PathEscape(alias) + "/mcp"
}

// open begins a session with an upstream, or with all of them for ""; the caller
// closes it.
func (g *gateway) open(ctx context.Context, alias string, c mcpclient.Config) (*mcpclient.Client, mcpclient.Server, error) {
	for _, base := range g.bases {
		c.URLs = append(c.URLs, base+endpointPath(alias))
	}
	config, err := g.t.tls()
	if err != nil {
		return nil, mcpclient.Server{}, err
	}
	c.Token, c.TLS, c.Name, c.Version = g.t.Token, config, "mcpraft", thisBuild().Version
	client := mcpclient.New(c)
	server, err := client.Open(ctx)
	if err != nil {
		client.Close(ctx)
		return nil, mcpclient.Server{}, err
	}
	return client, server, nil
}

// with runs f in a session with an upstream, within the limit.
func (g *gateway) with(ctx context.Context, alias string, c mcpclient.Config, f func(context.Context, *mcpclient.Client) error) error {
	if g.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, g.limit)
		defer cancel()
	}
	client, _, err := g.open(ctx, alias, c)
	if err != nil {
		return err
	}
	defer client.Close(ctx)
	return f(ctx, client)
}

// A found tool or prompt, and the session that it was found in.
type found struct {
	*mcpclient.Client
	alias string // of the upstream that the session is with; "": all
	name  string // in this session
	item  []byte // as it was listed; nil: it was not looked for
}

// withNamed runs f in a session where the tool or prompt of that name can be used:
// with all upstreams, if it is listed there, otherwise with its own, by the name that
// it has there. That one knows best what is wrong with a name.
func (g *gateway) withNamed(ctx context.Context, cmd *cobra.Command, c mcpclient.Config, method, member, name string, f func(context.Context, found) error) error {
	listed := false
	err := g.with(ctx, "", c, func(ctx context.Context, client *mcpclient.Client) error {
		item, err := findItem(ctx, client, method, member, name)
		if item == nil {
			return err
		}
		listed = true
		return f(ctx, found{client, "", name, item})
	})
	if listed || err != nil {
		return err
	}
	alias, own, err := splitWireName(cmd, name)
	if err != nil {
		return err
	}
	return g.with(ctx, alias, c, func(ctx context.Context, client *mcpclient.Client) error {
		return f(ctx, found{client, alias, own, nil})
	})
}

// findItem is the item of that name in a list of the server, nil if it has none.
func findItem(ctx context.Context, c *mcpclient.Client, method, member, name string) (item []byte, err error) {
	err = c.List(ctx, method, member, func(listed []byte) error {
		if text(listed, "name") == name {
			item = slices.Clone(listed)
		}
		return nil
	})
	return item, err
}

// aliases are the upstreams to ask: the one that is given, else all that are
// enabled.
func (g *gateway) aliases(ctx context.Context, args []string) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	var names []string
	r := &adminapi.UpstreamsRequest{Limit: adminapi.MaxListLimit}
	for {
		page, _, err := g.admin.Upstreams(ctx, r)
		if err != nil {
			return nil, err
		}
		for _, u := range page.Items {
			if !u.Disabled {
				names = append(names, u.Alias)
			}
		}
		if page.Next == "" {
			return names, nil
		}
		r.After = page.Next
	}
}

// showLists shows what the upstreams that args name, or all of them, answer to a
// method that lists: each item as view makes it, in the order of the upstreams,
// and as a table by columns and row for people. If some could not be asked the rest
// is shown and the exit code tells.
func showLists[T any](ctx context.Context, g *gateway, args []string, method, member string, view func(alias string, item []byte) T, columns []string, row func(T) []string) error {
	aliases, err := g.aliases(ctx, args)
	if err != nil {
		return err
	}
	items, failed, err := g.gather(ctx, aliases, method, member)
	if err != nil {
		return err
	}
	list := []T{} // not nil: an empty list in JSON
	for i, alias := range aliases {
		for _, item := range items[i] {
			list = append(list, view(alias, item))
		}
	}
	if err := g.app.show(list, func(p *page) {
		var rows [][]string
		for _, v := range list {
			rows = append(rows, row(v))
		}
		p.table(columns, rows)
	}); err != nil {
		return err
	}
	return degradedIf(failed)
}

// gather asks each upstream for a list, several at once, and gives what each
// answers in the order of aliases. With one alias its failure is that of the
// command; of many, failures are told and the rest is shown.
func (g *gateway) gather(ctx context.Context, aliases []string, method, member string) (items [][][]byte, failed bool, err error) {
	items = make([][][]byte, len(aliases))
	errs := make([]error, len(aliases))
	var group errgroup.Group
	group.SetLimit(maxAtOnce)
	for i, alias := range aliases {
		group.Go(func() error {
			errs[i] = g.with(ctx, alias, mcpclient.Config{}, func(ctx context.Context, c *mcpclient.Client) error {
				return c.List(ctx, method, member, func(item []byte) error {
					items[i] = append(items[i], slices.Clone(item))
					return nil
				})
			})
			return nil
		})
	}
	_ = group.Wait() // errors are in errs
	for i, err := range errs {
		switch {
		case err == nil || len(aliases) > 1 && fault.Of(err) == fault.Unsupported: // it has none
		case len(aliases) == 1:
			return nil, false, g.t.explain(err)
		default:
			failed = true
			g.app.note("%s: %s", aliases[i], fault.As(err).Message)
		}
	}
	return items, failed, nil
}

// degradedIf is the exit code of a list that lacks the items of some upstreams.
func degradedIf(failed bool) error {
	if failed {
		return exitDegraded
	}
	return nil
}

// text is a member of an object of the protocol, "" if it is missing or no text.
func text(object []byte, path ...string) string {
	s, _ := mcp.Text(mcp.Field(object, path...))
	return s
}

// firstLine is s up to its first line break, and no longer than a table bears.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	const limit = 80
	if runes := []rune(s); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return s
}

// plainJSON is raw for show: any value of JSON.
type plainJSON []byte

func (p plainJSON) MarshalJSON() ([]byte, error) {
	if len(p) == 0 {
		return []byte("null"), nil
	}
	return p, nil
}

// talk shows what a server says during a call, on standard error, and asks its
// questions there when a person sits before it.
func (a *app) talk() mcpclient.Config {
	c := mcpclient.Config{Notify: a.told}
	if isTerminal(a.stdin) && isTerminal(a.stderr) {
		input := bufio.NewReader(a.stdin)
		c.Answer = func(_ context.Context, method string, params []byte) ([]byte, error) {
			return a.asked(input, method, params)
		}
	}
	return c
}

func (a *app) told(method string, params []byte) {
	switch method {
	case mcp.Progress:
		line := string(mcp.Field(params, "progress"))
		if total := string(mcp.Field(params, "total")); total != "" {
			line += "/" + total
		}
		a.note("progress %s %s", line, text(params, "message"))
	case mcp.LogMessage:
		data := mcp.Field(params, "data")
		said, ok := mcp.Text(data)
		if !ok {
			said = string(data)
		}
		a.note("%s %s", text(params, "level"), said)
	}
}

// A property is a question of a form.
type property struct {
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Enum        []string `json:"enum"`
}

var errNobody = errors.New("nobody answers this here")

// asked lets the person answer a form: an empty line leaves a question out, the
// end of the input declines.
func (a *app) asked(input *bufio.Reader, method string, params []byte) ([]byte, error) {
	if method != mcp.ElicitationCreate {
		return nil, errNobody
	}
	var schema struct {
		Properties map[string]property `json:"properties"`
		Required   []string            `json:"required"`
	}
	if err := mcp.Unmarshal(mcp.Field(params, "requestedSchema"), &schema); err != nil {
		return nil, fmt.Errorf("the form cannot be read: %w", err)
	}
	a.note("the server asks: %s", text(params, "message"))
	content := make(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		value, ok, err := a.askOne(input, name, schema.Properties[name], slices.Contains(schema.Required, name))
		if err != nil {
			return []byte(`{"action":"cancel"}`), nil //nolint:nilerr // the person gave up
		}
		if ok {
			content[name] = value
		}
	}
	answer, err := json.Marshal(map[string]any{"action": "accept", "content": content})
	return answer, err
}

func (a *app) askOne(input *bufio.Reader, name string, p property, required bool) (value any, ok bool, err error) {
	label := first(p.Title, name)
	if p.Description != "" {
		label += ", " + p.Description
	}
	if len(p.Enum) > 0 {
		label += " (" + strings.Join(p.Enum, ", ") + ")"
	}
	for {
		fmt.Fprintf(a.stderr, "  %s: ", escape(label))
		line, err := input.ReadString('\n')
		if err != nil {
			return nil, false, err
		}
		line = strings.TrimSpace(line)
		if line == "" {
			if !required {
				return nil, false, nil
			}
			continue
		}
		if value, err = argumentOf(line, p.Type); err == nil {
			return value, true, nil
		}
		a.note("  %s", err)
	}
}

// argumentOf is text as a value of a type of JSON schema.
func argumentOf(s, kind string) (any, error) {
	switch kind {
	case "string":
		return s, nil
	case "integer", "number":
		if _, err := strconv.ParseFloat(s, 64); err != nil || !json.Valid([]byte(s)) {
			return nil, fmt.Errorf("%q is not a number", s)
		}
		return json.Number(s), nil
	case "boolean":
		switch strings.ToLower(s) {
		case "true", "yes", "y":
			return true, nil
		case "false", "no", "n":
			return false, nil
		}
		return nil, fmt.Errorf("%q is not true or false", s)
	case "object", "array", "null":
		if !json.Valid([]byte(s)) {
			return nil, fmt.Errorf("%q is not JSON", s)
		}
		return json.RawMessage(s), nil
	}
	if json.Valid([]byte(s)) { // the schema does not say
		return json.RawMessage(s), nil
	}
	return s, nil
}

// showContent writes the contents of a result for a person: texts as they are,
// anything else by what it is.
func showContent(p *page, contents []byte) error {
	var list []struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		Data     string `json:"data"`
		Blob     string `json:"blob"`
		MimeType string `json:"mimeType"`
		URI      string `json:"uri"`
		Resource *struct {
			URI      string `json:"uri"`
			Text     string `json:"text"`
			Blob     string `json:"blob"`
			MimeType string `json:"mimeType"`
		} `json:"resource"`
	}
	if err := mcp.Unmarshal(contents, &list); err != nil {
		return fault.New(fault.Integrity, "the contents of the answer cannot be read: %v", err)
	}
	for _, c := range list {
		if c.Resource != nil {
			c.Text, c.Blob, c.MimeType, c.URI = c.Resource.Text, c.Resource.Blob, c.Resource.MimeType, c.Resource.URI
		}
		switch {
		case c.Text != "":
			p.line("%s", escapeLines(c.Text))
		case c.Data != "" || c.Blob != "":
			p.line("[%s %s, %d bytes in base64: -o json has them]", first(c.Type, c.URI), c.MimeType, len(c.Data)+len(c.Blob))
		case c.URI != "":
			p.line("[%s %s]", first(c.Type, "resource"), c.URI)
		}
	}
	return nil
}

// took is a duration for the line behind a result.
func took(begun time.Time) string { return time.Since(begun).Round(time.Millisecond).String() }
