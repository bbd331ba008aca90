package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/server/bridge"
)

func newStdioCommand(a *app) *cobra.Command {
	var upstream string
	cmd := &cobra.Command{
		Use:     "stdio",
		GroupID: groupUse,
		Short:   "Be a local stdio MCP server that leads to the cluster",
		Long: `Carry the messages of one MCP client between standard input and output and the
cluster, until the input ends. It is for MCP clients that start commands, and for
those that keep the one address they were given: mcpraft connect writes it into
their configuration.

It goes from node to node as they die: streams are taken up where they were cut, a
session that is gone is opened again, subscriptions with it. A call that may have
been carried out is never sent again; the client gets an error that says so.

What happens is logged to standard error.`,
		Example: `  mcpraft stdio
  mcpraft stdio --context prod --upstream search`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := a.target()
			if err != nil {
				return err
			}
			config, err := t.tls()
			if err != nil {
				return err
			}
			b := bridge.New(bridge.Config{
				Find:   func(ctx context.Context) ([]string, error) { return a.endpoints(ctx, t, upstream) },
				Token:  t.Token,
				TLS:    config,
				Logger: slog.New(slog.NewTextHandler(a.stderr, nil)),
			})
			return b.Run(cmd.Context(), a.stdin, a.stdout)
		},
	}
	cmd.Flags().StringVar(&upstream, "upstream", "", "`NAME` of the one upstream to lead to (default: all)")
	return cmd
}

// endpoints are the URLs of one endpoint at all MCP ports that are known now.
func (a *app) endpoints(ctx context.Context, t target, upstream string) ([]string, error) {
	admin, err := t.client(a.flags.timeout, t.Addresses...)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	g := &gateway{app: a, t: t, admin: admin}
	if err := g.findBases(ctx); err != nil {
		return nil, t.explain(err)
	}
	urls := make([]string, len(g.bases))
	for i, base := range g.bases {
		urls[i] = base + endpointPath(upstream)
	}
	return urls, nil
}
