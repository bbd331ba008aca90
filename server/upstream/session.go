package upstream

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	// maxSessions is how many upstream sessions a node keeps of one upstream.
	// Beyond it the one that was idle longest, of a few that are looked at, is
	// let go.
	maxSessions = 1 << 16

	// idleFor is how long a session may be idle before the node forgets it. One
	// that belongs to a session of the gateway comes back from its Binding.
	idleFor = 15 * time.Minute

	// idleConnected is the same for a session that is a connection, and cannot come
	// back.
	idleConnected = 2 * time.Hour

	maxSessionID     = 512 // bytes
	rememberedLosses = 4
)

// A state is what a handshake gave. Immutable, but for the cache of headers.
type state struct {
	version mcp.Version
	id      string   // Mcp-Session-Id; "" if the upstream gave none
	result  []byte   // raw result of initialize; nil if the session was begun elsewhere
	channel *channel // HTTP+SSE only

	cached atomic.Pointer[headerSet]
}

// A session is an upstream session as its callers see it: it outlives the
// upstream's, which can be lost and opened again.
type session struct {
	up   *upstream
	key  key
	open flight[*state]

	mu      sync.Mutex // nothing blocks under it
	state   *state     // nil: to be opened
	lost    []string   // ids that the upstream no longer knows, the newest last
	used    time.Time
	users   int
	level   string          // log level that was set
	asked   map[string]bool // resources that the client subscribed to
	watched map[string]int  // resources that listeners want, and how many of them
}

// session finds or makes the session of that key, in use until leave.
func (up *upstream) session(k key) *session {
	up.mu.Lock()
	defer up.mu.Unlock()
	s := up.sessions[k]
	if s == nil {
		up.makeRoom()
		s = newSession(up, k)
		if !up.retired {
			up.sessions[k] = s
		}
	}
	s.mu.Lock()
	s.users++
	s.mu.Unlock()
	return s
}

func newSession(up *upstream, k key) *session {
	return &session{up: up, key: k, asked: make(map[string]bool), watched: make(map[string]int)}
}

func (s *session) leave() {
	s.mu.Lock()
	s.users--
	s.used = time.Now()
	gone := s.users == 0 && s.state != nil && s.state.channel != nil
	st := s.state
	s.mu.Unlock()
	if !gone {
		return
	}
	s.up.mu.Lock()
	kept := s.up.sessions[s.key] == s
	s.up.mu.Unlock()
	if !kept {
		st.channel.close() // its upstream was retired meanwhile
	}
}

// makeRoom is called with up.mu held.
func (up *upstream) makeRoom() {
	if len(up.sessions) < maxSessions {
		return
	}
	var victim *session
	looked := 0
	for _, s := range up.sessions {
		s.mu.Lock()
		idle := s.users == 0
		if idle && (victim == nil || s.used.Before(victim.used)) {
			victim = s
		}
		s.mu.Unlock()
		if looked++; looked >= 16 {
			break
		}
	}
	if victim != nil {
		delete(up.sessions, victim.key)
		victim.drop()
	}
}

// sweep forgets sessions that nobody has used for idleFor. An upstream session
// that nobody else can come back to is ended at the upstream, too.
func (up *upstream) sweep(ctx context.Context, now time.Time) {
	var idle []*session
	up.mu.Lock()
	for k, s := range up.sessions {
		s.mu.Lock()
		if s.users == 0 && now.Sub(s.used) > up.idleLimit(s) {
			idle = append(idle, s)
			delete(up.sessions, k)
		}
		s.mu.Unlock()
	}
	up.mu.Unlock()
	for _, s := range idle {
		st := s.drop()
		if st != nil && !s.key.own() {
			up.bye(ctx, st)
		}
	}
}

// idleLimit is how long s may be idle. It is called with s.mu held.
func (up *upstream) idleLimit(s *session) time.Duration {
	switch {
	case up.stdio() && up.rec.Pool.KeepAlive > 0:
		return milliseconds(up.rec.Pool.KeepAlive)
	case up.stdio(), s.key.own() && s.state != nil && s.state.channel != nil:
		return idleConnected
	default:
		return idleFor
	}
}

// drop lets go of what the session holds open, and gives what there was.
func (s *session) drop() *state {
	s.mu.Lock()
	st := s.state
	busy := s.users > 0
	if !busy {
		s.state = nil
	}
	s.mu.Unlock()
	if st != nil && st.channel != nil && !busy {
		st.channel.close()
	}
	return st
}

// live is the open state, nil if there is none. What the cluster knows of the
// session comes first: another node may have opened it anew.
func (s *session) live(b *record.Binding) *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	if adopted := s.adoptable(b); adopted != nil {
		s.state = adopted
	}
	if s.state != nil && s.state.channel != nil && s.state.channel.broken() {
		s.state = nil
	}
	return s.state
}

// adoptable is the state that b describes, if it is another than the present one
// and not known to be lost. It is called with s.mu held.
func (s *session) adoptable(b *record.Binding) *state {
	if b == nil || !s.key.own() || len(b.Session) == 0 {
		return nil
	}
	id, version := string(b.Session), mcp.Version(b.Protocol)
	if !version.Known() || version.Modern() || slices.Contains(s.lost, id) {
		return nil
	}
	if s.state != nil && (s.state.id == id || s.state.channel != nil) {
		return nil
	}
	for _, uri := range b.Subscriptions {
		s.asked[uri] = true
	}
	return &state{version: version, id: id}
}

