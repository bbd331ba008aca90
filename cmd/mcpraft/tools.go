package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/mcpclient"
)

func newToolsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "tools",
		GroupID: groupUse,
		Short:   "See and call the tools of MCP servers",
		Long: `Tools of the MCP servers behind the gateway, called through it as an MCP client
does. A tool is called UPSTREAM__TOOL; where that is too long for models, or has
characters that they do not take, as tools ls lists it.`,
		Example: `  mcpraft tools ls
  mcpraft tools call demo__add a=2 b=3`,
	}
	cmd.AddCommand(newToolsListCommand(a), newToolsShowCommand(a), newToolsCallCommand(a))
	return cmd
}

// A toolView is one tool of a list.
type toolView struct {
	Name        string `json:"name"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
}

func newToolsListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls [UPSTREAM]",
		Short: "List the tools of one MCP server, or of all",
		Long: `List the tools of one MCP server, or of all that are enabled. Those that cannot be
asked are named on standard error, and the exit code is 8.`,
		Example: `  mcpraft tools ls
  mcpraft tools ls demo -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.useGateway(cmd, func(ctx context.Context, g *gateway) error {
				return showLists(ctx, g, args, mcp.ToolsList, "tools",
					func(alias string, item []byte) toolView {
						return toolView{wireName(alias, text(item, "name")), text(item, "title"), text(item, "description")}
					},
					[]string{"NAME", "DESCRIPTION"},
					func(t toolView) []string { return []string{t.Name, firstLine(first(t.Description, t.Title))} })
			})
		},
	}
}

// tool is the description of a tool, looked for now if it was not before.
func (f *found) tool(ctx context.Context) ([]byte, error) {
	if f.item != nil {
		return f.item, nil
	}
	var names []string
	err := f.List(ctx, mcp.ToolsList, "tools", func(item []byte) error {
		if text(item, "name") == f.name {
			f.item = slices.Clone(item)
		}
		names = append(names, wireName(f.alias, text(item, "name")))
		return nil
	})
	if err != nil || f.item != nil {
		return f.item, err
	}
	e := fault.New(fault.NotFound, "upstream %s has no tool %q", f.alias, f.name)
	const most = 10
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return nil, e.WithHint("it has %s", strings.Join(names, ", "))
}

// withTool runs f in a session where the tool of that name can be called.
func (g *gateway) withTool(ctx context.Context, cmd *cobra.Command, c mcpclient.Config, name string, f func(context.Context, found) error) error {
	return g.withNamed(ctx, cmd, c, mcp.ToolsList, "tools", name, f)
}

func newToolsShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show one tool and what it takes",
		Example: `  mcpraft tools show demo__add`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.useGateway(cmd, func(ctx context.Context, g *gateway) error {
				return g.withTool(ctx, cmd, mcpclient.Config{}, args[0], func(ctx context.Context, f found) error {
					tool, err := f.tool(ctx)
					if err != nil {
						return err
					}
					return a.show(plainJSON(tool), func(p *page) { showTool(p, args[0], tool) })
				})
			})
		},
	}
}

func showTool(p *page, name string, tool []byte) {
	p.fields(
		[2]string{"name", name},
		[2]string{"title", first(text(tool, "title"), "-")},
		[2]string{"description", first(firstLine(text(tool, "description")), "-")},
	)
	schema := inputSchema(tool)
	var rows [][]string
	for _, key := range slices.Sorted(maps.Keys(schema.Properties)) {
		of := schema.Properties[key]
		rows = append(rows, []string{key, first(of.Type, "any"), mark(slices.Contains(schema.Required, key), "yes"), firstLine(of.Description)})
	}
	if len(rows) > 0 {
		p.line("")
		p.table([]string{"ARGUMENT", "TYPE", "REQUIRED", "DESCRIPTION"}, rows)
	}
}

// A toolSchema is what the command line reads of the schema of arguments.
type toolSchema struct {
	Properties map[string]property `json:"properties"`
	Required   []string            `json:"required"`
}

