package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/process"
	"github.com/mcpraft/mcpraft/server/front"
	"github.com/mcpraft/mcpraft/server/placement"
	"github.com/mcpraft/mcpraft/server/router"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// Gateway is what a node's configuration says of the message plane. The zero
// value is that of a node that was told nothing.
type Gateway struct {
	Origins             []string // pages that may call, as scheme://host[:port]
	Requests            int      // of clients at once; 0: front.DefaultRequests
	StreamsPerPrincipal int      // of one caller at once; 0: front.DefaultStreamsPerPrincipal

	RequestTimeout time.Duration              // of a request to an upstream; 0: upstream.DefaultTimeout
	AllowPrivate   bool                       // upstreams may be at private and loopback addresses
	Secrets        map[string]upstream.Secret // credentials for upstreams, by the name that their records use

	// Commands are what this node can run as stdio upstreams, by name. It is called
	// every second, and should be quick when nothing has changed. Nil: none.
	Commands func() map[string]process.Command
	Reaper   []string // argv of a program that runs process.Reap; see there
}

// Validate reports every mistake in g.
func (g *Gateway) Validate() error {
	var errs []error
	for _, origin := range g.Origins {
		if _, err := front.ParseOrigin(origin); err != nil {
			errs = append(errs, err)
		}
	}
	if g.Requests < 0 || g.StreamsPerPrincipal < 0 {
		errs = append(errs, fmt.Errorf("gateway: %d requests and %d streams are negative", g.Requests, g.StreamsPerPrincipal))
	}
	if g.RequestTimeout < 0 {
		errs = append(errs, fmt.Errorf("gateway: request timeout %v is negative", g.RequestTimeout))
	}
	_, err := upstream.NewSecrets(g.Secrets)
	return errors.Join(append(errs, err)...)
}

// buildGateway makes the message plane from the outside in: front, router,
// sessions, upstreams.
func (s *Server) buildGateway(self record.Principal) error {
	g := s.c.Gateway
	secrets, err := upstream.NewSecrets(g.Secrets)
	if err != nil {
		return err
	}
	budget := newMessageBudget(s.registry)
	recipes := newRecipes(s.node)
	s.node.Watch(recipes.changed)
	s.sessions = session.New(session.Config{
		Node:     s.node,
		Self:     s.c.Node.Node,
		Actor:    self,
		Keys:     s.auth.Keys(),
		Sealer:   s.auth.Keys(),
		Ended:    func(r *record.Session) { s.upstreams.Release(r.ID) },
		Activity: s.activity,
		Metrics:  s.sessionMetrics,
		Logger:   s.log,
	})
	s.placement = placement.New(placement.Config{
		Node:    s.node,
		Self:    s.c.Node.Node,
		Process: s.node.Status().Process,
		Actor:   self,
		Logger:  s.log,
	})
	s.processes = process.NewRunner(process.Config{Reaper: g.Reaper, Logger: s.log})
	s.upstreams = upstream.New(upstream.Config{
		Children: upstream.Children{
			Self:    s.c.Node.Node,
			Claims:  s.placement,
			Changes: s.placement.Changes(),
			Peers:   s.node,
			Runner:  s.processes,
			Command: s.commands.get,
		},
		Lookup:       recipes.get,
		Rebound:      s.rebound,
		Secrets:      secrets,
		Credentials:  shownToUpstreams{s.credentials},
		AllowPrivate: g.AllowPrivate,
		Budget:       budget,
		Timeout:      g.RequestTimeout,
		Version:      s.c.Node.Binary,
		Metrics:      upstream.NewMetrics(s.registry),
		Logger:       s.log,
	})
	s.registry.MustRegister(s.upstreams.Collector())
	s.buildCatalog(self)
	expiry := session.NewExpiry(session.ExpiryConfig{
		Replica: s.node, Actor: self, Metrics: s.sessionMetrics, Sealer: s.auth.Keys(), LetGo: s.letGo,
	})
	s.node.Duty("session expiry", expiry.Run)
	s.router = router.New(router.Config{
		Sessions:  router.FromSessions(s.sessions),
		Upstreams: s.upstreams,
		Catalog:   s.catalog,
		Lookup:    recipes.get,
		Version:   s.c.Node.Binary,
		Logger:    s.log,
	})
	s.front, err = front.New(front.Config{
		Handler:             s.router,
		Authenticator:       s.auth,
		Budget:              budget,
		Loopback:            isLoopback(s.c.MCP.Addr()),
		Origins:             g.Origins,
		Challenge:           s.auth.Challenge,
		Metadata:            s.auth.Metadata(),
		Requests:            g.Requests,
		StreamsPerPrincipal: g.StreamsPerPrincipal,
		Registerer:          s.registry,
		Logger:              s.log,
	})
	if err != nil {
		return err
	}
	s.auth.Watch(s.front.Recheck)
	return nil
}

// letGo ends what a session that has ended held at upstreams; the leader does that
// for all nodes.
func (s *Server) letGo(ctx context.Context, l *session.Live) {
	held, err := l.Bindings()
	if err != nil {
		s.log.Warn("what an ended session held at upstreams is not known, and is left to them", "err", err)
		return
	}
	for i := range held {
		s.upstreams.Close(ctx, held[i].Alias, upstream.Caller{
			Principal: l.Record.Principal, Session: l.Record.ID, Binding: &held[i],
		})
	}
}

// reboundLimit is how long a call waits until the session's record has the new
// session of the upstream.
const reboundLimit = 5 * time.Second

// rebound writes down what a session now holds at an upstream. If that fails the
// upstream session is found lost at the next node, and opened once more.
func (s *Server) rebound(id string, now record.Binding) {
	ctx, cancel := context.WithTimeout(context.Background(), reboundLimit)
	defer cancel()
	if err := s.sessions.Rebind(ctx, id, now); err != nil {
		s.log.Warn("the new upstream session of a session is not in its record", "upstream", now.Alias, "err", err)
	}
}

// handOver is the part of the drain that is kept for sessions to hand over what
// clients may still come for.
const handOver = 4 * time.Second

// drainGateway ends the message plane: no new connections, streams go to other
// nodes, and so do clients after the answer that they are given next; what is left
// is finished until ctx ends.
func (s *Server) drainGateway(ctx context.Context) {
	s.mcp.refuse()
	s.front.LetGo()
	s.router.Drain()
	calls, cancel := context.WithTimeout(ctx, max(s.c.Drain-handOver, s.c.Drain/2))
	defer cancel()
	s.placement.Leave()
	s.sessions.Drain(calls)
	s.upstreams.Leave(ctx)
	s.front.EndStreams()
	s.mcp.drain(ctx)
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