// current is the open state of the session; the handshake is made if there is
// none, by one of the callers that wait.
func (s *session) current(ctx context.Context, c *Caller, announce bool) (*state, error) {
	if st := s.live(c.Binding); st != nil {
		return st, nil
	}
	return s.open.do(ctx, func() (*state, error) {
		if st := s.live(c.Binding); st != nil {
			return st, nil
		}
		st, err := s.handshake(ctx, c)
		if err != nil {
			return nil, err
		}
		again := s.install(st)
		s.up.metrics.opened(again)
		s.restore(ctx, c, st)
		if s.key.own() && (announce || again) {
			s.up.ups.o.Rebound(s.key.session, s.binding(st))
		}
		return st, nil
	})
}

func (s *session) handshake(ctx context.Context, c *Caller) (*state, error) {
	if s.up.stdio() {
		return s.up.handshakeChild(ctx, s.key, c)
	}
	return s.up.handshake(ctx, c)
}

// install makes st the session's state, and reports whether there was one
// before that was lost.
func (s *session) install(st *state) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = st
	return len(s.lost) > 0
}

// lose notes that the upstream does not know st any more. Callers that come late,
// with a state that was replaced already, change nothing.
func (s *session) lose(st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != st {
		return
	}
	s.state = nil
	s.lost = append(s.lost, st.id)
	if len(s.lost) > rememberedLosses {
		s.lost = slices.Delete(s.lost, 0, 1)
	}
	s.up.log.Info("upstream session lost")
}

// forget drops st, of which nothing is left, if it is still the state.
func (s *session) forget(st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == st {
		s.state = nil
	}
}

// restore sets again in a fresh upstream session what the old one had been told:
// the log level and the subscriptions. What the upstream refuses is logged; it
// is no reason to fail the caller's own request.
func (s *session) restore(ctx context.Context, c *Caller, st *state) {
	s.mu.Lock()
	if c.Binding != nil && s.key.own() {
		for _, uri := range c.Binding.Subscriptions {
			s.asked[uri] = true
		}
	}
	if s.level == "" {
		s.level = c.LogLevel
	}
	level, uris := s.level, slices.Collect(maps.Keys(s.asked))
	for uri := range s.watched {
		if !s.asked[uri] {
			uris = append(uris, uri)
		}
	}
	s.mu.Unlock()
	uris = uris[:min(len(uris), record.MaxSubscriptions)]
	p := &path{up: s.up, era: &era{connected: st.channel != nil}, session: s, state: st}
	if level != "" && declares(st.result, "logging") {
		p.tell(ctx, c, mcp.SetLevel, "level", level)
	}
	for _, uri := range uris {
		p.tell(ctx, c, mcp.ResourcesSub, "uri", uri)
	}
}

// declares reports whether a result of initialize names a capability. What is not
// known is taken as declared.
func declares(result []byte, capability string) bool {
	return result == nil || mcp.Field(result, "capabilities", capability) != nil
}

// noted keeps what a request that succeeded has set in the upstream session.
func (s *session) noted(m *mcp.Message) {
	switch m.Method() {
	case mcp.SetLevel:
		if level, ok := mcp.Text(mcp.Field(m.Params(), "level")); ok {
			s.mu.Lock()
			s.level = level
			s.mu.Unlock()
		}
	case mcp.ResourcesSub, mcp.ResourcesUnsub:
		uri, ok := mcp.Text(mcp.Field(m.Params(), "uri"))
		if !ok {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if m.Method() == mcp.ResourcesUnsub {
			delete(s.asked, uri)
		} else if len(s.asked) < record.MaxSubscriptions {
			s.asked[uri] = true
		}
	}
}

// binding is what the gateway's session now holds at the upstream.
func (s *session) binding(st *state) record.Binding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return record.Binding{
		Alias: s.up.rec.Alias, Protocol: string(st.version), Session: []byte(st.id),
		Subscriptions: slices.Sorted(maps.Keys(s.asked)),
	}
}

// end ends the session that c has to itself.
func (up *upstream) end(ctx context.Context, c *Caller) {
	k, ok := up.keyFor(c)
	if e := up.era.Load().spokenBy(c); !ok || !k.own() || e != nil && e.modern {
		return
	}
	s := up.session(k)
	defer s.leave()
	st := s.live(c.Binding)
	up.mu.Lock()
	if up.sessions[k] == s {
		delete(up.sessions, k)
	}
	up.mu.Unlock()
	if st == nil {
		return
	}
	if st.channel != nil {
		st.channel.close()
	}
	up.bye(ctx, st)
}

// release lets go of what this node holds of a session of the gateway that has
// ended. The upstream is not told.
func (up *upstream) release(session string) {
	up.mu.Lock()
	k := key{mode: modePerSession, session: session}
	s := up.sessions[k]
	delete(up.sessions, k)
	up.mu.Unlock()
	if s != nil {
		s.drop()
	}
}

// byeTimeout bounds what is said at the end of something.
const byeTimeout = 3 * time.Second

// bye tells the upstream that one of its sessions is over. It may answer what it
// likes.
func (up *upstream) bye(ctx context.Context, st *state) {
	if st.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, byeTimeout)
	defer cancel()
	headers, err := up.headers(ctx, st)
	if err != nil {
		return
	}
	res, err := up.send(ctx, &request{method: http.MethodDelete, url: up.url, header: headers.get})
	if err != nil {
		return
	}
	res.body.Close()
}
