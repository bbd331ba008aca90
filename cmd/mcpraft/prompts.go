package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

func newPromptsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "prompts",
		GroupID: groupUse,
		Short:   "See and get the prompts of MCP servers",
		Example: `  mcpraft prompts ls
  mcpraft prompts get demo__greet name=Ada`,
	}
	cmd.AddCommand(newPromptsListCommand(a), newPromptsGetCommand(a))
	return cmd
}

// A promptView is one prompt of a list.
type promptView struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Arguments   []string `json:"arguments,omitempty"`
}

func newPromptsListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls [UPSTREAM]",
		Short: "List the prompts of one MCP server, or of all",
		Long: `List the prompts of one MCP server, or of all that are enabled. Those that cannot be
asked are named on standard error, and the exit code is 8.`,
		Example: `  mcpraft prompts ls demo`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.useGateway(cmd, func(ctx context.Context, g *gateway) error {
				return showLists(ctx, g, args, mcp.PromptsList, "prompts",
					func(alias string, item []byte) promptView {
						return promptView{wireName(alias, text(item, "name")), text(item, "description"), promptArguments(item)}
					},
					[]string{"NAME", "ARGUMENTS", "DESCRIPTION"},
					func(r promptView) []string {
						return []string{r.Name, fmt.Sprint(len(r.Arguments)), firstLine(r.Description)}
					})
			})
		},
	}
}

// promptArguments are the names of what a prompt takes.
func promptArguments(prompt []byte) []string {
	var list []struct {
		Name string `json:"name"`
	}
	_ = mcp.Unmarshal(mcp.Field(prompt, "arguments"), &list) // a prompt without, or of another form
	names := make([]string, 0, len(list))
	for _, argument := range list {
		names = append(names, argument.Name)
	}
	return slices.Clip(names)
}

func newPromptsGetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "get NAME [KEY=VALUE…]",
		Short:   "Get a prompt, filled in",
		Example: `  mcpraft prompts get demo__greet name=Ada`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			given, err := pairs(cmd, "argument", args[1:])
			if err != nil {
				return err
			}
			arguments, err := json.Marshal(given)
			if err != nil {
				return err
			}
			if given == nil {
				arguments = []byte("{}")
			}
			return a.useGateway(cmd, func(ctx context.Context, g *gateway) error {
				return g.withNamed(ctx, cmd, a.talk(), mcp.PromptsList, "prompts", args[0], func(ctx context.Context, f found) error {
					params := fmt.Appendf(nil, `{"name":%s,"arguments":%s}`, mcp.Quote(f.name), arguments)
					result, err := f.Call(ctx, mcp.PromptsGet, params)
					if err != nil {
						return err
					}
					var shown error
					if err := a.show(plainJSON(result), func(p *page) { shown = showMessages(p, mcp.Field(result, "messages")) }); err != nil {
						return err
					}
					return shown
				})
			})
		},
	}
}

func showMessages(p *page, messages []byte) error {
	var list []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(messages, &list); err != nil {
		return fault.New(fault.Integrity, "the messages of the answer cannot be read: %v", err)
	}
	for _, m := range list {
		p.line("%s:", p.paint(bold, m.Role))
		if err := showContent(p, []byte("["+string(m.Content)+"]")); err != nil {
			return err
		}
	}
	return nil
}
