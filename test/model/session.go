package model

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// A SessionOp is what can be asked of one session.
type SessionOp uint8

const (
	Look   SessionOp = 1 // a linearizable read
	Create SessionOp = 2
	Move   SessionOp = 3 // to State, which is not initializing
	Touch  SessionOp = 4
	Expire SessionOp = 5 // if it was last active at Seen or before
)

// SessionIn is a request.
type SessionIn struct {
	Op    SessionOp
	State record.SessionState // of Move
	Seen  record.LogTime      // of Expire
}

func (in SessionIn) String() string {
	switch in.Op {
	case Look:
		return "look"
	case Create:
		return "create"
	case Move:
		return "make " + in.State.String()
	case Touch:
		return "touch"
	default:
		return fmt.Sprintf("expire if seen %s", clock(in.Seen))
	}
}

// SessionOut is an answer.
type SessionOut struct {
	Unknown  bool
	Kind     fault.Kind     // 0: accepted or found; else the rejection, NotFound of Look included
	Time     record.LogTime // of the accepted change
	Revision uint64         // found, or of the change; 0 when the session was left alone or touched
	Changed  bool           // of Touch and Expire: it did what was asked
	Latest   record.LogTime // log time cannot have been later when the request was answered

	// Of a session that was found:
	State      record.SessionState
	LastActive record.LogTime
	Ended      record.LogTime
	Reason     string
}

func (out SessionOut) String() string {
	switch {
	case out.Unknown:
		return "unknown"
	case out.Kind != 0:
		return out.Kind.String()
	case out.State == record.Dead:
		return fmt.Sprintf("dead @%d since %s (%s), last active %s", out.Revision, clock(out.Ended), out.Reason, clock(out.LastActive))
	case out.State != 0:
		return fmt.Sprintf("%v @%d, last active %s", out.State, out.Revision, clock(out.LastActive))
	case out.Revision == 0 && !out.Changed:
		return "left alone at " + clock(out.Time)
	default:
		return fmt.Sprintf("accepted @%d at %s", out.Revision, clock(out.Time))
	}
}

func clock(t record.LogTime) string { return t.Time().Format("04:05.000") }

// SessionHistory and SessionOperation are those of sessions.
type (
	SessionHistory   = History[SessionIn, SessionOut]
	SessionOperation = Operation[SessionIn, SessionOut]
)

// expired is the reason of a session that ended because it was idle.
const expired = "expired"

// SessionRules are the settings that the sessions of a history have lived under.
type SessionRules struct {
	TTL       time.Duration
	Tombstone time.Duration
	// Housekeeping: the cluster itself expires sessions and forgets tombstones,
	// which no operation of the history tells.
	Housekeeping bool
}

// CheckSessions checks that the history of each session is linearizable under
// the rules, for at most limit of real time per session: only legal transitions,
// no activity lost, and never an expiry within the TTL of the last activity.
func CheckSessions(ops []SessionOperation, r SessionRules, limit time.Duration) []Violation {
	return check(r.model(), ops, limit)
}

func (r SessionRules) model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{sessionState{}} },
		Step: func(state, input, output any) (next []any) {
			in, out := input.(SessionIn), output.(SessionOut)
			for _, s := range r.meanwhile(state.(sessionState), out.Latest) {
				for _, after := range r.step(s, in, out) {
					next = append(next, after)
				}
			}
			return next
		},
	}
	return m.ToModel()
}

// sessionState is one session.
type sessionState struct {
	state      record.SessionState // 0: there is none
	revision   uint64              // 0: nobody has seen it
	lastActive record.LogTime      // exact, unless touched
	touched    bool                // unknown requests may have moved lastActive on
	ended      record.LogTime      // not before
}

// meanwhile is what the cluster may have made of s by itself until latest.
func (r SessionRules) meanwhile(s sessionState, latest record.LogTime) []sessionState {
	all := []sessionState{s}
	if !r.Housekeeping {
		return all
	}
	if s.state.Live() && s.lastActive.Add(r.TTL) <= latest {
		s = sessionState{state: record.Dead, lastActive: s.lastActive, touched: s.touched, ended: s.lastActive.Add(r.TTL)}
		all = append(all, s)
	}
	if s.state == record.Dead && s.ended.Add(r.Tombstone) <= latest {
		all = append(all, sessionState{})
	}
	return all
}

