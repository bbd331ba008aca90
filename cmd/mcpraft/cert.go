package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// Names of the files of a certificate authority in its directory.
const (
	caCertFile = "ca.crt"
	caKeyFile  = "ca.key"
)

func newCertCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "Make the certificates that nodes know each other by",
		Long: `Make the certificates that nodes know each other by. Nodes talk over mutual TLS
only; a certificate proves the name of a cluster and of one node in it. These
commands work on files: no node is needed.

"cert init" makes an authority for a cluster, once. Its ca.crt goes to every
node; its ca.key goes to no node, keep it safe and offline. "cert issue" makes
the certificate and key of one node with it.`,
		Example: `  mcpraft cluster cert init --cluster prod --dir ./pki
  mcpraft cluster cert issue node-1 --dir ./pki --host node-1.example.org`,
	}
	cmd.AddCommand(newCertInitCommand(a), newCertIssueCommand(a))
	return cmd
}

// A certificate is what the two commands answer.
type certificate struct {
	Cluster  string `json:"cluster"`
	Node     string `json:"node,omitempty"`
	CertFile string `json:"cert_file"`
	KeyFile  string `json:"key_file"`
	CAFile   string `json:"ca_file,omitempty"`
	Expires  string `json:"expires"` // RFC 3339
}

func (a *app) showCertificate(c certificate, expires time.Time) error {
	c.Expires = expires.UTC().Format(time.RFC3339)
	return a.show(c, func(p *page) {
		pairs := [][2]string{{"cluster", c.Cluster}}
		if c.Node != "" {
			pairs = append(pairs, [2]string{"node", c.Node})
		}
		pairs = append(pairs, [2]string{"certificate", c.CertFile}, [2]string{"private key", c.KeyFile})
		if c.CAFile != "" {
			pairs = append(pairs, [2]string{"authority", c.CAFile})
		}
		p.fields(append(pairs, [2]string{"expires", expires.UTC().Format(time.DateOnly)})...)
	})
}

func newCertInitCommand(a *app) *cobra.Command {
	var cluster, dir string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a certificate authority for a cluster",
		Example: `  mcpraft cluster cert init --cluster prod
  mcpraft cluster cert init --cluster prod --dir ./pki`,
		RunE: func(*cobra.Command, []string) error {
			ca, err := peer.MakeCA(cluster)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			c := certificate{Cluster: cluster, CertFile: filepath.Join(dir, caCertFile), KeyFile: filepath.Join(dir, caKeyFile)}
			if err := ca.Pair().Write(c.CertFile, c.KeyFile, false); err != nil {
				return err
			}
			a.note("copy %s to every node; keep %s away from them", c.CertFile, c.KeyFile)
			return a.showCertificate(c, time.Now().Add(peer.CAValidity))
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", config.Default().Cluster.Name, "`NAME` of the cluster, as in cluster.name of the configuration")
	cmd.Flags().StringVar(&dir, "dir", ".", "`DIRECTORY` to write ca.crt and ca.key to")
	_ = cmd.MarkFlagDirname("dir")
	return cmd
}

func newCertIssueCommand(a *app) *cobra.Command {
	var dir, out string
	var hosts []string
	validity := config.Duration(peer.CertValidity)
	var replace bool
	cmd := &cobra.Command{
		Use:   "issue NODE",
		Short: "Make the certificate and key of one node",
		Long: `Make the certificate and key of one node. NODE is its name as in node.name of its
configuration. Between nodes only this name counts; add the hosts under which
clients reach the node if its MCP and admin ports use the same certificate.

A node reads its files again when they change: to renew a certificate, issue it
with --replace where the node looks for it.`,
		Example: `  mcpraft cluster cert issue node-1
  mcpraft cluster cert issue node-1 --dir ./pki --host node-1.example.org --host 10.0.0.1
  mcpraft cluster cert issue node-1 --valid 90d --replace`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ca, err := peer.LoadCA(filepath.Join(dir, caCertFile), filepath.Join(dir, caKeyFile))
			if errors.Is(err, fs.ErrNotExist) {
				return fault.New(fault.Invalid, "there is no certificate authority in %s", dir).
					WithHint("make one with mcpraft cluster cert init, or name its directory with --dir")
			}
			if err != nil {
				return err
			}
			pair, err := ca.Issue(args[0], hosts, validity.Std())
			if err != nil {
				return err
			}
			to := cmp.Or(out, dir)
			if err := os.MkdirAll(to, 0o700); err != nil {
				return err
			}
			c := certificate{
				Cluster: ca.Cluster(), Node: args[0], CAFile: filepath.Join(dir, caCertFile),
				CertFile: filepath.Join(to, args[0]+".crt"), KeyFile: filepath.Join(to, args[0]+".key"),
			}
			if err := pair.Write(c.CertFile, c.KeyFile, replace); err != nil {
				return err
			}
			credentials, err := peer.NewCredentials(pair, ca.Pair().Cert)
			if err != nil {
				return err
			}
			return a.showCertificate(c, credentials.Expiry())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "`DIRECTORY` of ca.crt and ca.key")
	cmd.Flags().StringVar(&out, "out", "", "`DIRECTORY` to write NODE.crt and NODE.key to; empty: that of the authority")
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "host `NAME` or address to put into the certificate; may be repeated")
	cmd.Flags().TextVar(&validity, "valid", validity, "how long it is valid, as in 90d")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace the node's files if they exist")
	_ = cmd.MarkFlagDirname("dir")
	_ = cmd.MarkFlagDirname("out")
	return cmd
}
