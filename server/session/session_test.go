package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/test/model/solo"
)

var (
	user  = record.Principal{Issuer: "i", Subject: "s"}
	actor = record.Principal{Issuer: "node", Subject: solo.Node}
)

// TestLife runs every story about time in one bubble: what Pebble keeps between
// two databases does not survive the end of the bubble it was made in.
func TestLife(t *testing.T) {
	stories := []struct {
		name string
		tell func(*testing.T, *story)
	}{
		{"an idle session expires after TTL and grace, not before", idleSessionExpires},
		{"an idle session is suspended, one that an administrator suspended stays so", idleSessionIsSuspended},
		{"a session that is used never expires", usedSessionStays},
		{"activity just within the TTL is in time", lastMomentActivityCounts},
		{"activity that cannot be reported is reported later", reportsAreRetried},
		{"a session is reported at most once in a third of its TTL", reportsAreRare},
		{"stopping reports what is not in the log", stoppingReports},
		{"a new leader waits one interval", newLeaderWaits},
		{"tombstones are purged after their time", tombstonesArePurged},
		{"a leader lets go what ended sessions held upstream", upstreamSessionsAreLetGo},
		{"expiry is batched and paced", expiryIsPaced},
		{"a failed round ends the duty, to be called again", failedRoundEndsTheDuty},
	}
	synctest.Test(t, func(t *testing.T) {
		for _, s := range stories {
			replica := solo.New(t)
			ctx, cancel := context.WithCancel(t.Context())
			st := &story{replica: replica, ctx: ctx, activity: NewActivity(ActivityConfig{Proposer: replica, Actor: actor})}
			t.Log(s.name)
			s.tell(t, st)
			cancel()
			synctest.Wait()
			if t.Failed() {
				t.Fatalf("failed: %s", s.name)
			}
		}
		tellStories(t, getStories)
		tellStories(t, streamStories)
		tellStories(t, listenStories)
		tellStories(t, lossStories)
	})
}

// A clusterStory happens in a world of its own.
type clusterStory struct {
	name string
	tell func(*testing.T, *world)
}

func tellStories(t *testing.T, stories []clusterStory) {
	for _, s := range stories {
		t.Log(s.name)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // a story that hangs ends
		w := newWorld(t, ctx, "a", "b", "c")
		s.tell(t, w)
		cancel()
		w.change(func() {})
		synctest.Wait()
		if t.Failed() {
			t.Fatalf("failed: %s", s.name)
		}
	}
}

type story struct {
	replica  *solo.Replica
	ctx      context.Context
	activity *Activity
}

func (s *story) create(t *testing.T, id string, ttl time.Duration) {
	t.Helper()
	s.replica.Must(t, user, &fsm.CreateSession{Session: record.Session{
		ID: id, Principal: user, State: record.Active, TTL: uint64(ttl / time.Millisecond),
	}})
}

func (s *story) lead(term raftnode.Term) chan error {
	ended := make(chan error, 1)
	go func() { ended <- NewExpiry(ExpiryConfig{Replica: s.replica, Actor: actor}).Run(s.ctx, term) }()
	return ended
}

func (s *story) report() { go s.activity.Run(s.ctx) }

// state is "gone" for a session that was purged.
func (s *story) state(t *testing.T, id string) string {
	t.Helper()
	view, err := s.replica.Machine.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	session, err := view.Session(0, id)
	if fault.Of(err) == fault.NotFound {
		return "gone"
	}
	if err != nil {
		t.Fatal(err)
	}
	return session.State.String()
}

func (s *story) expect(t *testing.T, id, want string) {
	t.Helper()
	synctest.Wait()
	if got := s.state(t, id); got != want {
		t.Errorf("%v: session %s is %s, want %s", time.Now().UTC(), id, got, want)
	}
}

// proposed counts the commands of a type since the start.
func proposed[C fsm.Command](r *solo.Replica) (list []C) {
	for _, command := range r.Log() {
		if c, ok := command.(C); ok {
			list = append(list, c)
		}
	}
	return list
}

func idleSessionExpires(t *testing.T, s *story) {
	s.create(t, "a", time.Minute)
	s.lead(1)
	time.Sleep(30*time.Second + Grace - time.Second)
	s.expect(t, "a", "active")
	time.Sleep(30 * time.Second)
	s.expect(t, "a", "suspended")
	time.Sleep(2*15*time.Second + time.Second) // two rounds
	s.expect(t, "a", "dead")
}

