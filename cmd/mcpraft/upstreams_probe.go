package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/mcpclient"
)

// An upstreamProbe is what was found out about an MCP server.
type upstreamProbe struct {
	Alias        string   `json:"alias"`
	Server       string   `json:"server"`   // its own name and version
	Protocol     string   `json:"protocol"` // of the session that was opened
	Capabilities []string `json:"capabilities"`
	Tools        []string `json:"tools"`
	OpenMS       float64  `json:"open_ms"` // to open a session
	ListMS       float64  `json:"list_ms"` // to list the tools
}

func newUpstreamsTestCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "test NAME",
		Short: "Open a session with an MCP server and list its tools",
		Long: `Open a session with an MCP server through the gateway, as a client does, list its
tools, and end the session. It shows that the server can be reached from the node
that was asked, with the credential it needs.`,
		Example: `  mcpraft upstreams test search`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.useGateway(cmd, func(ctx context.Context, g *gateway) error {
				probe, err := g.probe(ctx, args[0])
				if err != nil {
					return g.t.explain(err)
				}
				return a.show(probe, func(p *page) {
					tools := strconv.Itoa(len(probe.Tools))
					if len(probe.Tools) > 0 {
						tools += ": " + strings.Join(probe.Tools, ", ")
					}
					p.fields(
						[2]string{"upstream", probe.Alias},
						[2]string{"server", first(probe.Server, "-")},
						[2]string{"protocol", probe.Protocol},
						[2]string{"capabilities", first(strings.Join(probe.Capabilities, ", "), "none")},
						[2]string{"tools", tools},
						[2]string{"opened in", ms(probe.OpenMS)},
						[2]string{"listed in", ms(probe.ListMS)},
					)
				})
			})
		},
	}
}

func ms(n float64) string { return strconv.FormatFloat(n, 'f', 1, 64) + " ms" }

func since(begun time.Time) float64 { return float64(time.Since(begun).Microseconds()) / 1000 }

func (g *gateway) probe(ctx context.Context, alias string) (upstreamProbe, error) {
	probe := upstreamProbe{Alias: alias, Capabilities: []string{}, Tools: []string{}}
	ctx, cancel := context.WithTimeout(ctx, g.limit)
	defer cancel()
	begun := time.Now()
	client, server, err := g.open(ctx, alias, mcpclient.Config{})
	if err != nil {
		return probe, err
	}
	defer client.Close(ctx)
	probe.OpenMS = since(begun)
	probe.Protocol = server.Version
	probe.Server = strings.TrimSpace(text(server.Result, "serverInfo", "name") + " " + text(server.Result, "serverInfo", "version"))
	if capabilities, err := mcp.ParseObject(mcp.Field(server.Result, "capabilities")); err == nil {
		for name := range capabilities.All() {
			probe.Capabilities = append(probe.Capabilities, name)
		}
	}
	begun = time.Now()
	err = client.List(ctx, mcp.ToolsList, "tools", func(item []byte) error {
		probe.Tools = append(probe.Tools, text(item, "name"))
		return nil
	})
	if fault.Of(err) == fault.Unsupported { // it has resources or prompts only
		err = nil
	}
	probe.ListMS = since(begun)
	return probe, err
}
