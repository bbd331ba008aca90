package supervise

import "time"

// A Node is a part of the tree as it was at one moment, for operators.
type Node struct {
	Name      string
	Strategy  Strategy // of a supervisor, "" for others
	Lifetime  Lifetime
	State     State
	Since     time.Time // of State
	Restarts  int       // since the process started
	LastError string    // newest failure; "" if there was none
	Workers   int       // of a group: how many run
	Limit     int       // of a group: how many may; 0 for others
	Children  []Node    // of a supervisor, in the order of their start
}

// Tree is a snapshot of s and everything below it. Any goroutine may call it.
func (s *Supervisor) Tree() Node {
	s.mu.Lock()
	n := Node{Name: s.name, Strategy: s.strategy, Lifetime: Permanent, State: Stopped, Since: s.since}
	if s.running {
		n.State = Running
	}
	parts := s.parts
	s.mu.Unlock()
	for _, p := range parts {
		n.Children = append(n.Children, p.node())
	}
	return n
}

func (p *part) node() Node {
	var n Node
	if p.child != nil {
		n = p.child.Tree()
	}
	if p.group != nil {
		n.Workers, n.Limit = p.group.Len(), p.group.limit
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n.Name, n.Lifetime, n.State, n.Since, n.Restarts = p.name, p.lifetime, p.state, p.since, p.restarts
	if p.last != nil {
		n.LastError = p.last.Error()
	}
	return n
}