func idleSessionIsSuspended(t *testing.T, s *story) {
	s.create(t, "a", time.Hour)
	s.create(t, "b", time.Hour)
	s.replica.Must(t, user, &fsm.MoveSession{ID: "b", To: record.Suspended, ByAdmin: true})
	s.lead(1)
	s.report()
	for range 3 { // used for half an hour, once in ten minutes
		s.activity.Touch("a", time.Hour)
		time.Sleep(10 * time.Minute)
	}
	s.expect(t, "a", "active")
	time.Sleep(31 * time.Minute)
	s.expect(t, "a", "suspended")
	if n := len(proposed[*fsm.MoveSession](s.replica)); n != 2 {
		t.Errorf("%d moves, want the administrator's and one more", n)
	}
}

func usedSessionStays(t *testing.T, s *story) {
	s.create(t, "a", 10*time.Second)
	s.lead(1)
	s.report()
	for range 60 {
		s.activity.Touch("a", 10*time.Second)
		time.Sleep(9 * time.Second)
		s.expect(t, "a", "active")
	}
	time.Sleep(time.Minute)
	s.expect(t, "a", "dead")
}

func lastMomentActivityCounts(t *testing.T, s *story) {
	s.create(t, "a", time.Minute)
	s.lead(1)
	s.report()
	time.Sleep(time.Minute - time.Millisecond)
	s.activity.Touch("a", time.Minute)
	time.Sleep(time.Minute)
	s.expect(t, "a", "suspended") // idle, and not expired
}

func reportsAreRetried(t *testing.T, s *story) {
	s.create(t, "a", time.Minute)
	s.report()
	s.replica.Break(fault.New(fault.NoLeader, "no leader"))
	s.activity.Touch("a", time.Minute)
	time.Sleep(20 * time.Second)
	if _, pending := s.activity.Seen("a"); !pending {
		t.Error("activity that was refused is forgotten")
	}
	s.replica.Break(nil)
	time.Sleep(2 * ReportInterval)
	touches := proposed[*fsm.TouchSessions](s.replica)
	if len(touches) != 1 || len(touches[0].Touches) != 1 || touches[0].Touches[0].ID != "a" {
		t.Fatalf("reports = %+v", touches)
	}
	// The next report knows the log time, and so the age of what it reports.
	time.Sleep(time.Minute)
	s.activity.Touch("a", time.Minute)
	used := time.Now()
	time.Sleep(2 * ReportInterval)
	view, err := s.replica.Machine.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	session, err := view.Session(0, "a")
	if err != nil {
		t.Fatal(err)
	}
	if off := session.LastActive.Time().Sub(used); off < -time.Second || off > time.Second {
		t.Errorf("last activity is off by %v", off)
	}
}

func reportsAreRare(t *testing.T, s *story) {
	s.create(t, "a", 30*time.Minute)
	s.report()
	for range 3600 {
		s.activity.Touch("a", 30*time.Minute)
		time.Sleep(time.Second)
	}
	if n := len(proposed[*fsm.TouchSessions](s.replica)); n < 6 || n > 7 {
		t.Errorf("an hour of use made %d reports, want 6 or 7", n)
	}
	time.Sleep(30 * time.Minute)
	for i := range s.activity.shards {
		if n := len(s.activity.shards[i].sessions); n != 0 {
			t.Errorf("an idle session is still in the table")
		}
	}
}

func stoppingReports(t *testing.T, s *story) {
	s.create(t, "a", time.Hour)
	ctx, stop := context.WithCancel(s.ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.activity.Run(ctx) }()
	s.activity.Touch("a", time.Hour)
	time.Sleep(ReportInterval + time.Second) // the first report
	s.activity.Touch("a", time.Hour)         // not due for 20 minutes
	stop()
	<-ended
	if n := len(proposed[*fsm.TouchSessions](s.replica)); n != 2 {
		t.Errorf("reports = %d, want 2", n)
	}
}

func newLeaderWaits(t *testing.T, s *story) {
	s.create(t, "a", time.Second)
	time.Sleep(time.Hour) // nobody led
	s.lead(1)
	time.Sleep(ReportInterval - time.Second)
	s.expect(t, "a", "active")
	// The clock of the new leader begins at the newest entry, an hour ago: late,
	// never early. The next entry tells it.
	s.create(t, "b", time.Hour)
	time.Sleep(time.Minute)
	s.expect(t, "a", "dead")
	s.expect(t, "b", "active")
}

