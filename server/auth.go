package server

import (
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/auth"
)

// buildAuth makes what knows callers, and keeps it current: it follows the
// changes of this replica, and the leader keeps the key ring.
func (s *Server) buildAuth(self record.Principal) (err error) {
	s.auth, err = auth.New(auth.Config{
		Options:    s.c.Auth,
		Replica:    s.node,
		Actor:      self,
		Registerer: s.registry,
		Logger:     s.log,
	})
	if err != nil {
		return err
	}
	s.node.Watch(s.auth.Changed)
	s.node.Duty("key ring", s.auth.Rotation().Run)
	return nil
}
