package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
)

// configFlags say where a configuration is: every command that reads one takes
// them.
type configFlags struct {
	files []string
	set   []string
}

func (f *configFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.files, "config", "c", nil, "configuration `FILE`; may be repeated, a later one covers an earlier one")
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "set one `KEY=VALUE`, as in log.level=debug; may be repeated, covers files and environment")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
}

// load reads the configuration as a node on this machine would: files, then the
// environment, then --set. More files may come as arguments.
func (f *configFlags) load(a *app, args ...string) (*config.Loaded, error) {
	return config.Load(config.Layers{Files: slices.Concat(f.files, args), Environ: a.environ(), Set: f.set})
}

func newConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		GroupID: groupRepair,
		Short:   "Check and show the configuration of a node",
		Long: `Check and show the configuration of a node.

A configuration is YAML. Sources, each covering the ones before it: defaults,
every --config FILE in its order, variables MCPRAFT_SECTION__KEY
(MCPRAFT_LISTEN__MCP__ADDR sets listen.mcp.addr), --set KEY=VALUE.`,
		Example: `  mcpraft config example > mcpraft.yaml
  mcpraft config validate mcpraft.yaml
  mcpraft config show --config mcpraft.yaml --origin`,
	}
	cmd.AddCommand(newConfigValidateCommand(a), newConfigShowCommand(a), newConfigSchemaCommand(a), newConfigExampleCommand(a))
	return cmd
}

func newConfigValidateCommand(a *app) *cobra.Command {
	var flags configFlags
	var skipFiles bool
	cmd := &cobra.Command{
		Use:   "validate [FILE...]",
		Short: "Check a configuration and the files that it names",
		Long: `Check a configuration with everything a node checks when it starts: keys,
values, how they fit together, and the certificates and tokens it names. Every
mistake is reported at once, with its place. The exit code is 2 if there is one.`,
		Example: `  mcpraft config validate /etc/mcpraft/mcpraft.yaml
  mcpraft config validate --skip-files node-2.yaml   # written on another machine`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			loaded, err := flags.load(a, args...)
			if err != nil {
				return err
			}
			if !skipFiles {
				if err := loaded.CheckFiles(); err != nil {
					return err
				}
			}
			c := &loaded.Config
			result := struct {
				Valid   bool   `json:"valid"`
				Node    string `json:"node"`
				Cluster string `json:"cluster"`
			}{true, c.Node.Name, c.Cluster.Name}
			return a.show(result, func(p *page) {
				p.line("valid: node %s of cluster %s", c.Node.Name, c.Cluster.Name)
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&skipFiles, "skip-files", false, "do not look at the certificates and tokens that it names")
	return cmd
}

func newConfigShowCommand(a *app) *cobra.Command {
	var flags configFlags
	var origin bool
	cmd := &cobra.Command{
		Use:   "show [FILE...]",
		Short: "Show the configuration that a node would run with",
		Long: `Show the configuration that a node on this machine would run with. With
--origin every value stands beside its source. Secrets are in files and stay
there: of such a file only the first digits of its hash are shown.`,
		Example: `  mcpraft config show --config /etc/mcpraft/mcpraft.yaml
  mcpraft config show mcpraft.yaml --origin
  mcpraft config show mcpraft.yaml -o json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			loaded, err := flags.load(a, args...)
			if err != nil {
				return err
			}
			if origin {
				return a.showOrigins(loaded)
			}
			text, err := encodeJSON(loaded.Config)
			if err != nil {
				return err
			}
			if text, err = yamlOf(text); err != nil {
				return err
			}
			return a.show(loaded.Config, func(p *page) { p.block(string(text)) })
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&origin, "origin", false, "list every value with where it came from")
	return cmd
}

// showOrigins lists every value with its source.
func (a *app) showOrigins(loaded *config.Loaded) error {
	type setting struct {
		Key         string `json:"key"`
		Value       string `json:"value"`
		Origin      string `json:"origin"`
		Layer       string `json:"layer"`
		Fingerprint string `json:"fingerprint,omitempty"`
	}
	var all []setting
	var rows [][]string
	for _, s := range loaded.Settings() {
		all = append(all, setting{s.Path, s.Value, s.Origin.String(), string(s.Origin.Layer), s.Fingerprint})
		value := s.Value
		if s.Fingerprint != "" {
			value += " (" + s.Fingerprint + ")"
		}
		rows = append(rows, []string{s.Path, value, s.Origin.String()})
	}
	return a.show(all, func(p *page) { p.table([]string{"KEY", "VALUE", "ORIGIN"}, rows) })
}

func newConfigSchemaCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration, for editors",
		Example: `  mcpraft config schema > mcpraft.schema.json
  # then, as the first line of mcpraft.yaml:
  # yaml-language-server: $schema=./mcpraft.schema.json`,
		RunE: func(*cobra.Command, []string) error {
			schema, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(schema)
			return err
		},
	}
}

func newConfigExampleCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "example",
		Short:   "Print a configuration with every key, its meaning and its default",
		Example: `  mcpraft config example > mcpraft.yaml`,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.stdout.Write(config.Example())
			return err
		},
	}
}

// block writes text of several lines that ends in a line break.
func (p *page) block(text string) {
	p.line("%s", escapeLines(strings.TrimSuffix(text, "\n")))
}
