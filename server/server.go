package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/process"
	"github.com/mcpraft/mcpraft/internal/supervise"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/admin"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/archive"
	"github.com/mcpraft/mcpraft/server/auth"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/credential"
	"github.com/mcpraft/mcpraft/server/front"
	"github.com/mcpraft/mcpraft/server/placement"
	"github.com/mcpraft/mcpraft/server/router"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// ErrFatal marks the error of a Run that ended because this process must not go
// on. The process should exit with a code that says so; a supervisor of the
// operating system may start it again.
var ErrFatal = errors.New("this process must not go on")

// abandonNode is how long a stop after a fatal error waits for the node: it may
// hang on the very disk that failed.
const abandonNode = 5 * time.Second

// A Server is one process. New opens the node, Run serves until its context ends.
type Server struct {
	c              Config
	log            *slog.Logger
	started        time.Time
	registry       *prometheus.Registry
	node           *raftnode.Node
	activity       *session.Activity
	auth           *auth.Auth
	credentials    *credential.Credentials
	sessionMetrics *session.Metrics
	sessions       *session.Sessions
	commands       *commands
	placement      *placement.Placement
	processes      *process.Runner
	upstreams      *upstream.Upstreams
	catalog        *catalog.Catalog
	router         *router.Router
	front          *front.Front
	archiver       *archive.Archiver
	api            *admin.API
	tree           *supervise.Supervisor
	admin          *port
	mcp            *port

	draining atomic.Bool
	wasReady atomic.Bool // at any time: start-up is over
	once     sync.Once   // guards failure
	failure  error       // why this process must not go on
	failed   chan struct{}
}

// New checks c, opens the node and builds what runs on top of it. ctx bounds this
// only. When it fails it has closed the listeners of c and all else that was
// opened; when it succeeds, Run must be called.
func New(ctx context.Context, c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, errors.Join(fault.New(fault.Invalid, "server configuration: %w", err), c.close())
	}
	c = c.withDefaults()
	limitMemory(c.MemoryLimit, c.Logger)
	s := &Server{
		c:        c,
		log:      c.Logger,
		started:  time.Now(),
		registry: prometheus.NewRegistry(),
		failed:   make(chan struct{}),
	}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.commands = newCommands(c.Gateway.Commands)
	c.Node.Commands = s.commands.names
	c.Node.Fatal = s.fatal
	c.Node.Metrics = raftnode.NewMetrics(s.registry)
	c.Node.Logger = c.Logger
	var floor *archive.Floor
	if c.Backup.PITR.Enabled {
		floor = archive.NewFloor(c.Backup.PITR)
		c.Node.ArchiveFloor = floor.Index
	}
	node, err := raftnode.Start(ctx, c.Node)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	s.node = node
	if floor != nil {
		floor.Attach(node, node)
	}
	if err := s.build(); err != nil {
		return nil, errors.Join(err, node.Close(), c.close())
	}
	return s, nil
}

// close frees the listeners of a server that is never run.
func (c *Config) close() error {
	var errs []error
	if c.Admin != nil {
		errs = append(errs, c.Admin.Close())
	}
	if c.MCP != nil {
		errs = append(errs, c.MCP.Close())
	}
	return errors.Join(errs...)
}

