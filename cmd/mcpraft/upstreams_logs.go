package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

func newUpstreamsLogsCommand(a *app) *cobra.Command {
	var read readFlags
	r := &adminapi.UpstreamLogRequest{}
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show what the processes of a stdio server have written to stderr",
		Long: `Show the newest lines that the processes of a stdio server have written to stderr,
and what their nodes say about them, wherever they run. A node keeps 256 KiB of each
process for as long as it owns it. What a terminal would act on is escaped.`,
		Example: `  mcpraft upstreams logs files
  mcpraft upstreams logs files --lines 1000 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.ReadOptions, err = read.options(cmd); err != nil {
				return err
			}
			r.Alias = args[0]
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				log, _, err := c.UpstreamLog(ctx, r)
				if err != nil {
					return err
				}
				return a.show(log, func(p *page) { showLog(p, log) })
			})
		},
	}
	cmd.Flags().Uint64Var(&r.Lines, "lines", 0, "how many of the newest lines, 1 to 1000 (default 100)")
	read.add(cmd)
	return cmd
}

func showLog(p *page, log adminapi.UpstreamLog) {
	for _, line := range log.Lines {
		p.line("%s  %s/%s  %s", stamp(line.At), line.Node, line.Slot, line.Text)
	}
	for _, missing := range log.Missing {
		p.line("what node %s has is missing: %s", missing.Node, missing.Problem)
	}
	if len(log.Lines)+len(log.Missing) == 0 {
		p.line("nothing was written, or no process runs")
	}
}

func processRows(list []adminapi.Process) (rows [][]string) {
	for _, p := range list {
		pid := "-"
		if p.PID != 0 {
			pid = strconv.Itoa(p.PID)
		}
		rows = append(rows, []string{p.Slot, p.Node, pid, strconv.FormatUint(p.Restarts, 10), ago(p.Since), first(p.Problem, p.LastExit, "-")})
	}
	return rows
}
