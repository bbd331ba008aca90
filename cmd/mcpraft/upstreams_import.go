package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/clientfile"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

func newUpstreamsImportCommand(a *app) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Add the MCP servers of a client's configuration",
		Long: `Add the MCP servers that are reached by HTTP from the configuration of an MCP
client: mcp.json, claude_desktop_config.json, ~/.claude.json, config.toml of Codex. "-"
is standard input. The file is not changed.

What is left out is told, with the reason, and the exit code is 8: servers that the
client starts as commands, since the API takes no command line; those that need
headers, since what they hold is a secret; those that are switched off; names that
are taken.`,
		Example: `  mcpraft upstreams import .mcp.json --dry-run
  mcpraft upstreams import ~/.cursor/mcp.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := a.readConfigFile(args[0])
			if err != nil {
				return err
			}
			servers, err := clientfile.Servers(text)
			if err != nil {
				return fileError(args[0], err)
			}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				return a.importServers(ctx, c, servers, dryRun)
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be added, and add nothing")
	return cmd
}

// readConfigFile reads a file of an MCP client, or standard input.
func (a *app) readConfigFile(path string) ([]byte, error) {
	if path != "-" {
		file, err := openClientFile(path)
		if err == nil && !file.had {
			err = fault.New(fault.NotFound, "there is no file %s", path)
		}
		if err != nil {
			return nil, err
		}
		return file.text, nil
	}
	text, err := readUpTo(a.stdin, clientfile.MaxBytes)
	if err == nil && len(text) > clientfile.MaxBytes {
		err = fault.New(fault.TooLarge, "standard input has more than %d bytes", clientfile.MaxBytes)
	}
	return text, err
}

// An imported is what became of one server of a file.
type imported struct {
	Server string `json:"server"`          // as the file calls it
	Alias  string `json:"alias,omitempty"` // of the upstream; empty: it was left out
	Target string `json:"target"`
	Result string `json:"result"` // added, would be added, left out
	Reason string `json:"reason,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// importServers adds what can be added, and shows what became of each server.
func (a *app) importServers(ctx context.Context, c *adminapi.Client, servers []clientfile.Named, dryRun bool) error {
	list := []imported{}
	left := false
	for _, s := range servers {
		i := judge(s)
		if i.Result == "" {
			if err := addImported(ctx, c, s, &i, dryRun); err != nil {
				return err
			}
		}
		left = left || i.Alias == ""
		list = append(list, i)
	}
	if err := a.show(list, func(p *page) {
		var rows [][]string
		for _, i := range list {
			rows = append(rows, []string{i.Server, i.Alias, i.Target, i.Result, i.Reason})
		}
		p.table([]string{"SERVER", "UPSTREAM", "TARGET", "RESULT", "REASON"}, rows)
	}); err != nil {
		return err
	}
	for _, i := range list {
		if i.Hint != "" && a.flags.output == formatTable {
			a.note("%s: %s", i.Server, i.Hint)
		}
	}
	return degradedIf(left)
}

// judge says why a server cannot be added; no Result: it can.
func judge(s clientfile.Named) imported {
	i := imported{Server: s.Name, Target: s.URL}
	leave := func(reason, hint string) imported {
		i.Result, i.Reason, i.Hint = "left out", reason, hint
		return i
	}
	alias := aliasOf(s.Name)
	switch {
	case s.URL == "" && s.Command == "":
		return leave("it has neither a URL nor a command", "")
	case s.URL == "":
		words := []string{"mcpraft upstreams add", alias, "--", shellQuote(s.Command)}
		for _, arg := range s.Args {
			words = append(words, shellQuote(arg))
		}
		i.Target = s.Command
		hint := "with mcpraft dev: " + strings.Join(words, " ") + "; on other clusters name the command in the nodes' configuration"
		if len(s.Env) > 0 {
			hint += "; it wants " + strings.Join(slices.Sorted(maps.Keys(s.Env)), ", ") + " in its environment"
		}
		return leave("it is a command, not a URL", hint)
	case s.Disabled:
		return leave("it is switched off in the file", "")
	case len(s.Headers) > 0:
		return leave("it needs the header "+strings.Join(slices.Sorted(maps.Keys(s.Headers)), ", "),
			fmt.Sprintf("give the cluster the credential, then: mcpraft upstreams add %s %s --secret NAME", alias, shellQuote(s.URL)))
	case alias == "":
		return leave("its name has no letter or digit", "")
	}
	return i
}

// addImported adds one server, unless its name is taken.
func addImported(ctx context.Context, c *adminapi.Client, s clientfile.Named, i *imported, dryRun bool) error {
	alias := aliasOf(s.Name)
	_, _, err := c.Upstream(ctx, &adminapi.UpstreamRequest{Alias: alias})
	switch {
	case err == nil:
		i.Result, i.Reason = "left out", "there is an upstream "+alias+" already"
		return nil
	case fault.Of(err) != fault.NotFound:
		return err
	case dryRun:
		i.Alias, i.Result = alias, "would be added"
		return nil
	}
	spec := adminapi.UpstreamSpec{Transport: record.TransportHTTP, URL: s.URL}
	if s.Transport == record.TransportSSE {
		spec.Transport = record.TransportSSE
	}
	_, _, err = c.PutUpstream(ctx, &adminapi.PutUpstreamRequest{WriteOptions: onceKey(), Alias: alias, UpstreamSpec: spec})
	switch fault.Of(err) {
	case 0:
		i.Alias, i.Result = alias, "added"
	case fault.Invalid, fault.Conflict:
		i.Result, i.Reason = "left out", fault.As(err).Message
	default:
		return err
	}
	return nil
}

// maxAlias is the longest alias of an upstream.
const maxAlias = 16

// aliasOf is a name as an alias of an upstream: its letters and digits in lower
// case, anything else a "-".
func aliasOf(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if b.Len() > 0 && !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
	}
	alias := b.String()
	return strings.Trim(alias[:min(len(alias), maxAlias)], "-")
}