func tombstonesArePurged(t *testing.T, s *story) {
	s.create(t, "a", time.Hour)
	s.replica.Must(t, user, &fsm.MoveSession{ID: "a", To: record.Dead})
	s.lead(1)
	time.Sleep(9 * time.Minute)
	s.expect(t, "a", "dead")
	time.Sleep(2 * time.Minute)
	s.expect(t, "a", "gone")
}

// Three leaders: the first sees sessions end in each way, the second what the first
// left undone, the third nothing that is long ago.
func upstreamSessionsAreLetGo(t *testing.T, s *story) {
	var mu sync.Mutex
	var told []string
	lead := func(term raftnode.Term) (stop func()) {
		ctx, cancel := context.WithCancel(s.ctx)
		e := NewExpiry(ExpiryConfig{Replica: s.replica, Actor: actor, Sealer: testKeys{}, LetGo: func(_ context.Context, l *Live) {
			held, err := l.Bindings()
			if err != nil || len(held) != 1 {
				t.Errorf("bindings %+v, %v", held, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			told = append(told, l.Record.ID+">"+string(held[0].Session))
		}})
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx, term) }()
		return func() { cancel(); <-ended }
	}
	want := func(when string, list ...string) {
		t.Helper()
		slices.Sort(told)
		if !slices.Equal(told, list) {
			t.Errorf("%s: let go %v, want %v", when, told, list)
		}
		told = nil
	}
	begin := func(id string, ttl time.Duration) {
		sealed, err := sealUpstream(testKeys{}, id, []byte("up-"+id))
		if err != nil {
			t.Fatal(err)
		}
		s.create(t, id, ttl)
		s.replica.Must(t, user, &fsm.BindSession{ID: id, Binding: record.Binding{Alias: "up", Session: sealed}})
	}
	for _, id := range []string{"killed", "byclient", "stays"} {
		begin(id, time.Hour)
	}
	begin("expires", time.Second)
	s.create(t, "bare", time.Hour)
	stop := lead(1)
	s.replica.Must(t, user, &fsm.MoveSession{ID: "killed", To: record.Dead, Reason: "abuse"})
	s.replica.Must(t, user, &fsm.MoveSession{ID: "byclient", To: record.Dead, Reason: byClient})
	s.replica.Must(t, user, &fsm.MoveSession{ID: "bare", To: record.Dead})
	time.Sleep(2 * time.Minute)
	want("first leader", "expires>up-expires", "killed>up-killed")
	stop()
	begin("evicted", time.Hour)
	s.replica.Must(t, user, &fsm.MoveSession{ID: "evicted", To: record.Dead, Reason: "made room"})
	time.Sleep(30 * time.Second)
	stop = lead(2)
	time.Sleep(time.Minute)
	want("second leader", "evicted>up-evicted")
	stop()
	time.Sleep(2 * time.Minute)
	s.create(t, "later", time.Hour) // as every term begins with an entry
	defer lead(3)()
	time.Sleep(time.Minute)
	want("third leader")
}

func expiryIsPaced(t *testing.T, s *story) {
	settings := record.DefaultSessionSettings()
	settings.MaxPerPrincipal = 10_000
	s.replica.Must(t, user, &fsm.PutSessionSettings{Settings: settings})
	for i := range 1200 {
		s.create(t, fmt.Sprintf("s%d", i), time.Second)
	}
	s.lead(1)
	time.Sleep(2 * time.Minute)
	batches := proposed[*fsm.ExpireSessions](s.replica)
	if len(batches) != 3 || len(batches[0].Candidates) != expiryBatch {
		t.Errorf("1200 sessions expired in %d batches", len(batches))
	}
}

func failedRoundEndsTheDuty(t *testing.T, s *story) {
	s.create(t, "a", time.Second)
	broken := errors.New("no reading today")
	ended := s.lead(1)
	synctest.Wait()
	s.replica.Break(broken)
	if err := <-ended; !errors.Is(err, broken) {
		t.Errorf("Run = %v", err)
	}
}

func BenchmarkTouch(b *testing.B) {
	a := NewActivity(ActivityConfig{})
	ids := make([]string, 100_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("SESSION%019d", i)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			a.Touch(ids[i%len(ids)], time.Minute)
		}
	})
}
