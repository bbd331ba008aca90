package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// maxContextFile bounds the file of contexts, in bytes.
const maxContextFile = 1 << 20

// A savedContext is how to reach one cluster: what a person would otherwise
// type with every command.
type savedContext struct {
	Addresses []string `yaml:"addresses"`         // admin APIs of its nodes, tried in this order
	Token     string   `yaml:"token,omitempty"`   // bearer token for them
	CAFile    string   `yaml:"ca_file,omitempty"` // certificates to trust for https addresses; empty: the system's
	MCP       []string `yaml:"mcp,omitempty"`     // base URLs of MCP ports, or of what stands in front of them; empty: those that the nodes announce

	// CommandFile is the file that the nodes of a dev cluster on this machine read
	// commands from.
	CommandFile string `yaml:"command_file,omitempty"`
}

// contexts is the file of contexts: contexts.yaml in mcpraft's folder of the
// user's configuration directory. It holds tokens, so it is for its owner alone
// (mode 0600) and it is replaced as a whole.
type contexts struct {
	Current string                  `yaml:"current,omitempty"` // used when --context and MCPRAFT_CONTEXT are absent
	Saved   map[string]savedContext `yaml:"contexts"`

	path string
}

// loadContexts reads the file of contexts; a missing one has no contexts.
func (a *app) loadContexts() (*contexts, error) {
	dir, err := a.configDir()
	if err != nil {
		return nil, err
	}
	c := &contexts{path: filepath.Join(dir, "contexts.yaml"), Saved: make(map[string]savedContext)}
	text, err := readPrivate(c.path, maxContextFile)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := yaml.UnmarshalWithOptions(text, c, yaml.Strict()); err != nil {
		return nil, fault.New(fault.Invalid, "the contexts in %s cannot be read: %s", c.path, yaml.FormatError(err, false, false)).
			WithHint("correct the file, or remove it and start over")
	}
	if c.Saved == nil {
		c.Saved = make(map[string]savedContext)
	}
	return c, nil
}

// save replaces the file.
func (c *contexts) save() error {
	text, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return err
	}
	return writePrivate(c.path, text)
}

// names lists the contexts in alphabetical order.
func (c *contexts) names() []string { return slices.Sorted(maps.Keys(c.Saved)) }

// get is the context of that name.
func (c *contexts) get(name string) (savedContext, error) {
	saved, ok := c.Saved[name]
	if ok {
		return saved, nil
	}
	e := fault.New(fault.NotFound, "there is no context %q", name)
	if len(c.Saved) == 0 {
		return saved, e.WithHint("mcpraft context add NAME --addr HOST:PORT --token-file FILE saves one, mcpraft dev saves its own")
	}
	return saved, e.WithHint("the saved contexts are: %s", strings.Join(c.names(), ", "))
}

// configDir is mcpraft's folder in the user's configuration directory.
func (a *app) configDir() (string, error) {
	if dir := a.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "mcpraft"), nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fault.New(fault.Invalid, "there is no place for contexts: %w", err).
			WithHint("set HOME or XDG_CONFIG_HOME")
	}
	return filepath.Join(dir, "mcpraft"), nil
}

// stateDir is mcpraft's folder in the user's state directory: data that stays
// between runs and belongs to no project directory.
func (a *app) stateDir() (string, error) {
	if dir := a.getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "mcpraft"), nil
	}
	home := a.getenv("HOME")
	if home == "" {
		return "", fault.New(fault.Invalid, "there is no place for data: HOME is not set").
			WithHint("set HOME or XDG_STATE_HOME, or name a directory with --data")
	}
	return filepath.Join(home, ".local", "state", "mcpraft"), nil
}

// readPrivate reads a file that holds secrets. One that others may read is
// refused: its secrets are no longer secret.
func readPrivate(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fault.New(fault.Forbidden, "%s holds secrets and others may read it (mode %04o)", path, mode).
			WithHint("chmod 600 %s, and replace the tokens in it if others use this machine", path)
	}
	if info.Size() > limit {
		return nil, fault.New(fault.TooLarge, "%s has %d bytes, the limit is %d", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}

// writePrivate puts text into the file at path as a whole or not at all,
// readable by its owner alone.
func writePrivate(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // made with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
