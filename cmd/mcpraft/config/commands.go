package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/goccy/go-yaml"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// ReadCommands reads a command file: a mapping of names to commands, as
// upstreams.commands is. It must not be writable by other users: who can write it
// runs programs as this one. If there is none, the error is fs.ErrNotExist.
func ReadCommands(name string) (map[string]Command, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err != nil:
		return nil, fileFault(err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fault.New(fault.Forbidden, "%s can be written by other users (mode %04o)", name, info.Mode().Perm()).
			WithHint("chmod go-w %s", name)
	}
	if info.Size() > maxFileBytes {
		return nil, fault.New(fault.TooLarge, "%s has %d bytes, a command file has at most %d", name, info.Size(), maxFileBytes)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fileFault(err)
	}
	var commands map[string]Command
	if err := yaml.UnmarshalWithOptions(text, &commands, yaml.Strict()); err != nil {
		return nil, fault.New(fault.Invalid, "%s: %s", name, yaml.FormatError(err, false, false))
	}
	if len(commands) > record.MaxCommands {
		return nil, fault.New(fault.Invalid, "%s names %d commands, the limit is %d", name, len(commands), record.MaxCommands)
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(commands)) {
		c := commands[key]
		if err := errors.Join(record.ValidCommand(key), c.Validate()); err != nil {
			errs = append(errs, fmt.Errorf("command %q: %w", key, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fault.New(fault.Invalid, "%s: %w", name, err)
	}
	return commands, nil
}

// AddCommand puts a command into a command file, in the place of the one of that
// name if there is one. Write replaces the file as a whole, so that a reader never
// sees half of it.
func AddCommand(name, key string, c Command, write func(path string, text []byte) error) error {
	commands, err := ReadCommands(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if commands == nil {
		commands = make(map[string]Command)
	}
	commands[key] = c
	text, err := yaml.Marshal(commands)
	if err != nil {
		return err
	}
	return write(name, text)
}
