package server

import (
	"errors"
	"math"
	"time"

	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// statusOf is a node's account of itself as the admin API shows it.
func statusOf(node *raftnode.Node, binary string, started time.Time) adminapi.Status {
	s := node.Status()
	status := adminapi.Status{
		Node:           s.Node,
		ClusterName:    s.Cluster,
		ClusterVersion: s.ClusterVersion,
		Role:           s.Role,
		Leader:         s.Leader,
		Term:           s.Term,
		Applied:        s.AppliedIndex,
		Committed:      s.CommitIndex,
		FirstLog:       s.FirstIndex,
		LastLog:        s.LastIndex,
		Durable:        s.DurableIndex,
		Revision:       s.Revision,
		LogTime:        adminapi.TimeOf(s.LogTime.Time()),
		Digest:         s.Digest.String(),
		Staleness:      -1,
		Ready:          s.Ready,
		DiskBytes:      node.Storage().DiskBytes,
		Version:        binary,
		Started:        adminapi.TimeOf(started),
		Disk:           s.Disk.String(),
		Process:        s.Process.String(),
		Alarms:         alarmTexts(s.Alarms),
	}
	if !s.ClusterID.IsZero() {
		status.ClusterID = s.ClusterID.String()
	}
	if s.Staleness != math.MaxInt64 {
		status.Staleness = adminapi.DurationOf(s.Staleness + time.Millisecond - 1)
	}
	return status
}

func alarmTexts(alarms []raftnode.Alarm) []string {
	var list []string
	for _, a := range alarms {
		list = append(list, a.Name+": "+a.Message)
	}
	return list
}

// Checks are the parts of a health probe; see admin.Observer.
func (s *Server) Checks(probe string) []adminapi.Check {
	health := s.node.Health()
	switch probe {
	case adminapi.Livez:
		return []adminapi.Check{check("process", s.fatalError()), check("node", health.Live)}
	case adminapi.Startupz:
		c := check("started", s.ready())
		c.OK = s.wasReady.Load() || c.OK
		return []adminapi.Check{c}
	default:
		drain := adminapi.Check{Name: "accepting", OK: !s.draining.Load()}
		if !drain.OK {
			drain.Detail = "this node is stopping"
		}
		return []adminapi.Check{drain, check("node", health.Live), check("replica", health.Ready), check("keys", s.auth.Keys().Err()), check("catalogue", s.catalog.Err())}
	}
}

// ready is why this node should be given no traffic; nil if it should.
func (s *Server) ready() error {
	if err := s.node.Health().Ready; err != nil {
		return err
	}
	return errors.Join(s.auth.Keys().Err(), s.catalog.Err())
}

// DigestChecks are the newest logged checks of the digest; see admin.Observer.
func (s *Server) DigestChecks() []adminapi.DigestCheck {
	var list []adminapi.DigestCheck
	for _, c := range s.node.DigestChecks() {
		list = append(list, adminapi.DigestCheck{Index: c.Index, Digest: c.Digest.String()})
	}
	return list
}

func check(name string, err error) adminapi.Check {
	if err == nil {
		return adminapi.Check{Name: name, OK: true}
	}
	return adminapi.Check{Name: name, Detail: err.Error()}
}
