package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/snapshot"
)

// A saving says how a snapshot is saved.
type saving struct {
	keys        keyFlags
	compression string
	cipher      string
	stale       bool
}

func newSnapshotSaveCommand(a *app) *cobra.Command {
	s := saving{compression: seal.Zstd.String(), cipher: seal.AESGCM.String()}
	cmd := &cobra.Command{
		Use:   "save [FILE]",
		Short: "Save the whole state in a file, while the cluster runs",
		Long: `Save the whole state in a file, while the cluster runs. Any node sends it; it holds
every write that was acknowledged before the command began. --stale takes what the
node has, however old, and needs no leader: for the day on which there is none.

The file is written under another name, verified, and renamed last: a file that has
its name is whole. One that exists is never replaced. With --key-file it is encrypted
for the newest key of each file; any one of them opens it.`,
		Example: `  mcpraft snapshot save
  mcpraft snapshot save nightly.snapshot --key-file backup.keys --key-file escrow.keys
  mcpraft snapshot save --addr 10.0.0.2:7441 --stale -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			policy, err := s.policy(cmd)
			if err != nil {
				return err
			}
			path := ""
			if len(args) > 0 {
				path = args[0]
			}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				path, err := a.saveSnapshot(ctx, c, s.request(policy), policy, path)
				if err != nil {
					return err
				}
				info, err := inspectFile(path)
				if err != nil {
					return err
				}
				return a.show(info, func(p *page) {
					p.line("saved %s: cluster %s at index %d, digest %s", info.File, info.Cluster, info.Index, info.Digest)
				})
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&s.stale, "stale", false, "take the state of the node that answers, however old, without asking the leader")
	f.StringVar(&s.compression, "compression", s.compression, "zstd or none")
	f.StringVar(&s.cipher, "cipher", s.cipher, "with --key-file: aes_gcm or chacha20_poly1305")
	s.keys.add(cmd, "encrypt for the newest key of `FILE`; may be given again")
	_ = cmd.RegisterFlagCompletionFunc("compression", cobra.FixedCompletions([]string{"zstd", "none"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("cipher", cobra.FixedCompletions(
		[]string{seal.AESGCM.String(), seal.ChaCha20Poly1305.String()}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// policy is how the file is protected.
func (s *saving) policy(cmd *cobra.Command) (p seal.Policy, err error) {
	if p.Compression, err = seal.ParseCompression(s.compression); err != nil {
		return p, err
	}
	if len(s.keys.files) == 0 {
		if cmd.Flags().Changed("cipher") {
			return p, usageError(cmd, fmt.Errorf("--cipher needs --key-file"))
		}
		return p, nil
	}
	if p.Cipher, err = seal.ParseCipher(s.cipher); err != nil {
		return p, err
	}
	p.Ring, err = s.keys.ring()
	return p, err
}

// request asks for the file as it shall be, or in the clear if it is sealed here.
func (s *saving) request(p seal.Policy) *adminapi.SnapshotRequest {
	r := &adminapi.SnapshotRequest{Compression: p.Compression.String()}
	if s.stale {
		r.Consistency = adminapi.Any
	}
	return r
}

// saveSnapshot writes the file and returns its name.
func (a *app) saveSnapshot(ctx context.Context, c *adminapi.Client, r *adminapi.SnapshotRequest, p seal.Policy, path string) (string, error) {
	told := a.progress("saved")
	defer told.end()
	err := c.Snapshot(ctx, r, func(info adminapi.Info, body io.Reader) error {
		if path == "" {
			path = fmt.Sprintf("mcpraft-%s-%d.snapshot", time.Now().UTC().Format("20060102T150405Z"), info.Index)
		}
		body = io.TeeReader(body, told)
		_, err := snapshot.CreateFile(path, func(w io.Writer) error {
			if p.Cipher != seal.None {
				return snapshot.Reseal(w, body, p)
			}
			_, err := io.Copy(w, body)
			return err
		})
		return err
	})
	return path, err
}
