package model

import (
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

var rules = SessionRules{TTL: 2 * time.Second, Tombstone: 3 * time.Second, Housekeeping: true}

// at is a log time some seconds after the beginning.
func at(seconds float64) record.LogTime {
	return record.LogTimeAt(time.UnixMilli(int64(1000 * (seconds + 1000))))
}

// sessionAt is an accepted request, answered at once.
func sessionAt(seconds float64, op SessionOp, revision uint64) SessionOperation {
	return SessionOperation{In: SessionIn{Op: op}, Out: SessionOut{Time: at(seconds), Latest: at(seconds), Revision: revision, Changed: true}}
}

func moved(seconds float64, to record.SessionState, revision uint64) SessionOperation {
	o := sessionAt(seconds, Move, revision)
	o.In.State = to
	return o
}

func expiredAt(seconds, seen float64, revision uint64) SessionOperation {
	o := sessionAt(seconds, Expire, revision)
	o.In.Seen = at(seen)
	return o
}

func refused(o SessionOperation, kind fault.Kind) SessionOperation {
	o.Out = SessionOut{Kind: kind, Latest: o.Out.Latest}
	return o
}

func untold(o SessionOperation) SessionOperation {
	o.Out = SessionOut{Unknown: true, Latest: at(1e6)}
	return o
}

func leftAlone(o SessionOperation) SessionOperation {
	o.Out.Changed, o.Out.Revision = false, 0
	return o
}

func live(seconds, active float64, state record.SessionState, revision uint64) SessionOperation {
	return SessionOperation{In: SessionIn{Op: Look}, Out: SessionOut{Latest: at(seconds), State: state, LastActive: at(active), Revision: revision}}
}

func dead(seconds, active, ended float64, reason string, revision uint64) SessionOperation {
	o := live(seconds, active, record.Dead, revision)
	o.Out.Ended, o.Out.Reason = at(ended), reason
	return o
}

func gone(seconds float64) SessionOperation { return refused(live(seconds, 0, 0, 0), fault.NotFound) }

func lives(steps ...SessionOperation) []SessionOperation {
	for i := range steps {
		steps[i].Key, steps[i].Call, steps[i].Return = "s", int64(2*i), int64(2*i+1)
		if steps[i].Out.Unknown {
			steps[i].Return = Never
		}
	}
	return steps
}

func TestPossibleLivesOfSessionsAreAccepted(t *testing.T) {
	for name, ops := range map[string][]SessionOperation{
		"killed":                lives(gone(0), sessionAt(0, Create, 1), live(1, 0, record.Active, 1), moved(1, record.Dead, 2), dead(1, 0, 1, "", 2)),
		"suspended and back":    lives(sessionAt(0, Create, 1), moved(1, record.Suspended, 2), moved(1.5, record.Active, 3), live(1.6, 1.5, record.Active, 3)),
		"illegal moves":         lives(sessionAt(0, Create, 1), refused(moved(0.1, record.Active, 0), fault.Conflict), refused(sessionAt(0.2, Create, 0), fault.Conflict)),
		"kept by touches":       lives(sessionAt(0, Create, 1), sessionAt(1.5, Touch, 0), sessionAt(3, Touch, 0), live(4, 3, record.Active, 1)),
		"expired by a request":  lives(sessionAt(0, Create, 1), expiredAt(2, 0, 2), dead(2, 0, 2, "expired", 2)),
		"not yet idle":          lives(sessionAt(0, Create, 1), leftAlone(expiredAt(1.9, 0, 0)), live(1.9, 0, record.Active, 1)),
		"touched meanwhile":     lives(sessionAt(0, Create, 1), sessionAt(1, Touch, 0), leftAlone(expiredAt(2.5, 0, 0)), live(2.5, 1, record.Active, 1)),
		"expired by itself":     lives(sessionAt(0, Create, 1), dead(2.5, 0, 2.2, "expired", 7)),
		"forgotten, made again": lives(sessionAt(0, Create, 1), gone(5.1), sessionAt(6, Create, 9)),
		"touched, perhaps":      lives(sessionAt(0, Create, 1), untold(sessionAt(1, Touch, 0)), live(2.5, 1, record.Active, 1)),
		"not touched, perhaps":  lives(sessionAt(0, Create, 1), untold(sessionAt(1, Touch, 0)), live(1, 0, record.Active, 1)),
		"in the same entry":     lives(sessionAt(0, Create, 1), leftAlone(sessionAt(0, Touch, 0))),
	} {
		if v := CheckSessions(ops, rules, limit); len(v) > 0 {
			t.Errorf("%s: %v", name, &v[0])
		}
	}
}

func TestImpossibleLivesOfSessionsAreFound(t *testing.T) {
	for name, ops := range map[string][]SessionOperation{
		"expired early":             lives(sessionAt(0, Create, 1), dead(1.9, 0, 1.9, "expired", 2)),
		"expired early by request":  lives(sessionAt(0, Create, 1), expiredAt(1.9, 0, 2)),
		"expired in spite of touch": lives(sessionAt(0, Create, 1), sessionAt(1, Touch, 0), expiredAt(2.5, 0, 2)),
		"touch lost":                lives(sessionAt(0, Create, 1), sessionAt(1, Touch, 0), live(1.5, 0, record.Active, 1)),
		"risen from the dead":       lives(sessionAt(0, Create, 1), moved(1, record.Dead, 2), moved(1.5, record.Active, 3)),
		"illegal move":              lives(sessionAt(0, Create, 1), moved(0.5, record.Terminating, 2), moved(0.6, record.Active, 3)),
		"forgotten early":           lives(sessionAt(0, Create, 1), moved(1, record.Dead, 2), gone(3.9)),
		"created twice":             lives(sessionAt(0, Create, 1), sessionAt(1, Create, 2)),
		"never expired when asked":  lives(sessionAt(0, Create, 1), leftAlone(expiredAt(2, 0, 0)), live(2, 0, record.Active, 1)),
	} {
		if v := CheckSessions(ops, rules, limit); len(v) != 1 || !strings.Contains(v[0].String(), "Illegal") {
			t.Errorf("%s was not found: %v", name, v)
		}
	}
}

func TestWithoutHousekeepingNothingExpiresByItself(t *testing.T) {
	still := rules
	still.Housekeeping = false
	ops := lives(sessionAt(0, Create, 1), dead(9, 0, 3, "expired", 7))
	if v := CheckSessions(ops, still, limit); len(v) != 1 {
		t.Errorf("an expiry that nobody asked for was explained")
	}
}
