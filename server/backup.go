package server

import (
	"path/filepath"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/archive"
)

// buildArchive makes what works on the destination of this node, and lets it archive
// the log while the node leads. Drills use the data directory's disk, which is as
// large as what they restore.
func (s *Server) buildArchive(self record.Principal) {
	backups := archive.New(archive.Config{
		Options: s.c.Backup,
		Replica: s.node,
		Actor:   self,
		Node:    s.c.Node.Node,
		Process: s.node.Status().Process,
		Creator: s.c.Node.Node + " mcpraft " + s.c.Node.Binary,
		Scratch: filepath.Join(s.c.Node.Dir, "spool"),
	})
	s.archiver = archive.NewArchiver(backups, archive.ArchiverConfig{
		Log: s.node, Peers: s.node, Alarms: s.node,
		Metrics: archive.NewMetrics(s.registry), Logger: s.log,
	})
	s.registry.MustRegister(s.archiver)
	if s.c.Backup.Store != nil {
		s.node.Duty("backup", s.archiver.BackUp)
		s.node.Duty("verify", s.archiver.Check)
	}
	if !s.c.Backup.PITR.Enabled {
		return
	}
	s.node.Duty("archive", s.archiver.Run)
	s.node.Duty("base", s.archiver.Rebase)
}
