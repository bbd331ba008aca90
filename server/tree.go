package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/internal/supervise"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// supervision builds the tree. Strategies follow what the parts share: those of
// core hold views of the same state and restart together; the others stand alone.
// A supervisor without parts is where the work of its name belongs.
func (s *Server) supervision() *supervise.Supervisor {
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mcpraft_worker_failures_total",
		Help: "Failures of parts of the supervision tree, by path; restarted says whether the part was started again.",
	}, []string{"worker", "restarted"})
	s.registry.MustRegister(failures)
	o := supervise.Options{Logger: s.log, Failed: func(f supervise.Failure) {
		failures.WithLabelValues(f.Path, boolText(f.Restarts)).Inc()
	}}
	one := func(name string) *supervise.Supervisor { return supervise.New(name, supervise.OneForOne, o) }

	registry := one("registry")
	registry.Add("readiness", s.watchReadiness, supervise.Permanent)
	callers := one("auth")
	callers.Add("keys", s.auth.Run, supervise.Permanent)
	sessions := one("sessions")
	sessions.Add("activity", s.activity.Run, supervise.Permanent)
	sessions.Add("streams", s.sessions.Run, supervise.Permanent)
	children := one("processes")
	children.Add("lease", s.placement.Run, supervise.Permanent)
	children.Add("commands", func(ctx context.Context) error { return s.commands.watch(ctx, s.node.Announce) }, supervise.Permanent)
	core := supervise.New("core", supervise.OneForAll, o)
	core.AddSupervisor(registry)
	core.AddSupervisor(callers)
	core.AddSupervisor(sessions)
	resources := one("resources")
	resources.Add("catalogue", s.catalog.Run, supervise.Permanent)
	core.AddSupervisor(resources)

	transport := one("transport")
	transport.AddSupervisor(children)
	transport.Add("admin", s.admin.serve, supervise.Permanent)
	transport.Add("mcp", s.mcp.serve, supervise.Permanent)
	transport.Add("revocations", s.front.Run, supervise.Permanent)

	root := one("mcpraft")
	root.AddSupervisor(core)
	root.AddSupervisor(one("observability"))
	root.AddSupervisor(one("validation"))
	root.AddSupervisor(transport) // last, so that it stops first
	return root
}

// readinessInterval is how often a change of readiness is looked for.
const readinessInterval = time.Second

// watchReadiness notes when start-up is over, and logs each time that this node
// becomes ready or stops being so, with the reason.
func (s *Server) watchReadiness(ctx context.Context) error {
	tick := time.NewTicker(readinessInterval)
	defer tick.Stop()
	ready := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		err := s.ready()
		if now := err == nil; now != ready {
			ready = now
			if ready {
				s.wasReady.Store(true)
				s.log.Info("ready")
			} else {
				s.log.Warn("not ready", "reason", err.Error())
			}
		}
	}
}

func (s *Server) workers() adminapi.Worker { return workerOf(s.tree.Tree()) }

func workerOf(n supervise.Node) adminapi.Worker {
	w := adminapi.Worker{
		Name:        n.Name,
		Strategy:    string(n.Strategy),
		State:       string(n.State),
		Restarts:    uint64(n.Restarts),
		LastFailure: n.LastError,
		Since:       adminapi.TimeOf(n.Since),
	}
	for _, child := range n.Children {
		w.Children = append(w.Children, workerOf(child))
	}
	return w
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
