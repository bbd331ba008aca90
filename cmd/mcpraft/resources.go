package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/mcpclient"
)

func newResourcesCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "resources",
		GroupID: groupUse,
		Short:   "See and read the resources of MCP servers",
		Example: `  mcpraft resources ls
  mcpraft resources read demo demo://clock`,
	}
	cmd.AddCommand(newResourcesListCommand(a), newResourcesReadCommand(a))
	return cmd
}

// A resourceView is one resource of a list.
type resourceView struct {
	Upstream    string `json:"upstream"`
	URI         string `json:"uri"`
	Name        string `json:"name,omitempty"`
	MimeType    string `json:"mime_type,omitempty"`
	Description string `json:"description,omitempty"`
}

func newResourcesListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls [UPSTREAM]",
		Short: "List the resources of one MCP server, or of all",
		Long: `List the resources of one MCP server, or of all that are enabled. Those that cannot
be asked are named on standard error, and the exit code is 8.`,
		Example: `  mcpraft resources ls demo`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.useGateway(cmd, func(ctx context.Context, g *gateway) error {
				return showLists(ctx, g, args, mcp.ResourcesList, "resources",
					func(alias string, item []byte) resourceView {
						return resourceView{alias, text(item, "uri"), text(item, "name"), text(item, "mimeType"), text(item, "description")}
					},
					[]string{"UPSTREAM", "URI", "TYPE", "DESCRIPTION"},
					func(r resourceView) []string {
						return []string{r.Upstream, r.URI, r.MimeType, firstLine(first(r.Description, r.Name))}
					})
			})
		},
	}
}

func newResourcesReadCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "read [UPSTREAM] URI",
		Short: "Read a resource",
		Long: `Read a resource by the URI that its MCP server gives it, or by the one that it has
for clients of all servers together.`,
		Example: `  mcpraft resources read demo demo://clock
  mcpraft resources read gw://demo/demo://clock`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			upstream, uri := "", args[len(args)-1]
			if len(args) == 2 {
				upstream = args[0]
			}
			return a.useGateway(cmd, func(ctx context.Context, g *gateway) error {
				return g.with(ctx, upstream, a.talk(), func(ctx context.Context, c *mcpclient.Client) error {
					params := fmt.Appendf(nil, `{"uri":%s}`, mcp.Quote(uri))
					result, err := c.Call(ctx, mcp.ResourcesRead, params)
					if err != nil {
						return err
					}
					var shown error
					if err := a.show(plainJSON(result), func(p *page) { shown = showContent(p, mcp.Field(result, "contents")) }); err != nil {
						return err
					}
					return shown
				})
			})
		},
	}
}
