package session

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
)

// RecordID is the id of the record that a session's id, as its client sends it,
// is that of; false if it has not the form of one. It proves nothing.
func RecordID(id string) (string, bool) {
	if _, ok := parseSessionID(id); !ok {
		return "", false
	}
	return id[:recordIDLen], true
}

// NewID makes the id of a record for a Draft, so that what is opened for a session
// before it is committed already bears its name.
func NewID() string { return newRecordID() }

// Rebind is Bind for who knows no more of a session than the id of its record. It
// is no request of the session and does not count as activity.
func (s *Sessions) Rebind(ctx context.Context, recordID string, b record.Binding) error {
	l, err := s.load(ctx, recordID, "", raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return err
	}
	if l == nil {
		return errNoSession()
	}
	return s.Bind(ctx, l, b)
}
