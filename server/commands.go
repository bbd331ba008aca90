package server

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/internal/process"
)

// commandsEvery is how often the commands of a node are looked at.
const commandsEvery = time.Second

// commands are what this node can run as stdio upstreams. The others are told
// their names.
type commands struct {
	source func() map[string]process.Command
	now    atomic.Pointer[map[string]process.Command]
}

func newCommands(source func() map[string]process.Command) *commands {
	if source == nil {
		source = func() map[string]process.Command { return nil }
	}
	c := &commands{source: source}
	c.look()
	return c
}

// look reports whether there are others now.
func (c *commands) look() (changed bool) {
	before := c.now.Load()
	now := c.source()
	c.now.Store(&now)
	return before == nil || !slices.Equal(commandNames(*before), commandNames(now))
}

func commandNames(m map[string]process.Command) []string { return slices.Sorted(maps.Keys(m)) }

func (c *commands) names() []string { return commandNames(*c.now.Load()) }

func (c *commands) get(name string) (process.Command, bool) {
	command, ok := (*c.now.Load())[name]
	return command, ok
}

// watch calls changed after each change of the names, until ctx ends.
func (c *commands) watch(ctx context.Context, changed func()) error {
	tick := time.NewTicker(commandsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if c.look() {
				changed()
			}
		case <-ctx.Done():
			return nil
		}
	}
}
