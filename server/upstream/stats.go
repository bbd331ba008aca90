package upstream

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"syscall"
)

// Stats is how this node stands with one upstream at one moment.
type Stats struct {
	Alias       string
	Era         string // "modern", "legacy", "legacy sse", or "" if it has not been probed
	Size        int    // of the pool
	MaxOverflow int
	InUse       int    // calls inside
	Waiting     int    // calls that wait for a place
	Refused     uint64 // calls that waited in vain, since the record last changed
	Connections int    // open, in use or idle
	Sessions    int    // upstream sessions that are kept
	Listeners   int
}

// Stats are those of the upstreams that this node has used, by alias.
func (u *Upstreams) Stats() []Stats {
	var list []Stats
	for _, up := range u.all() {
		list = append(list, up.stats())
	}
	slices.SortFunc(list, func(a, b Stats) int { return cmp.Compare(a.Alias, b.Alias) })
	return list
}

func (up *upstream) stats() Stats {
	s := Stats{
		Alias: up.rec.Alias, Size: up.gate.size, MaxOverflow: up.gate.overflow,
		InUse: int(up.gate.inside.Load()), Waiting: int(up.gate.waiting.Load()), Refused: up.gate.refused.Load(),
	}
	switch e := up.era.Load(); {
	case e == nil:
	case e.modern:
		s.Era = "modern"
	case e.sse:
		s.Era = "legacy sse"
	default:
		s.Era = "legacy"
	}
	if c, ok := up.carrier.(*netCarrier); ok {
		s.Connections = int(c.open.Load())
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	s.Sessions, s.Listeners = len(up.sessions), len(up.listeners)
	return s
}

// dialReason says why a connection was not made, in words that give no address
// away.
func dialReason(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "its name does not resolve"
		}
		return "its name cannot be resolved at the moment"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to it"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "no answer to the connection attempt"
	}
	return "no connection"
}
