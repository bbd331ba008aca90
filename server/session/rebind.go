package session

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// RecordID is the id of the record that a session's id, as its client sends it,
// is that of; false if it has not the form of one. It proves nothing.
func RecordID(id string) (string, bool) {
	if _, ok := parseSessionID(id); !ok {
		return "", false
	}
	return id[:recordIDLen], true
}

// Rebind is Bind for who knows no more of a session than its id as the client
// sends it. It is no request of the session and does not count as activity.
func (s *Sessions) Rebind(ctx context.Context, id string, b record.Binding) error {
	l := s.known(id)
	if l == nil {
		var err error
		if l, err = s.find(ctx, id); err != nil {
			return err
		}
	}
	return s.Bind(ctx, l, b)
}
