package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

func newUpstreamsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "upstreams",
		GroupID: groupUse,
		Short:   "The MCP servers behind the gateway",
		Example: `  mcpraft upstreams add search https://search.example/mcp
  mcpraft upstreams ls`,
	}
	cmd.AddCommand(newUpstreamsAddCommand(a), newUpstreamsListCommand(a), newUpstreamsShowCommand(a), newUpstreamsLogsCommand(a), newUpstreamsTestCommand(a), newUpstreamsRemoveCommand(a), newUpstreamsImportCommand(a))
	return cmd
}

// An upstreamChange is the answer of a change of one upstream.
type upstreamChange struct {
	Alias string `json:"alias"`
	change
}

func newUpstreamsAddCommand(a *app) *cobra.Command {
	var spec adminapi.UpstreamSpec
	var metadata []string
	var timeout, failover time.Duration
	var ifRevision uint64
	cmd := &cobra.Command{
		Use:   "add NAME [URL | -- PROGRAM [ARGUMENT…]]",
		Short: "Add an MCP server, or replace one",
		Long: `Add an MCP server under a short name: 1 to 16 of a-z, 0-9 and "-". A name that is
taken is a conflict, unless --if-revision names its current revision: then it is
replaced as a whole.

A stdio server has no URL but the name of a command from the nodes' own
configuration: what runs on a node is decided on that node, and the API is never
told a program. With a cluster of mcpraft dev on this machine, the program behind
"--" is written into the file that its nodes read, and runs in this directory.`,
		Example: `  mcpraft upstreams add search https://search.example/mcp
  mcpraft upstreams add old https://old.example/sse --transport sse
  mcpraft upstreams add files --command mcp-files --isolation per_session
  mcpraft upstreams add files -- npx -y @modelcontextprotocol/server-filesystem /srv`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			args, program := splitProgram(cmd, args)
			if spec.Command != "" || len(program) > 0 {
				if t := cmd.Flags().Lookup("transport"); t.Changed && spec.Transport != record.TransportStdio {
					return usageError(cmd, fmt.Errorf("a program is for transport stdio, not %s", spec.Transport))
				}
				spec.Transport = record.TransportStdio
			}
			if len(program) > 0 {
				if err := a.addProgram(cmd, &spec, args[0], program); err != nil {
					return err
				}
			}
			if spec.URL, err = upstreamURL(cmd, spec, args[1:]); err != nil {
				return err
			}
			if spec.Metadata, err = pairs(cmd, "meta", metadata); err != nil {
				return err
			}
			spec.RequestTimeout, spec.Failover = adminapi.DurationOf(timeout), adminapi.DurationOf(failover)
			r := &adminapi.PutUpstreamRequest{WriteOptions: onceKey(), Alias: args[0], UpstreamSpec: spec}
			r.IfMatch = ifRevision
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				receipt, info, err := putUpstream(ctx, c, r, len(program) > 0)
				if err != nil {
					return err
				}
				done := upstreamChange{args[0], changeOf(receipt, info)}
				return a.show(done, func(p *page) {
					p.line("saved upstream %s  revision %d  index %d", args[0], done.Revision, done.Index)
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&spec.Transport, "transport", record.TransportHTTP, "http (streamable HTTP), sse or stdio")
	f.StringVar(&spec.Command, "command", "", "stdio: `NAME` of a command in the nodes' configuration")
	f.StringVar(&spec.SessionMode, "session-mode", "", "who shares a session of it: shared, per_principal, per_session or per_call")
	f.StringVar(&spec.SessionMode, "isolation", "", "stdio: who shares a process of it: shared (the default), per_principal or per_session")
	f.DurationVar(&timeout, "request-timeout", 0, "limit of one request to it (default: the node's)")
	f.StringVar(&spec.Credential, "credential", "", "`NAME` of a credential of the cluster (mcpraft credentials) that it is shown")
	f.StringVar(&spec.SecretRef, "secret", "", "`NAME` of a credential in the nodes' configuration that it is shown")
	f.StringVar(&spec.Recovery, "recovery", "", "stdio: after a failure a process is started where it was (restart, the default) or on another node (relocate)")
	f.DurationVar(&failover, "failover-timeout", 0, "stdio: how long a call waits for a process that is lost or being moved (default 15s)")
	f.Uint32Var(&spec.Pool.Size, "pool-size", 0, "connections that are kept, or processes of a stdio server in the cluster (default: the node's)")
	f.Uint32Var(&spec.Pool.MaxOverflow, "pool-overflow", 0, "connections beyond, closed after use")
	f.BoolVar(&spec.Disabled, "disabled", false, "keep it, and send nothing to it")
	f.StringArrayVar(&metadata, "meta", nil, "`KEY=VALUE` to store with it; may be given again")
	f.Uint64Var(&ifRevision, "if-revision", 0, "replace the upstream, if it has this `REVISION`")
	_ = cmd.RegisterFlagCompletionFunc("transport", cobra.FixedCompletions(
		[]string{record.TransportHTTP, record.TransportSSE, record.TransportStdio}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// programSeen is how long the nodes have to see a program that was just written into
// their file; they look once a second.
const programSeen = 5 * time.Second

// putUpstream saves an upstream. If its program is new, nodes that do not have it are
// given the time to see it.
func putUpstream(ctx context.Context, c *adminapi.Client, r *adminapi.PutUpstreamRequest, fresh bool) (adminapi.Receipt, adminapi.Info, error) {
	for begun := time.Now(); ; {
		receipt, info, err := c.PutUpstream(ctx, r)
		if !fresh || fault.Of(err) != fault.Unsupported || time.Since(begun) > programSeen {
			return receipt, info, err
		}
		select {
		case <-ctx.Done():
			return receipt, info, err
		case <-time.After(programSeen / 20):
		}
	}
}

// upstreamURL is the URL argument, which goes with every transport but stdio.
func upstreamURL(cmd *cobra.Command, spec adminapi.UpstreamSpec, args []string) (string, error) {
	stdio := spec.Transport == record.TransportStdio
	switch {
	case len(args) > 1:
		return "", usageError(cmd, fmt.Errorf("%q and %q are one too many: there is one URL, and a program stands behind --", args[0], args[1]))
	case stdio && len(args) > 0:
		return "", usageError(cmd, fmt.Errorf("a stdio upstream takes --command, not a URL"))
	case stdio && spec.Command == "":
		return "", usageError(cmd, fmt.Errorf("a stdio upstream needs --command"))
	case stdio:
		return "", nil
	case len(args) == 0:
		return "", usageError(cmd, fmt.Errorf("an upstream with transport %s needs a URL", spec.Transport))
	}
	return args[0], nil
}

func newUpstreamsListCommand(a *app) *cobra.Command {
	var read readFlags
	var pages pageFlags
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the MCP servers behind the gateway",
		Example: `  mcpraft upstreams ls -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := read.options(cmd)
			if err != nil {
				return err
			}
			r := &adminapi.UpstreamsRequest{ReadOptions: options, After: pages.after, Limit: pages.limit}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				list, _, err := c.Upstreams(ctx, r)
				if err != nil {
					return err
				}
				return a.showPage(list.Next, list, func(p *page) {
					var rows [][]string
					for _, u := range list.Items {
						rows = append(rows, []string{u.Alias, u.Transport, first(u.URL, u.Command), u.SessionMode, upstreamTools(u), upstreamState(u), strconv.FormatUint(u.Revision, 10)})
					}
					p.table([]string{"NAME", "TRANSPORT", "TARGET", "SESSIONS", "TOOLS", "STATE", "REVISION"}, rows)
				})
			})
		},
	}
	pages.add(cmd, "NAME")
	read.add(cmd)
	return cmd
}

func newUpstreamsShowCommand(a *app) *cobra.Command {
	var read readFlags
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show one MCP server",
		Example: `  mcpraft upstreams show search`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := read.options(cmd)
			if err != nil {
				return err
			}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				u, _, err := c.Upstream(ctx, &adminapi.UpstreamRequest{ReadOptions: options, Alias: args[0]})
				if err != nil {
					return err
				}
				return a.show(u, func(p *page) { showUpstream(p, u) })
			})
		},
	}
	read.add(cmd)
	return cmd
}

func upstreamFields(u adminapi.Upstream) [][2]string {
	timeout := "the node's default"
	if u.RequestTimeout != 0 {
		timeout = u.RequestTimeout.String()
	}
	pool := "the node's default"
	if u.Pool.Size != 0 {
		pool = fmt.Sprintf("%d, and %d beyond", u.Pool.Size, u.Pool.MaxOverflow)
	}
	fields := [][2]string{
		{"name", u.Alias},
		{"transport", u.Transport},
		{"target", first(u.URL, u.Command)},
		{"sessions", first(u.SessionMode, "the default of the transport")},
		{"request timeout", timeout},
		{"pool", pool},
		{"credential", first(u.Credential, "-")},
		{"secret", first(u.SecretRef, "-")},
		{"disabled", yesNo(u.Disabled)},
		{"metadata", first(joinPairs(u.Metadata), "-")},
		{"created", stamp(u.Created)},
		{"updated", stamp(u.Updated)},
		{"revision", strconv.FormatUint(u.Revision, 10)},
	}
	if u.Transport != record.TransportStdio {
		return fields
	}
	failover := "the node's default"
	if u.Failover != 0 {
		failover = u.Failover.String()
	}
	return append(fields, [2]string{"recovery", first(u.Recovery, record.RecoverRestart)}, [2]string{"failover timeout", failover})
}

// upstreamTools is how many tools of an upstream clients are shown.
func upstreamTools(u adminapi.Upstream) string {
	if u.Catalogue == nil {
		return "-"
	}
	return strconv.FormatUint(uint64(u.Catalogue.Tools), 10)
}

// upstreamState is what there is to say of an upstream in one word or two.
func upstreamState(u adminapi.Upstream) string {
	c := u.Catalogue
	switch {
	case u.Disabled:
		return "disabled"
	case c == nil:
		return "-"
	case c.Error != "":
		return "failing"
	case c.Truncated:
		return "truncated"
	case c.Hidden > 0:
		return fmt.Sprintf("%d quarantined", c.Hidden)
	}
	return "listed"
}

func showUpstream(p *page, u adminapi.Upstream) {
	p.fields(append(upstreamFields(u), catalogueFields(u.Catalogue)...)...)
	if len(u.Processes) > 0 {
		p.line("")
		p.table([]string{"PROCESS", "NODE", "PID", "RESTARTS", "STARTED", "LAST EXIT"}, processRows(u.Processes))
	}
	if u.Catalogue == nil || len(u.Catalogue.Quarantined) == 0 {
		return
	}
	p.line("")
	var rows [][]string
	for _, q := range u.Catalogue.Quarantined {
		rows = append(rows, []string{q.Kind, first(q.Name, "-"), q.Reason})
	}
	p.table([]string{"QUARANTINED", "NAME", "REASON"}, rows)
}

// catalogueFields tell what an upstream lists.
func catalogueFields(c *adminapi.Catalogue) [][2]string {
	if c == nil {
		return [][2]string{{"lists", "not asked for yet"}}
	}
	fields := [][2]string{
		{"lists", fmt.Sprintf("%d tools, %d resources, %d templates, %d prompts", c.Tools, c.Resources, c.Templates, c.Prompts)},
		{"listed", "never"},
		{"protocol", first(c.Protocol, "-")},
	}
	if c.Listed != 0 {
		fields[1][1] = stamp(c.Listed)
	}
	if c.Error != "" {
		fields = append(fields, [2]string{"failing since", stamp(c.Failed)}, [2]string{"error", c.Error})
	}
	if c.Truncated {
		fields = append(fields, [2]string{"truncated", "it lists more than may be kept"})
	}
	if c.Hidden > 0 {
		fields = append(fields, [2]string{"quarantined", fmt.Sprintf("%d items are shown to nobody", c.Hidden)})
	}
	return fields
}

func newUpstreamsRemoveCommand(a *app) *cobra.Command {
	var ifRevision uint64
	cmd := &cobra.Command{
		Use:     "rm NAME",
		Short:   "Remove an MCP server",
		Example: `  mcpraft upstreams rm search`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := &adminapi.RemoveUpstreamRequest{WriteOptions: onceKey(), Alias: args[0]}
			r.IfMatch = ifRevision
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				receipt, info, err := c.RemoveUpstream(ctx, r)
				if err != nil {
					return err
				}
				done := upstreamChange{args[0], changeOf(receipt, info)}
				return a.show(done, func(p *page) { p.line("removed upstream %s  index %d", args[0], done.Index) })
			})
		},
	}
	cmd.Flags().Uint64Var(&ifRevision, "if-revision", 0, "only if the upstream has this `REVISION`")
	return cmd
}
