// Command jepsen takes a cluster of real mcpraft processes apart while clients work
// on it, and checks what they were told. See jepsen/README.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := execute(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "jepsen:", err)
	}
	os.Exit(code)
}

// execute runs a command and returns its exit code: 0, 1 for contradictions, 2 for
// anything else that went wrong.
func execute(ctx context.Context, args []string) (code int, err error) {
	root := &cobra.Command{
		Use:           "jepsen",
		Short:         "Take a cluster of real processes apart and check what its clients were told",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newRun(&code), newSelfTest(&code), newMutants(&code), newCheck(&code), newFaults(), newClaims())
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		return 2, err
	}
	return code, nil
}
