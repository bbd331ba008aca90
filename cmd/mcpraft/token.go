package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
)

func newTokenCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "token",
		GroupID: groupUse,
		Short:   "API tokens, and the token that commands are authorised with",
		Example: `  mcpraft token create ci --expires 30d
  mcpraft token ls
  mcpraft token revoke ci`,
	}
	cmd.AddCommand(newTokenCreateCommand(a), newTokenListCommand(a), newTokenRevokeCommand(a), newTokenShowCommand(a))
	return cmd
}

func newTokenShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print the token that commands use, for other programs",
		Long: `Print the token that a command would send: of --token, else MCPRAFT_TOKEN, else
the context. It is a secret: whoever has it may do what you may do.`,
		Example: `  mcpraft token show --context dev
  curl -H "Authorization: Bearer $(mcpraft token show)" http://127.0.0.1:7441/v1/status`,
		RunE: func(*cobra.Command, []string) error {
			t, err := a.target()
			if err != nil {
				return err
			}
			if t.Token == "" {
				return fault.New(fault.NotFound, "there is no token for %s", t.Addresses[0]).
					WithHint("mcpraft dev saves one in the context \"dev\"; mcpraft context add saves yours; or set MCPRAFT_TOKEN")
			}
			view := struct {
				Context string `json:"context,omitempty"`
				Token   string `json:"token"`
			}{t.Context, t.Token}
			return a.show(view, func(p *page) { p.line("%s", t.Token) })
		},
	}
}

// readUpTo reads r to its end, or limit bytes and one more, which tells the
// caller that there was too much.
func readUpTo(r io.Reader, limit int64) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, limit+1))
}
