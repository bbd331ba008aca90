package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// splitProgram parts what stands behind "--" from the arguments before it.
func splitProgram(cmd *cobra.Command, args []string) (before, program []string) {
	at := cmd.ArgsLenAtDash()
	if at < 0 {
		return args, nil
	}
	return args[:at], args[at:]
}

// addProgram writes a program into the command file of the dev cluster that the
// command line means, under the name of the upstream.
func (a *app) addProgram(cmd *cobra.Command, spec *adminapi.UpstreamSpec, alias string, program []string) error {
	if spec.Command != "" {
		return usageError(cmd, fmt.Errorf("--command names what the nodes have, -- a program to be added: use one of them"))
	}
	t, err := a.target()
	if err != nil {
		return err
	}
	saved, err := a.loadContexts()
	if err != nil {
		return err
	}
	file := saved.Saved[t.Context].CommandFile
	if t.Context == "" || file == "" {
		return fault.New(fault.Unsupported, "a program can be given only to a cluster of mcpraft dev on this machine").
			WithHint("name it under upstreams.commands in the configuration of the nodes, then: mcpraft upstreams add %s --command NAME", alias)
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	spec.Command = alias
	return config.AddCommand(file, alias, config.Command{Command: program[0], Args: program[1:], Dir: dir}, writePrivate)
}
