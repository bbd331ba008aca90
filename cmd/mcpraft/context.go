package main

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// defaultAddr is the admin API of a node on this machine.
const defaultAddr = "127.0.0.1:7441"

// A target is the cluster that a command talks to.
type target struct {
	Addresses []string
	Token     string
	CAFile    string
	MCP       []string // base URLs of MCP ports; empty: ask the cluster
	Context   string   // the context that any of it came from; "" for none
}

// target finds out which cluster is meant: flag over environment over context
// over default, for the address and for the token.
//
// The token of a context goes only where the context says, or to the address
// given beside --context: a token that followed any --addr would be handed to
// whoever listens there.
func (a *app) target() (target, error) {
	saved, err := a.loadContexts()
	if err != nil {
		return target{}, err
	}
	var t target
	named := first(a.flags.context, a.getenv("MCPRAFT_CONTEXT"))
	if t.Context = first(named, saved.Current); t.Context != "" {
		c, err := saved.get(t.Context)
		if err != nil {
			return target{}, err
		}
		t.Addresses, t.Token, t.CAFile, t.MCP = c.Addresses, c.Token, c.CAFile, c.MCP
	}
	if addr := first(a.flags.addr, a.getenv("MCPRAFT_ADDR")); addr != "" {
		given := strings.Split(addr, ",")
		if named == "" && !within(t.Addresses, given) {
			t = target{}
		}
		t.Addresses = given
	}
	if token := first(a.flags.token, a.getenv("MCPRAFT_TOKEN")); token != "" {
		t.Token = token
	}
	if given := a.getenv("MCPRAFT_MCP_ADDR"); given != "" {
		t.MCP = strings.Split(given, ",")
	}
	if len(t.Addresses) == 0 {
		t.Addresses = []string{defaultAddr}
	}
	return t, nil
}

// first is the first of values that is not empty, or "".
func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// within reports whether every address of some is one of all, whatever their
// spelling.
func within(all, some []string) bool {
	return !slices.ContainsFunc(some, func(addr string) bool {
		return !slices.ContainsFunc(all, func(known string) bool { return bareAddr(known) == bareAddr(addr) })
	})
}

func bareAddr(addr string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(addr), "http://"), "/")
}

func newContextCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "context",
		GroupID: groupUse,
		Short:   "Choose the cluster that commands talk to",
		Long: `A context is how to reach one cluster: the addresses of its admin APIs and a
token. A command takes each of them from its flags, else from MCPRAFT_ADDR and
MCPRAFT_TOKEN, else from the context (--context, MCPRAFT_CONTEXT, or the one in
use), else from the default, ` + defaultAddr + ` without a token.

mcpraft dev saves the context "dev" by itself.`,
		Example: `  mcpraft context ls
  mcpraft context add prod --addr https://node-1.example:7441,https://node-2.example:7441 --token-file token
  mcpraft context use prod`,
	}
	cmd.AddCommand(newContextListCommand(a), newContextShowCommand(a), newContextUseCommand(a),
		newContextAddCommand(a), newContextRemoveCommand(a))
	return cmd
}

// A contextView is a context as it is shown: without its token.
type contextView struct {
	Name      string   `json:"name"`
	Current   bool     `json:"current"`
	Addresses []string `json:"addresses"`
	Token     string   `json:"token"` // "saved" or "none"
	CAFile    string   `json:"ca_file,omitempty"`
	MCP       []string `json:"mcp,omitempty"`
}

func (c *contexts) view(name string) contextView {
	saved := c.Saved[name]
	v := contextView{Name: name, Current: name == c.Current, Addresses: saved.Addresses, Token: "none", CAFile: saved.CAFile, MCP: saved.MCP}
	if saved.Token != "" {
		v.Token = "saved"
	}
	return v
}

func newContextListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the saved contexts",
		Example: `  mcpraft context ls`,
		RunE: func(*cobra.Command, []string) error {
			saved, err := a.loadContexts()
			if err != nil {
				return err
			}
			views := []contextView{}
			for _, name := range saved.names() {
				views = append(views, saved.view(name))
			}
			return a.show(views, func(p *page) {
				if len(views) == 0 {
					a.note("no contexts are saved; mcpraft dev saves one, mcpraft context add another")
					return
				}
				var rows [][]string
				for _, v := range views {
					rows = append(rows, []string{v.Name, mark(v.Current, "in use"), strings.Join(v.Addresses, ","), v.Token})
				}
				p.table([]string{"NAME", "CURRENT", "ADDRESSES", "TOKEN"}, rows)
			})
		},
	}
}

// mark is word when on, else nothing: for columns that matter in few rows.
func mark(on bool, word string) string {
	if on {
		return word
	}
	return ""
}

func newContextShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show one context, by default the one in use",
		Example: `  mcpraft context show
  mcpraft context show dev -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			saved, err := a.loadContexts()
			if err != nil {
				return err
			}
			name := first(append(args, a.flags.context, a.getenv("MCPRAFT_CONTEXT"), saved.Current)...)
			if name == "" {
				return fault.New(fault.NotFound, "no context is in use").
					WithHint("mcpraft context ls lists the saved ones, mcpraft context use NAME chooses one")
			}
			if _, err := saved.get(name); err != nil {
				return err
			}
			v := saved.view(name)
			return a.show(v, func(p *page) {
				p.fields([2]string{"name", v.Name},
					[2]string{"current", yesNo(v.Current)},
					[2]string{"addresses", strings.Join(v.Addresses, ", ")},
					[2]string{"mcp", first(strings.Join(v.MCP, ", "), "as the nodes announce")},
					[2]string{"token", v.Token},
					[2]string{"ca file", first(v.CAFile, "the system's certificates")},
					[2]string{"file", saved.path})
			})
		},
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func newContextUseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Make a context the one that commands use",
		Example:           `  mcpraft context use dev`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			saved, err := a.loadContexts()
			if err != nil {
				return err
			}
			if _, err := saved.get(args[0]); err != nil {
				return err
			}
			saved.Current = args[0]
			if err := saved.save(); err != nil {
				return err
			}
			return a.show(saved.view(args[0]), func(p *page) { p.line("using context %s", args[0]) })
		},
	}
}

func newContextAddCommand(a *app) *cobra.Command {
	var tokenFile, caFile string
	var ports []string
	cmd := &cobra.Command{
		Use:   "add NAME --addr HOST:PORT[,HOST:PORT…]",
		Short: "Save a context, or replace the one of that name",
		Long: `Save how to reach a cluster. The addresses are those of --addr, the token is
read from a file ("-" is standard input) so that it never stands on a command
line. The first context that is saved becomes the one in use.

MCP clients are given the addresses of MCP ports that the nodes announce, or those
of --mcp: the load balancer in front of them.`,
		Example: `  mcpraft context add prod --addr https://node-1.example:7441 --token-file token --ca-file ca.crt
  mcpraft context add prod --addr https://node-1.example:7441 --mcp https://mcp.example --token-file token`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if a.flags.addr == "" {
				return fault.New(fault.Invalid, "a context needs an address").
					WithHint("add --addr HOST:PORT, the admin API of a node (several, separated by commas, if you can)")
			}
			c := savedContext{Addresses: strings.Split(a.flags.addr, ","), Token: a.flags.token, CAFile: caFile, MCP: ports}
			if tokenFile != "" {
				token, err := a.readToken(tokenFile)
				if err != nil {
					return err
				}
				c.Token = token
			}
			saved, err := a.loadContexts()
			if err != nil {
				return err
			}
			saved.Saved[args[0]] = c
			saved.Current = first(saved.Current, args[0])
			if err := saved.save(); err != nil {
				return err
			}
			return a.show(saved.view(args[0]), func(p *page) { p.line("saved context %s", args[0]) })
		},
	}
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "`FILE` with the bearer token, - for standard input")
	cmd.Flags().StringSliceVar(&ports, "mcp", nil, "base `URL` for MCP clients, such as that of a load balancer; may be given again")
	cmd.Flags().StringVar(&caFile, "ca-file", "", "`FILE` with the certificates to trust, for https addresses")
	return cmd
}

// maxTokenBytes bounds a bearer token.
const maxTokenBytes = 16 << 10

// readToken reads a token from a file or, for "-", from standard input; white
// space around it is not part of it.
func (a *app) readToken(path string) (string, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = readUpTo(a.stdin, maxTokenBytes)
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fault.New(fault.Invalid, "the token cannot be read: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(token) > maxTokenBytes {
		return "", fault.New(fault.Invalid, "the token from %s has %d characters, want 1 to %d", path, len(token), maxTokenBytes)
	}
	return token, nil
}

func newContextRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rm NAME",
		Short:             "Forget a context and its token",
		Example:           `  mcpraft context rm old`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			saved, err := a.loadContexts()
			if err != nil {
				return err
			}
			if _, err := saved.get(args[0]); err != nil {
				return err
			}
			v := saved.view(args[0])
			delete(saved.Saved, args[0])
			if v.Current {
				saved.Current = ""
			}
			if err := saved.save(); err != nil {
				return err
			}
			return a.show(v, func(p *page) { p.line("forgot context %s", args[0]) })
		},
	}
}

// completeContexts offers the names of the saved contexts to the shell.
func (a *app) completeContexts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	saved, err := a.loadContexts()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return saved.names(), cobra.ShellCompDirectiveNoFileComp
}
