package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/internal/process"
)

// reapCommand is the hidden subcommand that kills the child processes of a node
// that was killed.
const reapCommand = "reap-children"

func newReapCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     reapCommand,
		Hidden:  true,
		Short:   "Started by a node: kill its child processes when it is killed",
		Example: `  mcpraft ` + reapCommand + ` < PIPE`,
		RunE: func(*cobra.Command, []string) error {
			process.Reap(a.stdin)
			return nil
		},
	}
}

// reaper is how a node starts that subcommand; nil if this binary cannot be found.
func reaper(log *slog.Logger) []string {
	self, err := os.Executable()
	if err != nil {
		log.Warn("what child processes have started is not killed with this node", "error", err)
		return nil
	}
	return []string{self, reapCommand}
}

// A commandBook holds the commands of a configuration and of its command file,
// which is read again when it has changed. One goroutine uses it at a time.
type commandBook struct {
	fixed map[string]process.Command
	file  string // "" if there is none
	log   *slog.Logger

	read time.Time // modification time of the file when it was read
	size int64
	all  map[string]process.Command
}

func newCommandBook(u *config.Upstreams, log *slog.Logger) *commandBook {
	b := &commandBook{fixed: processesOf(u.Commands), file: u.CommandFile, log: log}
	b.all = b.fixed
	return b
}

func processesOf(commands map[string]config.Command) map[string]process.Command {
	m := make(map[string]process.Command, len(commands))
	for name, c := range commands {
		m[name] = c.Process()
	}
	return m
}

// now is all commands. Those of the configuration come before those of the same
// name in the file; a file that is not valid changes nothing.
func (b *commandBook) now() map[string]process.Command {
	if b.file == "" {
		return b.all
	}
	info, err := os.Stat(b.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b.all, b.read, b.size = b.fixed, time.Time{}, 0
		return b.all
	case err != nil:
		b.complain(err)
		return b.all
	case info.ModTime().Equal(b.read) && info.Size() == b.size:
		return b.all
	}
	b.read, b.size = info.ModTime(), info.Size()
	more, err := config.ReadCommands(b.file)
	if err != nil {
		b.complain(err)
		return b.all
	}
	b.all = processesOf(more)
	maps.Copy(b.all, b.fixed)
	return b.all
}

func (b *commandBook) complain(err error) {
	b.log.Error("the command file is not taken", "file", b.file, "error", err)
}
