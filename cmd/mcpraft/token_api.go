package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/auth"
)

func newTokenCreateCommand(a *app) *cobra.Command {
	var spec adminapi.TokenSpec
	var user string
	var ifRevision uint64
	expires := config.Duration(adminapi.DefaultTokenTTL.Duration())
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an API token, and print it once",
		Long: `Make an API token under a name and print it: the cluster keeps a hash, so nobody can
print it again. It is for MCP clients; with --admin its holder may do what you may.

A name that is taken is a conflict, unless --if-revision names its current revision:
then the token gets a new secret and the old one ends.`,
		Example: `  mcpraft token create ci
  mcpraft token create alice-laptop --for alice --expires 30d
  mcpraft token create deploy --admin -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name, spec.User = args[0], principalOf(user)
			spec.TTL = adminapi.DurationOf(expires.Std())
			r := &adminapi.CreateTokenRequest{WriteOptions: adminapi.WriteOptions{IfMatch: ifRevision}, TokenSpec: spec}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				created, _, err := c.CreateToken(ctx, r)
				if err != nil {
					return err
				}
				a.note("token %s expires %s; it is shown this once", created.Name, stamp(created.Expires))
				return a.show(created, func(p *page) { p.line("%s", created.Token) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&user, "for", "", "who its holder is: `SUBJECT`, or ISSUER#SUBJECT as a JWT would say (default: NAME)")
	f.BoolVar(&spec.Admin, "admin", false, "let it use the admin API: its holder may do what you may")
	f.TextVar(&expires, "expires", expires, "how long it is valid, 1s to 366d")
	f.StringVar(&spec.ClientID, "client", "", "`ID` of the client that uses it")
	f.StringArrayVar(&spec.Scopes, "scope", nil, "`SCOPE` that it has; may be given again")
	f.Uint64Var(&ifRevision, "if-revision", 0, "give the token of that name a new secret, if it has this `REVISION`")
	return cmd
}

// principalOf is the principal that --for names, nil for none.
func principalOf(user string) *adminapi.Principal {
	if user == "" {
		return nil
	}
	issuer, subject, ok := strings.Cut(user, "#")
	if !ok {
		return &adminapi.Principal{Issuer: auth.TokenIssuer, Subject: user}
	}
	return &adminapi.Principal{Issuer: issuer, Subject: subject}
}

func newTokenListCommand(a *app) *cobra.Command {
	var read readFlags
	var pages pageFlags
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the API tokens, without their secrets",
		Example: `  mcpraft token ls
  mcpraft token ls -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := read.options(cmd)
			if err != nil {
				return err
			}
			r := &adminapi.TokensRequest{ReadOptions: options, After: pages.after, Limit: pages.limit}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				list, _, err := c.Tokens(ctx, r)
				if err != nil {
					return err
				}
				return a.showPage(list.Next, list, func(p *page) {
					var rows [][]string
					for _, t := range list.Items {
						rows = append(rows, []string{
							t.Name, t.User.String(), mark(t.Admin, "admin"), strings.Join(t.Scopes, " "), t.ClientID,
							ago(t.Created), expiry(t.Expires), strconv.FormatUint(t.Revision, 10),
						})
					}
					p.table([]string{"NAME", "FOR", "MAY", "SCOPES", "CLIENT", "AGE", "EXPIRES", "REVISION"}, rows)
				})
			})
		},
	}
	pages.add(cmd, "NAME")
	read.add(cmd)
	return cmd
}

// expiry is when t is, for a table.
func expiry(t adminapi.Time) string {
	switch {
	case t == 0:
		return "never"
	case time.Now().After(t.Time()):
		return "expired"
	}
	return t.Time().Format(time.DateOnly)
}

func newTokenRevokeCommand(a *app) *cobra.Command {
	var ifRevision uint64
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Revoke an API token",
		Long: `Revoke an API token. Every node refuses it as soon as it has applied the change,
which takes milliseconds.`,
		Example: `  mcpraft token revoke ci`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := &adminapi.RevokeTokenRequest{WriteOptions: onceKey(), Name: args[0]}
			r.IfMatch = ifRevision
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				receipt, info, err := c.RevokeToken(ctx, r)
				if err != nil {
					return err
				}
				done := struct {
					Name string `json:"name"`
					change
				}{args[0], changeOf(receipt, info)}
				return a.show(done, func(p *page) { p.line("revoked token %s  index %d", args[0], done.Index) })
			})
		},
	}
	cmd.Flags().Uint64Var(&ifRevision, "if-revision", 0, "only if the token has this `REVISION`")
	return cmd
}
