package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// exitInterrupted is the exit code of a command that a signal ended; all other
// codes are those of a fault.Kind.
const exitInterrupted = 130

// The groups of the help page.
const (
	groupRun    = "run"    // starts something that stays
	groupUse    = "use"    // talks to a running cluster
	groupRepair = "repair" // works on files, no node needed
)

// An app is what every command is given of the world outside, and the flags
// that all commands share. One app runs one command line.
type app struct {
	stdin   io.Reader
	stdout  io.Writer // the result of the command, nothing else
	stderr  io.Writer // everything else
	getenv  func(string) string
	environ func() []string // all variables as "NAME=value", for the configuration
	flags   flags
}

// flags are the flags that every command takes. An empty string was not given:
// the environment, the context and the default follow, in this order.
type flags struct {
	addr    string        // admin API of any node: host:port or URL
	token   string        // bearer token for it
	context string        // name of a saved context
	output  format        // form of the result
	noColor bool          // plain text even on a terminal
	timeout time.Duration // for one request, and for one command that is not a server
}

// newRootCommand is the command tree. A command is one file with one
// constructor, and one line here.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "mcpraft",
		Short: "A highly available gateway and registry for the Model Context Protocol",
		Long: `mcpraft is a highly available gateway and registry for the Model Context
Protocol. Three or five nodes form a cluster; any of them answers.

The result of a command is written to standard output, everything else to
standard error. Exit codes: 0 ok, 1 failure, 2 usage or configuration,
3 not found, 4 not allowed, 5 conflict, 6 unreachable or no leader (try again),
7 verification failed, 8 degraded, 9 timeout, 130 interrupted.`,
		Example: `  mcpraft dev
  mcpraft server --config /etc/mcpraft/mcpraft.yaml
  mcpraft status -o json`,
		SilenceErrors: true,
		SilenceUsage:  true,
		CompletionOptions: cobra.CompletionOptions{
			DisableDefaultCmd: true,
		},
	}
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run a node:"},
		&cobra.Group{ID: groupUse, Title: "Use a cluster:"},
		&cobra.Group{ID: groupRepair, Title: "Prepare, check and repair:"},
	)
	root.SetHelpCommandGroupID(groupRepair)

	all := root.PersistentFlags()
	all.StringVar(&a.flags.addr, "addr", "", "admin API of any node, `HOST:PORT` or URL (MCPRAFT_ADDR)")
	all.StringVar(&a.flags.token, "token", "", "bearer `TOKEN`; other users of this machine can see it, prefer MCPRAFT_TOKEN or a context")
	all.StringVar(&a.flags.context, "context", "", "`NAME` of the saved context to use (MCPRAFT_CONTEXT)")
	all.VarP(&a.flags.output, "output", "o", "form of the result: table, json or yaml")
	all.BoolVar(&a.flags.noColor, "no-color", false, "plain text even on a terminal (NO_COLOR)")
	all.DurationVar(&a.flags.timeout, "timeout", 10*time.Second, "give up on a request after this `DURATION`")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))

	for _, constructor := range []func(*app) *cobra.Command{
		newServerCommand, newConfigCommand, newDoctorCommand, newOfflineCommand, newKeysCommand,
		newDevCommand, newReapCommand, newExecCommand,
		newStatusCommand, newClusterCommand, newRegistryCommand, newSessionsCommand, newUpstreamsCommand, newPoolCommand, newCredentialsCommand,
		newToolsCommand, newResourcesCommand, newPromptsCommand, newConnectCommand, newStdioCommand,
		newSnapshotCommand, newBackupCommand, newPITRCommand,
		newWorkersCommand, newContextCommand, newTokenCommand,
		newCompletionCommand, newVersionCommand,
	} {
		root.AddCommand(constructor(a))
	}

	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, err) })
	strict(root)
	return root
}

// strict makes every misuse below cmd a usage error with a way out: an unknown
// subcommand is never answered by a help page and success, and the complaint
// about arguments names the command's own help.
func strict(cmd *cobra.Command) {
	switch check := cmd.Args; {
	case cmd.HasSubCommands() && !cmd.Runnable():
		cmd.SuggestionsMinimumDistance = 2
		cmd.Args = unknownSubcommand
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	case check == nil:
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			return usageError(cmd, cobra.NoArgs(cmd, args))
		}
	default:
		cmd.Args = func(cmd *cobra.Command, args []string) error { return usageError(cmd, check(cmd, args)) }
	}
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
}

// unknownSubcommand refuses any argument of a command that only groups others.
func unknownSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := fault.New(fault.Invalid, "%s has no command %q", cmd.CommandPath(), args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return e.WithHint("did you mean %s?", strings.Join(near, " or "))
	}
	return e.WithHint("%s --help lists the commands", cmd.CommandPath())
}

// usageError is err as a fault of kind Invalid that points at the help of cmd.
// It keeps nil nil and a fault.Error as it is.
func usageError(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return fault.New(fault.Invalid, "%s: %s", cmd.CommandPath(), err.Error()).
		WithHint("%s --help shows the flags and an example", cmd.CommandPath())
}

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	a.flags.output = outputOf(args)
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)

	return a.exit(ctx, root.ExecuteContext(ctx))
}

// exit tells what is to be told of err, the outcome of a command, and returns
// the exit code for it.
func (a *app) exit(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.stderr, "interrupted")
		return exitInterrupted
	}
	a.fail(err)
	return fault.Of(err).Exit()
}

// outputOf is the output format that args ask for, found without parsing them:
// a command line with a mistake in it gets its error in the form it asked for.
func outputOf(args []string) format {
	for i, arg := range args {
		var value string
		switch {
		case arg == "--":
			return formatTable
		case (arg == "-o" || arg == "--output") && i+1 < len(args):
			value = args[i+1]
		case strings.HasPrefix(arg, "--output="):
			value = strings.TrimPrefix(arg, "--output=")
		case strings.HasPrefix(arg, "-o"):
			value = strings.TrimPrefix(strings.TrimPrefix(arg, "-o"), "=")
		}
		if slices.Contains(formats, value) {
			return format(value)
		}
	}
	return formatTable
}

// An exitCode is the error of a command whose result is already written and
// says by itself what is wrong: the process ends with that code and no message.
type exitCode int

// exitDegraded means that the answer is complete and the thing it describes is
// not well: doctor and status use it.
const exitDegraded exitCode = 8

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }
