package server

import (
	"path/filepath"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/archive"
)

// backups work on the destination of this node. Drills use the data directory's
// disk, which is as large as what they restore.
func (s *Server) backups(self record.Principal) *archive.Backups {
	return archive.New(archive.Config{
		Options: s.c.Backup,
		Replica: s.node,
		Actor:   self,
		Node:    s.c.Node.Node,
		Process: s.node.Status().Process,
		Creator: s.c.Node.Node + " mcpraft " + s.c.Node.Binary,
		Scratch: filepath.Join(s.c.Node.Dir, "spool"),
	})
}
