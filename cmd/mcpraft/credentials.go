package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// maxSecretFile bounds what is read of a file that holds a secret.
const maxSecretFile = 16 << 10

func newCredentialsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "credentials",
		GroupID: groupUse,
		Short:   "What MCP servers are shown in place of the clients' tokens",
		Long: `Credentials that the cluster shows to MCP servers: a header with a fixed value, or
access tokens by the OAuth client credentials grant. Secrets are sealed under the
cluster's keys and cannot be read again. One node fetches an access token for all.`,
		Example: `  mcpraft credentials add tracker --value-file key.txt --header X-Api-Key
  mcpraft upstreams add tracker https://tracker.example/mcp --credential tracker`,
	}
	cmd.AddCommand(newCredentialsAddCommand(a), newCredentialsListCommand(a), newCredentialsShowCommand(a), newCredentialsRemoveCommand(a))
	return cmd
}

func newCredentialsAddCommand(a *app) *cobra.Command {
	var spec adminapi.CredentialSpec
	var valueFile, secretFile string
	var ifRevision uint64
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a credential, or replace one",
		Long: `Add a credential under a name: 1 to 63 of a-z, 0-9 and "-". A name that is taken is a
conflict, unless --if-revision names its current revision: then it is replaced as a
whole.

With --value-file it is a header with what the file holds, as it is: for Authorization
the file holds "Bearer …", too. With --token-url it is access tokens: --client-id and
--client-secret-file say who asks for them. "-" as a file is standard input. White
space around a secret is no part of it.`,
		Example: `  mcpraft credentials add tracker --header X-Api-Key --value-file key.txt
  mcpraft credentials add crm --token-url https://id.example/token --client-id gateway \
      --client-secret-file secret.txt --scope crm.read --resource https://crm.example/
  pass show crm | mcpraft credentials add crm --value-file -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := credentialKind(cmd, &spec, valueFile, secretFile)
			if err != nil {
				return err
			}
			secret, err := readSecret(cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			r := &adminapi.PutCredentialRequest{Name: args[0], NewCredential: adminapi.NewCredential{CredentialSpec: spec, Secret: secret}}
			r.IfMatch = ifRevision
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				receipt, info, err := c.PutCredential(ctx, r)
				if err != nil {
					return err
				}
				done := credentialChange{args[0], changeOf(receipt, info)}
				return a.show(done, func(p *page) {
					p.line("saved credential %s  revision %d  index %d", args[0], done.Revision, done.Index)
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&spec.Header, "header", "", "`NAME` of the header that carries it (default Authorization)")
	f.StringVar(&valueFile, "value-file", "", "`FILE` that holds the header's value")
	f.StringVar(&spec.TokenURL, "token-url", "", "OAuth: `URL` where access tokens are asked for")
	f.StringVar(&spec.ClientID, "client-id", "", "OAuth: `ID` of the gateway there")
	f.StringVar(&secretFile, "client-secret-file", "", "OAuth: `FILE` that holds the gateway's secret there")
	f.StringArrayVar(&spec.Scopes, "scope", nil, "OAuth: `SCOPE` to ask for; may be given again")
	f.StringVar(&spec.Resource, "resource", "", "OAuth: `URL` of the MCP server that the tokens are for")
	f.Uint64Var(&ifRevision, "if-revision", 0, "replace the credential, if it has this `REVISION`")
	return cmd
}

// A credentialChange is the answer of a change of one credential.
type credentialChange struct {
	Name string `json:"name"`
	change
}

// credentialKind tells from the flags which kind is meant, and in which file its
// secret is.
func credentialKind(cmd *cobra.Command, spec *adminapi.CredentialSpec, valueFile, secretFile string) (file string, err error) {
	switch {
	case valueFile != "" && (spec.TokenURL != "" || secretFile != ""):
		return "", usageError(cmd, fmt.Errorf("--value-file goes not with --token-url and --client-secret-file"))
	case valueFile != "":
		spec.Kind = record.CredentialHeader
		return valueFile, nil
	case spec.TokenURL == "":
		return "", usageError(cmd, fmt.Errorf("a credential needs --value-file, or --token-url"))
	case spec.ClientID == "" || secretFile == "":
		return "", usageError(cmd, fmt.Errorf("--token-url needs --client-id and --client-secret-file"))
	}
	spec.Kind = record.CredentialOAuth
	return secretFile, nil
}

// readSecret reads a secret from file, or from in for "-".
func readSecret(in io.Reader, file string) (string, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", fault.New(fault.NotFound, "the secret cannot be read: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := readUpTo(in, maxSecretFile)
	if err != nil {
		return "", fmt.Errorf("the secret cannot be read: %w", err)
	}
	if len(data) > maxSecretFile {
		return "", fault.New(fault.TooLarge, "%s has more than %d bytes, too many for a secret", file, maxSecretFile)
	}
	return strings.TrimSpace(string(data)), nil
}

func newCredentialsListCommand(a *app) *cobra.Command {
	var read readFlags
	var pages pageFlags
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the credentials, without their secrets",
		Example: `  mcpraft credentials ls -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := read.options(cmd)
			if err != nil {
				return err
			}
			r := &adminapi.CredentialsRequest{ReadOptions: options, After: pages.after, Limit: pages.limit}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				list, _, err := c.Credentials(ctx, r)
				if err != nil {
					return err
				}
				return a.showPage(list.Next, list, func(p *page) {
					var rows [][]string
					for _, c := range list.Items {
						rows = append(rows, []string{
							c.Name, c.Kind, first(c.Header, "Authorization"), first(c.TokenURL, "-"), tokenState(c),
							ago(c.Updated), strconv.FormatUint(c.Revision, 10),
						})
					}
					p.table([]string{"NAME", "KIND", "HEADER", "TOKEN URL", "ACCESS TOKEN", "UPDATED", "REVISION"}, rows)
				})
			})
		},
	}
	pages.add(cmd, "NAME")
	read.add(cmd)
	return cmd
}