// inputSchema reads what it understands; the server checks the rest.
func inputSchema(tool []byte) toolSchema {
	var s toolSchema
	raw := mcp.Field(tool, "inputSchema")
	s.Properties = make(map[string]property)
	if properties, err := mcp.ParseObject(mcp.Field(raw, "properties")); err == nil {
		for key, value := range properties.All() {
			s.Properties[key] = property{Type: text(value, "type"), Description: text(value, "description")}
		}
	}
	_ = mcp.Unmarshal(mcp.Field(raw, "required"), &s.Required) // a schema without one, or of another form
	return s
}

func newToolsCallCommand(a *app) *cobra.Command {
	var arguments string
	cmd := &cobra.Command{
		Use:   "call NAME [KEY=VALUE…]",
		Short: "Call a tool",
		Long: `Call a tool and print what it answers. Values become what the tool's schema says:
numbers, booleans, JSON. --json gives all arguments as one JSON object; KEY=VALUE
then replaces single ones.

Progress and log messages appear on standard error while the call runs. When the
server asks something, a person at a terminal can answer; elsewhere it is told
that there is nobody. A call may take as long as the gateway lets it, unless
--timeout is given. If the tool itself reports a failure the exit code is 1.`,
		Example: `  mcpraft tools call demo__add a=2 b=3
  mcpraft tools call search__query --json '{"q":"raft","limit":5}' -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			given, err := pairs(cmd, "argument", args[1:])
			if err != nil {
				return err
			}
			call := toolCall{app: a, name: args[0], given: given, object: arguments}
			return a.useGateway(cmd, func(ctx context.Context, g *gateway) error {
				if !cmd.Flags().Changed("timeout") { // a tool may take its time
					g.limit = 0
				}
				return g.withTool(ctx, cmd, a.talk(), args[0], func(ctx context.Context, f found) error { return call.run(ctx, cmd, f) })
			})
		},
	}
	cmd.Flags().StringVar(&arguments, "json", "", "all arguments as one JSON `OBJECT`")
	return cmd
}

// A toolCall is one call as the command line gives it.
type toolCall struct {
	app    *app
	name   string // as the command line gives it
	given  map[string]string
	object string // all arguments as JSON, or ""
}

// progressToken asks for progress; there is one call in a session at a time.
const progressToken = `{"progressToken":"call"}`

func (t *toolCall) run(ctx context.Context, cmd *cobra.Command, f found) error {
	arguments, err := t.arguments(ctx, cmd, f)
	if err != nil {
		return err
	}
	params := fmt.Appendf(nil, `{"name":%s,"arguments":%s,"_meta":%s}`, mcp.Quote(f.name), arguments, progressToken)
	begun := time.Now()
	result, err := f.Call(ctx, mcp.ToolsCall, params)
	if err != nil {
		return err
	}
	failed := string(mcp.Field(result, "isError")) == "true"
	var shown error
	if err := t.app.show(plainJSON(result), func(p *page) { shown = showContent(p, mcp.Field(result, "content")) }); err != nil {
		return err
	}
	if shown != nil {
		return shown
	}
	t.app.note("%s  %s  %s", t.name, map[bool]string{false: "ok", true: "failed"}[failed], took(begun))
	if failed {
		return exitCode(fault.Internal.Exit())
	}
	return nil
}

// arguments is the object of arguments: --json, with single ones replaced, each as
// the type that the tool's schema gives it.
func (t *toolCall) arguments(ctx context.Context, cmd *cobra.Command, f found) ([]byte, error) {
	values := make(map[string]any)
	if t.object != "" {
		var all map[string]json.RawMessage
		if err := json.Unmarshal([]byte(t.object), &all); err != nil || all == nil {
			return nil, usageError(cmd, fmt.Errorf("--json %q is not a JSON object", t.object))
		}
		for key, value := range all {
			values[key] = value
		}
	}
	if len(t.given) > 0 {
		tool, err := f.tool(ctx)
		if err != nil {
			return nil, err
		}
		schema := inputSchema(tool)
		for key, s := range t.given {
			value, err := argumentOf(s, schema.Properties[key].Type)
			if err != nil {
				return nil, usageError(cmd, fmt.Errorf("argument %s: %w", key, err))
			}
			values[key] = value
		}
	}
	return json.Marshal(values)
}
