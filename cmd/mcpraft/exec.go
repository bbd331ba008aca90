package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	execStart = 60 * time.Second // for a node of exec's own to be ready
	execStop  = 30 * time.Second // for it, or for the command after a signal, to end
	execLook  = 50 * time.Millisecond
)

func newExecCommand(a *app) *cobra.Command {
	var nodes int
	cmd := &cobra.Command{
		Use:     "exec -- COMMAND [ARGUMENT…]",
		GroupID: groupRun,
		Short:   "Run a command with a cluster at hand, such as the tests of a CI job",
		Long: `Run a command in whose environment MCPRAFT_URL is the URL for MCP clients,
MCPRAFT_TOKEN the bearer token, and MCPRAFT_ADDR the address of the admin API, which
the commands of mcpraft use. Its exit code is the one of exec.

The cluster is that of --addr, --context, MCPRAFT_ADDR or MCPRAFT_CONTEXT. Without
any of them exec starts a node that keeps nothing, with the demo server, and stops
it when the command has ended; the context in use is left alone.`,
		Example: `  mcpraft exec -- npm test
  mcpraft exec --nodes 3 -- sh -c 'curl -sS -H "Authorization: Bearer $MCPRAFT_TOKEN" $MCPRAFT_ADDR/v1/status'
  mcpraft exec --context prod -- ./smoke-test`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.names() {
				return a.execWithTarget(cmd.Context(), args)
			}
			return a.execWithNode(cmd.Context(), nodes, args)
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", 1, "how many nodes to start: 1, 3 or 5")
	return cmd
}

// names reports whether the command line or the environment names a cluster.
func (a *app) names() bool {
	return first(a.flags.addr, a.flags.context, a.getenv("MCPRAFT_ADDR"), a.getenv("MCPRAFT_CONTEXT")) != ""
}

func (a *app) execWithTarget(ctx context.Context, args []string) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	urls, err := a.endpoints(ctx, t, "")
	if err != nil {
		return err
	}
	return a.runCommand(ctx, args, "MCPRAFT_URL="+urls[0], "MCPRAFT_TOKEN="+t.Token, "MCPRAFT_ADDR="+strings.Join(t.Addresses, ","))
}

// execWithNode runs the command beside a dev cluster of its own. Its ready file,
// contexts and data are in a directory that goes with it.
func (a *app) execWithNode(ctx context.Context, nodes int, args []string) (err error) {
	dir, err := os.MkdirTemp("", "mcpraft-exec-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "ready.json")
	log := &tail{limit: probeTalk}
	dev := exec.Command(self, "dev", "--ephemeral", "--nodes", fmt.Sprint(nodes), "--ready-file", file)
	dev.Env = append(a.environ(), "XDG_CONFIG_HOME="+dir, "XDG_STATE_HOME="+dir)
	dev.Stderr = log
	dev.SysProcAttr = childAttributes()
	if err := dev.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- dev.Wait() }() // waited for by stopDev
	ready, err := awaitReady(ctx, file, ended)
	if err != nil {
		stopDev(dev, ended)
		if line := strings.TrimSpace(log.String()); line != "" && fault.Of(err) == fault.Unavailable {
			err = fault.New(fault.Unavailable, "the node did not start: %s", line)
		}
		return err
	}
	a.note("a cluster of %d is at %s, for as long as the command runs", len(ready.Nodes), ready.Front)
	defer stopDev(dev, ended)
	var admin []string
	for _, n := range ready.Nodes {
		admin = append(admin, n.Admin)
	}
	return a.runCommand(ctx, args, "MCPRAFT_URL="+ready.Front+aggregatePath, "MCPRAFT_TOKEN="+ready.Token, "MCPRAFT_ADDR="+strings.Join(admin, ","), "MCPRAFT_MCP_ADDR="+ready.Front)
}

// awaitReady waits for the ready file of a dev cluster.
func awaitReady(ctx context.Context, file string, ended chan error) (ready devReady, err error) {
	ctx, cancel := context.WithTimeout(ctx, execStart)
	defer cancel()
	tick := time.NewTicker(execLook)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(file); err == nil {
			return ready, json.Unmarshal(text, &ready)
		}
		select {
		case <-tick.C:
		case err := <-ended:
			ended <- err // for stopDev
			return ready, fault.New(fault.Unavailable, "the node did not start")
		case <-ctx.Done():
			return ready, fault.New(fault.Timeout, "the node was not ready within %v", execStart)
		}
	}
}

// stopDev ends a dev cluster and waits for it.
func stopDev(dev *exec.Cmd, ended <-chan error) {
	_ = terminate(dev.Process)
	select {
	case <-ended:
	case <-time.After(execStop):
		_ = dev.Process.Kill()
		<-ended
	}
}

// runCommand runs a command with more in its environment. Its exit code is that of
// the error; a signal is passed on to it.
func (a *app) runCommand(ctx context.Context, args []string, more ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(a.environ(), more...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = execStop
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return exitCode(128 + int(status.Signal()))
		}
		return exitCode(exit.ExitCode())
	}
	if err != nil && ctx.Err() == nil {
		return fault.New(fault.Invalid, "%s cannot be run: %v", args[0], err)
	}
	return err
}
