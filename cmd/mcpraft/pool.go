package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

func newPoolCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "pool",
		GroupID: groupUse,
		Short:   "How busy a node's way to the MCP servers is",
		Example: `  mcpraft pool ls`,
	}
	cmd.AddCommand(newPoolListCommand(a))
	return cmd
}

func newPoolListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the pools of one node",
		Long: `List how the node that is asked stands with the MCP servers that it has used: the
places of the pool, the calls inside, those that wait, those that waited in vain, and
what is open: connections, or the processes of a stdio server that run on it.`,
		Example: `  mcpraft pool ls
  mcpraft pool ls --addr 127.0.0.1:7461 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				pools, _, err := c.Pools(ctx, &adminapi.PoolsRequest{})
				if err != nil {
					return err
				}
				return a.show(pools, func(p *page) {
					p.line("node %s", pools.Node)
					p.table([]string{"NAME", "TRANSPORT", "SIZE", "OVERFLOW", "IN USE", "WAITING", "REFUSED", "CONNECTIONS", "PROCESSES"}, poolRows(pools.Items))
				})
			})
		},
	}
}

func poolRows(list []adminapi.PoolState) (rows [][]string) {
	for _, s := range list {
		connections, processes := strconv.Itoa(s.Connections), "-"
		if s.Transport == record.TransportStdio {
			connections, processes = "-", strconv.Itoa(s.Processes)
		}
		rows = append(rows, []string{s.Alias, s.Transport, strconv.Itoa(s.Size), strconv.Itoa(s.MaxOverflow), strconv.Itoa(s.InUse), strconv.Itoa(s.Waiting), strconv.FormatUint(s.Refused, 10), connections, processes})
	}
	return rows
}