// step is what s may be after it answered in with out; nothing when it cannot
// have answered so.
func (r SessionRules) step(s sessionState, in SessionIn, out SessionOut) []sessionState {
	if in.Op == Look {
		return r.look(s, out)
	}
	if out.Unknown {
		return append(r.change(s, in, out), s)
	}
	want := s.refusal(in)
	if out.Kind == fault.Quota && in.Op == Create {
		return []sessionState{s} // the other sessions of the principal are not told of here
	}
	if want != 0 || out.Kind != 0 {
		if want != out.Kind {
			return nil
		}
		return []sessionState{s}
	}
	return r.change(s, in, out)
}

// refusal is why in must be rejected, or 0.
func (s sessionState) refusal(in SessionIn) fault.Kind {
	switch {
	case in.Op == Create && s.state != 0:
		return fault.Conflict
	case in.Op == Move && s.state == 0:
		return fault.NotFound
	case in.Op == Move && !s.state.CanMove(in.State):
		return fault.Conflict
	}
	return 0
}

// look is s, better known.
func (r SessionRules) look(s sessionState, out SessionOut) []sessionState {
	if s.state == 0 || out.Kind != 0 {
		if s.state == 0 && out.Kind == fault.NotFound {
			return []sessionState{s}
		}
		return nil
	}
	exact := out.LastActive == s.lastActive || s.touched && out.LastActive > s.lastActive
	if out.State != s.state || s.revision != 0 && out.Revision != s.revision || !exact {
		return nil
	}
	if s.state == record.Dead && out.Ended < s.ended || out.Reason == expired && out.Ended < out.LastActive.Add(r.TTL) {
		return nil
	}
	return []sessionState{{state: s.state, revision: out.Revision, lastActive: out.LastActive, ended: out.Ended}}
}

// change is s after in, which it does not refuse, was accepted as out says.
func (r SessionRules) change(s sessionState, in SessionIn, out SessionOut) []sessionState {
	if s.refusal(in) != 0 || out.Revision != 0 && out.Revision <= s.revision {
		return nil
	}
	at := out.Time // 0 when the outcome is unknown
	switch in.Op {
	case Create:
		return []sessionState{{state: record.Active, revision: out.Revision, lastActive: at, touched: out.Unknown}}
	case Touch:
		return s.touch(out)
	case Expire:
		return r.expire(s, in, out)
	}
	next := sessionState{state: in.State, revision: out.Revision, lastActive: s.lastActive, touched: s.touched}
	switch in.State {
	case record.Dead:
		next.ended = max(at, s.lastActive)
	case record.Active:
		next.lastActive, next.touched = max(at, s.lastActive), out.Unknown
	}
	return []sessionState{next}
}

func (s sessionState) touch(out SessionOut) []sessionState {
	if out.Unknown {
		if !s.state.Live() {
			return nil
		}
		s.touched = true
		return []sessionState{s}
	}
	// What happened in the same entry of the log happened at the same time.
	if out.Changed && !s.state.Live() || !out.Changed && s.state.Live() && s.lastActive != out.Time {
		return nil
	}
	if out.Changed {
		s.lastActive, s.touched = out.Time, false
	}
	return []sessionState{s}
}

// expire ends s exactly when it has been idle for its TTL, as far as the request
// and the log know.
func (r SessionRules) expire(s sessionState, in SessionIn, out SessionOut) []sessionState {
	possible := s.state.Live() && s.lastActive <= in.Seen
	must := possible && !s.touched
	if !out.Unknown {
		due := in.Seen.Add(r.TTL) <= out.Time
		possible, must = possible && due, must && due
	}
	dead := sessionState{state: record.Dead, revision: out.Revision, lastActive: s.lastActive, touched: s.touched, ended: max(out.Time, s.lastActive.Add(r.TTL))}
	switch {
	case out.Unknown && possible, out.Changed && possible:
		return []sessionState{dead}
	case out.Unknown, out.Changed, must:
		return nil
	}
	return []sessionState{s}
}