// build makes everything above the node; it starts nothing but the leader's
// duties, which the node runs.
func (s *Server) build() (err error) {
	self := record.Principal{Issuer: "node", Subject: s.c.Node.Node}
	s.sessionMetrics = session.NewMetrics(s.registry)
	s.activity = session.NewActivity(session.ActivityConfig{Proposer: s.node, Actor: self, Logger: s.log})
	if s.c.Seed != nil {
		sow := &seed{node: s.node, actor: self, name: s.c.Node.Node, process: s.node.Status().Process, settings: *s.c.Seed}
		s.node.Duty("seed", sow.run)
	}
	s.registry.MustRegister(newCollector(s.node, s.c.Node.Binary, s.started))
	if err := s.buildAuth(self); err != nil {
		return err
	}
	s.buildCredentials(self)
	if err := s.buildGateway(self); err != nil {
		return err
	}
	s.buildArchive(self)
	s.api, err = admin.New(admin.Config{
		Replica:       s.node,
		Membership:    membership{s.node},
		Observer:      s,
		Workers:       s.workers,
		Authenticator: s.auth.Admin(),
		Credentials:   s.auth,
		Sealer:        s.credentials,
		Backups:       s.archiver.Backups,
		Archive:       s.archiver,
		Upstreams:     s.upstreams,
		Registerer:    s.registry,
		Gatherer:      s.registry,
		Logger:        s.log,
	})
	if err != nil {
		return err
	}
	s.admin = newPort("admin", s.c.Admin, s.c.AdminTLS, http1, s.newAdminServer, s.log)
	s.mcp = newPort("mcp", s.c.MCP, s.c.MCPTLS, http2, func() httpServer { return s.front.Server() }, s.log)
	s.tree = s.supervision()
	return nil
}

// Ready waits until the node takes reads, writes and MCP, ctx ends or Run is over.
// It may be called while Run runs.
func (s *Server) Ready(ctx context.Context) error {
	if err := s.node.Ready(ctx); err != nil {
		return err
	}
	if err := s.auth.Keys().Ready(ctx); err != nil {
		return err
	}
	s.wasReady.Store(true)
	return nil
}

// Status is what the node knows of itself; it asks nobody.
func (s *Server) Status() adminapi.Status {
	status := statusOf(s.node, s.c.Node.Binary, s.started)
	status.Messages = s.front.RecentMessages()
	return status
}

// Run serves until ctx ends and then stops in the order that the package comment
// gives. It returns nil after such a stop, an error that is ErrFatal when the node
// failed, and that of the supervision tree when it gave up. It is called once.
func (s *Server) Run(ctx context.Context) error {
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var ports sync.WaitGroup
	ports.Go(func() { s.admin.accept(base) })
	ports.Go(func() { s.mcp.accept(base) })
	// Beside the tree: what they end, a restart could not begin again.
	ports.Go(func() { _ = s.upstreams.Run(base) })
	ports.Go(func() { _ = s.processes.Run(base) })
	var treeErr error
	tree := make(chan struct{})
	go func() { // waited for below, through tree
		defer close(tree)
		treeErr = s.tree.Run(base)
	}()
	select {
	case <-ctx.Done():
		s.log.Info("stopping", "drain", s.c.Drain.String())
		s.drain()
	case <-s.failed:
	case <-tree:
	}
	stop()
	<-tree
	ports.Wait()
	return errors.Join(s.fatalError(), treeErr, s.closeNode())
}

// drain finishes what was taken and takes nothing new.
func (s *Server) drain() {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), s.c.Drain)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { s.admin.drain(ctx) })
	wg.Go(func() { s.drainGateway(ctx) })
	wg.Go(func() { s.api.Shutdown(ctx) })
	wg.Wait()
}

// fatal is the node's word that this process must not go on.
func (s *Server) fatal(err error) {
	s.once.Do(func() {
		s.failure = fmt.Errorf("%w: %w", ErrFatal, err)
		s.log.Error("fatal", "err", err)
		close(s.failed)
	})
}

func (s *Server) fatalError() error {
	select {
	case <-s.failed:
		return s.failure
	default:
		return nil
	}
}

// closeNode closes the node. After a fatal error that may take for ever, so it is
// left behind then: the process ends.
func (s *Server) closeNode() error {
	closed := make(chan error, 1)
	go func() { closed <- s.node.Close() }()
	if s.fatalError() == nil {
		return <-closed
	}
	select {
	case err := <-closed:
		return err
	case <-time.After(abandonNode):
		s.log.Error("the node does not close; leaving it behind", "after", abandonNode.String())
		return nil
	}
}
