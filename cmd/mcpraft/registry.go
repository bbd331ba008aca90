package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

func newRegistryCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "registry",
		GroupID: groupUse,
		Short:   "Register names and find out where they live",
		Long: `The registry knows where a resource, tool, session, prompt or template of some
key lives: its location and the node that owns it. Live MCP sessions are found
under the type session.`,
		Example: `  mcpraft registry register tool search --location http://10.0.0.5/mcp
  mcpraft registry whereis tool search
  mcpraft registry ls tool --prefix se`,
	}
	cmd.AddCommand(newRegisterCommand(a), newUnregisterCommand(a), newWhereisCommand(a), newRegistryListCommand(a))
	return cmd
}

// completeEntryTypes offers the types of entries to the shell.
func completeEntryTypes(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if len(args) == 0 {
		for _, t := range record.EntryTypes() {
			names = append(names, t.String())
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// entryType refuses a word that is no type before anything is sent.
func entryType(word string) (string, error) {
	t, err := record.ParseEntryType(word)
	if err != nil {
		return "", err
	}
	return t.String(), nil
}

// An entryChange is the answer of a change of one entry.
type entryChange struct {
	Type string `json:"type"`
	Key  string `json:"key"`
	change
}

func newRegisterCommand(a *app) *cobra.Command {
	var spec adminapi.EntrySpec
	var metadata []string
	var ifRevision uint64
	cmd := &cobra.Command{
		Use:   "register TYPE KEY",
		Short: "Register a name, or replace what is registered",
		Long: `Register a key under a type: resource, tool, session, prompt or template. A key
that is registered already is a conflict, unless --if-revision names its current
revision: then it is replaced as a whole.`,
		Example: `  mcpraft registry register tool search --location http://10.0.0.5/mcp
  mcpraft registry register tool search --location http://10.0.0.6/mcp --if-revision 42
  mcpraft registry register resource file:///srv/a.txt --owner node-2 --meta team=search`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeEntryTypes,
		RunE: func(cmd *cobra.Command, args []string) error {
			typ, err := entryType(args[0])
			if err != nil {
				return err
			}
			if spec.Metadata, err = pairs(cmd, "meta", metadata); err != nil {
				return err
			}
			r := &adminapi.RegisterRequest{WriteOptions: onceKey(), Type: typ, Key: args[1], EntrySpec: spec}
			r.IfMatch = ifRevision
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				receipt, info, err := c.Register(ctx, r)
				if err != nil {
					return err
				}
				done := entryChange{typ, args[1], changeOf(receipt, info)}
				return a.show(done, func(p *page) {
					p.line("registered %s %s  revision %d  index %d", typ, args[1], done.Revision, done.Index)
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&spec.Location, "location", "", "where it lives: a `URL` or what its users understand")
	f.StringVar(&spec.OwnerNode, "owner", "", "`NODE` that it is bound to")
	f.StringArrayVar(&metadata, "meta", nil, "`KEY=VALUE` to store with it; may be given again")
	f.Uint64Var(&ifRevision, "if-revision", 0, "replace the entry, if it has this `REVISION`")
	return cmd
}

func newUnregisterCommand(a *app) *cobra.Command {
	var ifRevision uint64
	cmd := &cobra.Command{
		Use:   "unregister TYPE KEY",
		Short: "Remove a registered name",
		Example: `  mcpraft registry unregister tool search
  mcpraft registry unregister tool search --if-revision 42`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeEntryTypes,
		RunE: func(cmd *cobra.Command, args []string) error {
			typ, err := entryType(args[0])
			if err != nil {
				return err
			}
			r := &adminapi.UnregisterRequest{WriteOptions: onceKey(), Type: typ, Key: args[1]}
			r.IfMatch = ifRevision
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				receipt, info, err := c.Unregister(ctx, r)
				if err != nil {
					return err
				}
				done := entryChange{typ, args[1], changeOf(receipt, info)}
				return a.show(done, func(p *page) { p.line("unregistered %s %s  index %d", typ, args[1], done.Index) })
			})
		},
	}
	cmd.Flags().Uint64Var(&ifRevision, "if-revision", 0, "only if the entry has this `REVISION`")
	return cmd
}

func newWhereisCommand(a *app) *cobra.Command {
	var read readFlags
	cmd := &cobra.Command{
		Use:   "whereis TYPE KEY",
		Short: "Show where a registered name lives",
		Example: `  mcpraft registry whereis tool search
  mcpraft registry whereis tool search -o json`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeEntryTypes,
		RunE: func(cmd *cobra.Command, args []string) error {
			typ, err := entryType(args[0])
			if err != nil {
				return err
			}
			options, err := read.options(cmd)
			if err != nil {
				return err
			}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				e, _, err := c.WhereIs(ctx, &adminapi.WhereIsRequest{ReadOptions: options, Type: typ, Key: args[1]})
				if err != nil {
					return err
				}
				return a.show(e, func(p *page) { p.fields(entryFields(e)...) })
			})
		},
	}
	read.add(cmd)
	return cmd
}

func entryFields(e adminapi.Entry) [][2]string {
	return [][2]string{
		{"type", e.Type},
		{"key", e.Key},
		{"location", first(e.Location, "-")},
		{"owner node", first(e.OwnerNode, "-")},
		{"metadata", first(joinPairs(e.Metadata), "-")},
		{"revision", strconv.FormatUint(e.Revision, 10)},
		{"created", stamp(e.Created)},
		{"updated", stamp(e.Updated)},
		{"registered by", e.Principal.String()},
	}
}

// joinPairs is m on one line, in the order of its keys.
func joinPairs(m map[string]string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = append(list, key+"="+m[key])
	}
	return strings.Join(list, " ")
}

func newRegistryListCommand(a *app) *cobra.Command {
	var read readFlags
	var pages pageFlags
	var prefix string
	cmd := &cobra.Command{
		Use:   "ls TYPE",
		Short: "List what is registered under a type, in the order of the keys",
		Example: `  mcpraft registry ls tool
  mcpraft registry ls resource --prefix file:///srv/ --limit 20`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeEntryTypes,
		RunE: func(cmd *cobra.Command, args []string) error {
			typ, err := entryType(args[0])
			if err != nil {
				return err
			}
			options, err := read.options(cmd)
			if err != nil {
				return err
			}
			r := &adminapi.EntriesRequest{ReadOptions: options, Type: typ, Prefix: prefix, After: pages.after, Limit: pages.limit}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				list, _, err := c.Entries(ctx, r)
				if err != nil {
					return err
				}
				return a.showPage(list.Next, list, func(p *page) {
					var rows [][]string
					for _, e := range list.Items {
						rows = append(rows, []string{e.Key, e.Location, e.OwnerNode, strconv.FormatUint(e.Revision, 10), ago(e.Updated)})
					}
					p.table([]string{"KEY", "LOCATION", "OWNER", "REVISION", "UPDATED"}, rows)
				})
			})
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only keys that begin with this `TEXT`")
	pages.add(cmd, "KEY")
	read.add(cmd)
	return cmd
}
