package recovery

import (
	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/snapshot"
)

// StateOf describes what v shows, for a snapshot or a backup of it.
func StateOf(v *fsm.View) (snapshot.State, error) {
	sessions, err := v.SessionCount(0)
	if err != nil {
		return snapshot.State{}, err
	}
	meta := v.Meta()
	s := snapshot.State{
		Cluster: meta.ClusterID, ClusterName: meta.ClusterName, Timeline: meta.Timeline,
		Index: meta.Index, Term: meta.Term, LogTime: meta.LogTime, Digest: snapshot.Digest(meta.Digest),
		Counts: map[string]uint64{"sessions": sessions},
	}
	s.At = s.LogTime.Time()
	return s, s.Validate()
}
