package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/snapshot/recovery"
)

// destinationFlags name a destination of backups, as a node's configuration has it,
// for commands that need no node.
type destinationFlags struct {
	configFlags
	cluster string // id
}

func (f *destinationFlags) add(cmd *cobra.Command) {
	f.configFlags.add(cmd)
	cmd.Flags().StringVar(&f.cluster, "cluster-id", "", "`ID` of the cluster; empty: the one that cluster.name of the configuration names")
}

// history reads what the destination holds of the cluster.
func (f *destinationFlags) history(ctx context.Context, a *app) (*recovery.History, error) {
	loaded, err := f.load(a)
	if err != nil {
		return nil, err
	}
	c := loaded.Config
	options, err := backupOptions(&c.Backup)
	if err != nil {
		return nil, err
	}
	if options.Store == nil {
		return nil, fault.New(fault.Invalid, "the configuration names no destination of backups").
			WithHint("give the configuration of a node with --config, or set backup.destination with --set")
	}
	b := snapshot.Backups{Store: options.Store, Policy: options.Policy}
	if f.cluster != "" {
		if b.Cluster, err = record.ParseID(f.cluster); err != nil {
			return nil, fault.New(fault.Invalid, "--cluster-id: %v", err)
		}
		return recovery.ReadHistory(ctx, b)
	}
	return findHistory(ctx, b, c.Cluster.Name)
}

// findHistory looks for the one cluster of that name.
func findHistory(ctx context.Context, b snapshot.Backups, name string) (found *recovery.History, err error) {
	ids, err := recovery.Clusters(ctx, b.Store)
	if err != nil {
		return nil, err
	}
	var others []string
	for _, b.Cluster = range ids {
		h, err := recovery.ReadHistory(ctx, b)
		if err != nil {
			return nil, err
		}
		if other := h.Name(); other != name {
			others = append(others, fmt.Sprintf("%s (%s)", b.Cluster, other))
			continue
		}
		if found != nil {
			return nil, fault.New(fault.Conflict, "%s has two clusters called %s: %s and %s", b.Store, name, found.Cluster, b.Cluster).
				WithHint("choose one with --cluster-id")
		}
		found = h
	}
	switch {
	case found != nil:
		return found, nil
	case len(others) > 0:
		return nil, fault.New(fault.NotFound, "%s has no backup of a cluster called %s; it has some of %s", b.Store, name, strings.Join(others, ", ")).
			WithHint("set cluster.name, or choose with --cluster-id")
	}
	return nil, fault.New(fault.NotFound, "%s holds nothing of any cluster", b.Store).WithHint("is backup.destination the one that the nodes used?")
}