// tokenState says how long the newest access token is used.
func tokenState(c adminapi.Credential) string {
	switch {
	case c.Kind != record.CredentialOAuth:
		return "-"
	case c.TokenExpires == 0:
		return "none yet"
	}
	return "until " + stamp(c.TokenExpires)
}

func newCredentialsShowCommand(a *app) *cobra.Command {
	var read readFlags
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show one credential, without its secret",
		Example: `  mcpraft credentials show tracker`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := read.options(cmd)
			if err != nil {
				return err
			}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				found, _, err := c.Credential(ctx, &adminapi.CredentialRequest{ReadOptions: options, Name: args[0]})
				if err != nil {
					return err
				}
				return a.show(found, func(p *page) { p.fields(credentialFields(found)...) })
			})
		},
	}
	read.add(cmd)
	return cmd
}

func credentialFields(c adminapi.Credential) [][2]string {
	fields := [][2]string{{"name", c.Name}, {"kind", c.Kind}, {"header", first(c.Header, "Authorization")}}
	if c.Kind == record.CredentialOAuth {
		fields = append(fields, [][2]string{
			{"token url", c.TokenURL},
			{"client id", c.ClientID},
			{"scopes", first(strings.Join(c.Scopes, " "), "-")},
			{"resource", first(c.Resource, "-")},
			{"access token", tokenState(c)},
		}...)
	}
	return append(fields, [][2]string{
		{"created", stamp(c.Created)}, {"updated", stamp(c.Updated)}, {"revision", strconv.FormatUint(c.Revision, 10)},
	}...)
}

func newCredentialsRemoveCommand(a *app) *cobra.Command {
	var ifRevision uint64
	cmd := &cobra.Command{
		Use:     "rm NAME",
		Short:   "Remove a credential that no MCP server is shown",
		Example: `  mcpraft credentials rm tracker`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := &adminapi.RemoveCredentialRequest{WriteOptions: onceKey(), Name: args[0]}
			r.IfMatch = ifRevision
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				receipt, info, err := c.RemoveCredential(ctx, r)
				if err != nil {
					return err
				}
				done := credentialChange{args[0], changeOf(receipt, info)}
				return a.show(done, func(p *page) { p.line("removed credential %s  index %d", args[0], done.Index) })
			})
		},
	}
	cmd.Flags().Uint64Var(&ifRevision, "if-revision", 0, "only if the credential has this `REVISION`")
	return cmd
}
