package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server"
)

func newServerCommand(a *app) *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:     "server",
		GroupID: groupRun,
		Short:   "Run a node",
		Long: `Run a node until it is told to stop. It checks its configuration as "config
validate" does, joins or forms its cluster, and logs to standard error.

SIGTERM or Ctrl-C stops it in order: it takes nothing new, finishes what it took
within shutdown.drain, hands over leadership. A second one ends it at once.`,
		Example: `  mcpraft server --config /etc/mcpraft/mcpraft.yaml
  mcpraft server -c mcpraft.yaml --set log.level=debug
  MCPRAFT_LISTEN__PEER__ADVERTISE=node-2:7442 mcpraft server -c mcpraft.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := flags.load(a)
			if err != nil {
				return err
			}
			if err := loaded.CheckFiles(); err != nil {
				return err
			}
			return a.serve(cmd.Context(), loaded)
		},
	}
	flags.add(cmd)
	return cmd
}

// serve runs the node that loaded describes until ctx ends.
func (a *app) serve(ctx context.Context, loaded *config.Loaded) error {
	log := a.logger(&loaded.Config)
	c, err := serverConfig(loaded, log)
	if err != nil {
		return err
	}
	s, err := server.New(ctx, c)
	if err != nil {
		return err
	}
	waiting, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if s.Ready(waiting) == nil {
			log.Info("serving", "mcp", loaded.Config.MCPAddr(), "admin", loaded.Config.AdminAddr(), "peer", loaded.Config.PeerAddr())
		}
	})
	err = s.Run(ctx)
	stop()
	wg.Wait()
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// logger writes to standard error in the form that c asks for.
func (a *app) logger(c *config.Config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		level = slog.LevelInfo // the configuration knows the four words
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewJSONHandler(a.stderr, options)
	if c.Log.Format == "text" || c.Log.Format == "auto" && isTerminal(a.stderr) {
		handler = slog.NewTextHandler(a.stderr, options)
	}
	return slog.New(handler).With("self", c.Node.Name) // "node" is the other one in a line about two
}

// serverConfig opens the ports and reads the secrets that loaded names. After an
// error no port is left open.
func serverConfig(loaded *config.Loaded, log *slog.Logger) (_ server.Config, err error) {
	c := &loaded.Config
	ports := ports{loaded: loaded}
	defer func() {
		if err != nil {
			err = errors.Join(err, ports.close())
		}
	}()
	credentials, err := peerCredentials(c)
	if err != nil {
		return server.Config{}, err
	}
	options, err := authOptions(c, log)
	if err != nil {
		return server.Config{}, err
	}
	adminTLS, err := serverTLS(c, c.Listen.Admin, log)
	if err != nil {
		return server.Config{}, err
	}
	mcpTLS, err := serverTLS(c, c.Listen.MCP, log)
	if err != nil {
		return server.Config{}, err
	}
	backup, err := backupOptions(&c.Backup)
	backup.PITR = c.PITR.Options()
	if err != nil {
		return server.Config{}, err
	}
	result := server.Config{
		Node:     nodeConfig(c, credentials),
		AdminTLS: adminTLS,
		MCPTLS:   mcpTLS,
		Auth:     options,
		Gateway:  gatewayConfig(c, log),
		Backup:   backup,
		Seed:     new(c.Sessions.Settings()),
		Drain:    c.Shutdown.Drain.Std(),
		Logger:   log,
	}
	result.Node.Listener = ports.open("listen.peer", c.Listen.Peer.Addr)
	result.Admin = ports.open("listen.admin", c.Listen.Admin.Addr)
	result.MCP = ports.open("listen.mcp", c.Listen.MCP.Addr)
	return result, ports.err
}

func nodeConfig(c *config.Config, credentials *peer.Credentials) raftnode.Config {
	timing := raftnode.Fast
	if c.Cluster.Profile == "relaxed" {
		timing = raftnode.Relaxed
	}
	return raftnode.Config{
		Node:                c.Node.Name,
		Cluster:             c.Cluster.Name,
		Dir:                 c.Node.DataDir,
		Credentials:         credentials,
		PeerAddr:            c.PeerAddr(),
		AdminAddr:           c.AdminAddr(),
		MCPAddr:             c.MCPAddr(),
		Binary:              thisBuild().Version,
		BootstrapExpect:     c.Cluster.BootstrapExpect,
		Join:                c.Cluster.Join,
		Replica:             c.Cluster.NonVoter,
		Timing:              timing,
		CacheBytes:          c.Storage.Cache.Bytes(),
		MemTableBytes:       c.Storage.MemTable.Bytes(),
		BallastBytes:        c.Storage.Ballast.Bytes(),
		ScrubBytesPerSecond: c.Storage.Scrub.Bytes(),
		SnapshotEntries:     uint64(c.Storage.SnapshotEntries),
		TrailingLogs:        uint64(c.Storage.TrailingLogs),
	}
}

func gatewayConfig(c *config.Config, log *slog.Logger) server.Gateway {
	return server.Gateway{
		Commands:            newCommandBook(&c.Upstreams, log).now,
		Reaper:              reaper(log),
		Origins:             c.MCP.AllowedOrigins,
		Requests:            c.MCP.MaxRequests,
		StreamsPerPrincipal: c.MCP.StreamsPerPrincipal,
		RequestTimeout:      c.MCP.RequestTimeout.Std(),
		AllowPrivate:        c.Upstreams.AllowPrivate,
		Secrets:             c.UpstreamSecrets(),
	}
}

// peerCredentials are those of the peer port's profile. Without one the node is
// alone on loopback, as the configuration made sure of: then nobody needs to
// trust what it uses, and an authority that ends with the process will do.
func peerCredentials(c *config.Config) (*peer.Credentials, error) {
	if c.Listen.Peer.TLS != "" {
		p := c.TLS.Profiles[c.Listen.Peer.TLS]
		return peer.LoadCredentials(p.CertFile, p.KeyFile, p.CAFile)
	}
	ca, err := peer.MakeCA(c.Cluster.Name)
	if err != nil {
		return nil, err
	}
	pair, err := ca.Issue(c.Node.Name, nil, 0)
	if err != nil {
		return nil, err
	}
	return peer.NewCredentials(pair, ca.Pair().Cert)
}

// serverTLS is nil for a listener in plain text.
func serverTLS(c *config.Config, l config.Listener, log *slog.Logger) (*tls.Config, error) {
	profile, ok := c.TLS.Profiles[l.TLS]
	if !ok {
		return nil, nil
	}
	keeper, err := newCertificateKeeper(profile.CertFile, profile.KeyFile, log)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: keeper.get}, nil
}

// ports opens listeners until one fails.
type ports struct {
	loaded *config.Loaded
	opened []net.Listener
	err    error
}

// open listens at addr, which the configuration gives under key+".addr". After
// the first failure it does nothing.
func (p *ports) open(key, addr string) net.Listener {
	if p.err != nil {
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		path := key + ".addr"
		p.err = fault.New(fault.Conflict, "%s: the port cannot be opened: %w", path, err).
			WithHint("stop what uses it, or change %s (from %s); mcpraft doctor looks at all ports", path, p.loaded.Origin(path))
		return nil
	}
	p.opened = append(p.opened, l)
	return l
}

func (p *ports) close() error {
	var errs []error
	for _, l := range p.opened {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
