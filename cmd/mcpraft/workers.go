package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

func newWorkersCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "workers",
		GroupID: groupUse,
		Short:   "The supervised parts of a node",
		Example: `  mcpraft workers tree`,
	}
	cmd.AddCommand(newWorkersTreeCommand(a))
	return cmd
}

func newWorkersTreeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "tree",
		Short: "Show the supervision tree of one node",
		Long: `Show the supervision tree of the node that is asked: each supervisor with its
strategy, each worker with its state, how often it was restarted and why.`,
		Example: `  mcpraft workers tree
  mcpraft workers tree --addr 127.0.0.1:7461`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				root, _, err := c.Workers(ctx, &adminapi.WorkersRequest{})
				if err != nil {
					return err
				}
				return a.show(root, func(p *page) {
					p.table([]string{"WORKER", "STATE", "RESTARTS", "SINCE", "LAST FAILURE"}, workerRows(nil, root, 0))
				})
			})
		},
	}
}

// maxWorkerDepth bounds how deep a tree is drawn; ours has four levels.
const maxWorkerDepth = 32

func workerRows(rows [][]string, w adminapi.Worker, depth int) [][]string {
	name := strings.Repeat("  ", depth) + w.Name
	rows = append(rows, []string{name, first(w.State, w.Strategy), strconv.FormatUint(w.Restarts, 10), ago(w.Since), w.LastFailure})
	if depth == maxWorkerDepth {
		return rows
	}
	for _, child := range w.Children {
		rows = workerRows(rows, child, depth+1)
	}
	return rows
}
