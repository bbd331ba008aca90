package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

func newKeysCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keys",
		GroupID: groupRepair,
		Short:   "Key files, and the keys that the cluster makes with them",
		Long: `Key files, and the keys that the cluster makes with them.

A key file (auth.key_file) is made once and given to every node. It protects the
cluster's own keys, which are part of its state: those sign session ids and seal
secrets. The leader makes and replaces them; nobody ever sees them.`,
		Example: `  mcpraft keys generate /etc/mcpraft/keys
  mcpraft keys rotate`,
	}
	cmd.AddCommand(newKeysGenerateCommand(a), newKeysRotateCommand(a))
	return cmd
}

func newKeysGenerateCommand(a *app) *cobra.Command {
	cipher, add := seal.AESGCM.String(), false
	cmd := &cobra.Command{
		Use:   "generate FILE",
		Short: "Make a key file",
		Long: `Make a key file with one new key, readable by its owner alone. Who has it can read
what it protects, and without it nobody can: keep a copy in another place.

With --add the key is added to a file that exists, and is used from then on; the
old ones still open what was sealed with them. Give the new file to every node
before you restart the first.`,
		Example: `  mcpraft keys generate /etc/mcpraft/keys
  mcpraft keys generate /etc/mcpraft/keys --add`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := newKey(args[0], cipher, add)
			if err != nil {
				return err
			}
			made := struct {
				File    string `json:"file"`
				Key     string `json:"key"`
				Cipher  string `json:"cipher"`
				Created string `json:"created"`
			}{args[0], key.ID().String(), key.Cipher().String(), key.Created().Format(time.RFC3339)}
			return a.show(made, func(p *page) {
				p.fields([2]string{"file", made.File}, [2]string{"key", made.Key}, [2]string{"cipher", made.Cipher})
			})
		},
	}
	cmd.Flags().StringVar(&cipher, "cipher", cipher, "what it seals by: aes_gcm or chacha20_poly1305")
	cmd.Flags().BoolVar(&add, "add", false, "add the key to a file that exists")
	_ = cmd.RegisterFlagCompletionFunc("cipher", cobra.FixedCompletions(
		[]string{seal.AESGCM.String(), seal.ChaCha20Poly1305.String()}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// newKey makes a key in the file of that name, which exists only if add is set.
func newKey(file, cipher string, add bool) (seal.Key, error) {
	c, err := seal.ParseCipher(cipher)
	if err != nil {
		return seal.Key{}, err
	}
	_, err = os.Stat(file)
	switch {
	case err == nil && !add:
		return seal.Key{}, fault.New(fault.Conflict, "%s exists already", file).WithHint("--add adds a key to it")
	case errors.Is(err, fs.ErrNotExist) && add:
		return seal.Key{}, fault.New(fault.NotFound, "%s does not exist", file).WithHint("leave --add out to make it")
	}
	key, err := c.NewKey()
	if err != nil {
		return seal.Key{}, err
	}
	return key, seal.AddToKeyFile(file, key)
}

func newKeysRotateCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "Replace the cluster's own keys now",
		Long: `Replace the cluster's own keys without waiting for their time, 90 days. Every node
knows the new one before it is used, a minute later; the old one verifies and opens
for a week more. API tokens stay valid.`,
		Example: `  mcpraft keys rotate`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				receipt, info, err := c.RotateKeys(ctx, &adminapi.RotateKeysRequest{})
				if err != nil {
					return err
				}
				done := changeOf(receipt, info)
				return a.show(done, func(p *page) {
					p.line("rotation begun: the new key is used a minute from now  revision %d  index %d", done.Revision, done.Index)
				})
			})
		},
	}
}
