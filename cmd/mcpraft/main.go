// Command mcpraft is the whole product in one binary: a node of the cluster,
// the tools that prepare and repair one, and the client that operates it.
//
// Each subcommand is one file: its flags, its help with an example, and what it
// does. The result goes to standard output, everything else to standard error,
// and every failure becomes the exit code of its kind (package internal/fault),
// so scripts need not read prose.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process the hard way

	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, environ: os.Environ}
	if err := failpoint.FromEnvironment(); err != nil {
		os.Exit(a.exit(ctx, fault.New(fault.Invalid, "%v", err)))
	}
	os.Exit(a.run(ctx, os.Args[1:]))
}
