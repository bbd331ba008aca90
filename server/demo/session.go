package demo

import (
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	maxSessions      = 10_000
	maxStreams       = 64  // of one session: calls that run, and calls whose stream can still be read
	maxSubscriptions = 100 // of one session
	maxAsked         = 64  // requests to one client that it has not answered
)

// newID is a text that nobody guesses.
func newID() string { return rand.Text() }

// A session is what the server knows of one client of the legacy era.
type session struct {
	id           string
	version      mcp.Version
	capabilities mcp.ClientCapabilities
	messages     *stream // that belong to no call: for the GET stream

	mu         sync.Mutex
	used       time.Time                // when the last request began or the last stream ended
	open       int                      // requests and streams being served
	level      string                   // of log messages; "" means none
	subscribed map[string]bool          // by URI
	calls      map[mcp.ID]*legacyCall   // that run
	streams    []*stream                // of calls, the oldest first
	asked      map[mcp.ID]chan response // requests to the client
	lastAsked  int
	read       int                // number of the first message that no GET stream has carried
	replace    context.CancelFunc // ends the GET stream, if there is one
}

// A response is a client's answer to a request of ours.
type response struct {
	result []byte
	err    *mcp.Error
}

// changed tells the client of a change that it should hear of.
func (s *session) changed(c change) {
	s.mu.Lock()
	wanted := c.uri == "" || s.subscribed[c.uri]
	s.mu.Unlock()
	if wanted {
		s.messages.send(c.message(""))
	}
}

// enter counts a request that is being served, so that the session is not idle;
// the function it gives ends that.
func (s *session) enter() (leave func()) {
	s.count(1)
	return func() { s.count(-1) }
}

func (s *session) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
	s.used = time.Now()
}

func (s *session) idleSince(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open == 0 && s.used.Before(t)
}

// subscribe adds or removes a URI.
func (s *session) subscribe(uri string, wanted bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !wanted {
		delete(s.subscribed, uri)
		return nil
	}
	if len(s.subscribed) == maxSubscriptions && !s.subscribed[uri] {
		return failure(mcp.CodeInternal, "a session has at most %d subscriptions", maxSubscriptions)
	}
	s.subscribed[uri] = true
	return nil
}

// logs reports whether the client wants messages of a level.
func (s *session) logs(level string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return severe(level, s.level)
}

func (s *session) setLevel(level string) error {
	if severity(level) < 0 {
		return failure(mcp.CodeInvalidParams, "unknown log level %q", level)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level = level
	return nil
}

// begin makes the stream of a call and remembers how to cancel it.
func (s *session) begin(c *legacyCall) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.calls[c.id]; twice {
		return failure(mcp.CodeInvalidRequest, "a request with the id %s is running", c.id)
	}
	if len(s.streams) >= maxStreams && !s.forgetStream() {
		return failure(mcp.CodeInternal, "a session runs at most %d calls", maxStreams)
	}
	s.calls[c.id] = c
	s.streams = append(s.streams, c.stream)
	return nil
}

// forgetStream drops the oldest stream that has ended. The caller holds mu.
func (s *session) forgetStream() bool {
	for i, st := range s.streams {
		if _, _, done, _ := st.from(0); done {
			s.streams = slices.Delete(s.streams, i, i+1)
			return true
		}
	}
	return false
}

// drop forgets the stream of a call that nobody can come back to.
func (s *session) drop(gone *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams = slices.DeleteFunc(s.streams, func(st *stream) bool { return st == gone })
}

// finish forgets a call; its stream can be read for a while.
func (s *session) finish(c *legacyCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, c.id)
}

// cancel ends the call with the id, if it still runs.
func (s *session) cancel(id mcp.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.calls[id]; c != nil {
		c.cancel()
	}
}

// stream finds the stream of a call by name.
func (s *session) stream(name string) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		if st.name == name {
			return st
		}
	}
	return nil
}

// ask sends the client a request on a stream and waits for the answer.
func (s *session) ask(ctx context.Context, on *stream, method string, params []byte) ([]byte, error) {
	id, answer, err := s.expect()
	if err != nil {
		return nil, err
	}
	defer s.forget(id)
	on.send(mcp.Request(id, method, params))
	select {
	case got := <-answer:
		if got.err != nil {
			return nil, got.err
		}
		return got.result, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *session) expect() (mcp.ID, <-chan response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == maxAsked {
		return "", nil, failure(mcp.CodeInternal, "the client has %d requests to answer", maxAsked)
	}
	s.lastAsked++
	id, answer := mcp.TextID("demo-"+strconv.Itoa(s.lastAsked)), make(chan response, 1)
	s.asked[id] = answer
	return id, answer, nil
}

func (s *session) forget(id mcp.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, id)
}

// answered takes the client's answer to a request; one that nobody waits for is
// dropped.
func (s *session) answered(m *mcp.Message) {
	s.mu.Lock()
	answer := s.asked[m.ID()]
	delete(s.asked, m.ID())
	s.mu.Unlock()
	if answer != nil {
		answer <- response{result: m.Result(), err: m.Err()}
	}
}

// listen makes the caller the one GET stream, from the first message that none has
// carried; replace ends it when there is another.
func (s *session) listen(replace context.CancelFunc) (from int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replace != nil {
		s.replace()
	}
	s.replace = replace
	return s.read
}

// listened notes that a GET stream has carried the messages before number n.
func (s *session) listened(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = max(s.read, n)
}

// end ends the calls and streams.
func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		c.cancel()
	}
	s.messages.finish(nil)
}

// sessions are those of the server, by id. The zero value is ready.
type sessions struct {
	mu   sync.Mutex
	byID map[string]*session
}

// add keeps a new session, unless there are too many.
func (all *sessions) add(version mcp.Version, capabilities mcp.ClientCapabilities) *session {
	all.mu.Lock()
	defer all.mu.Unlock()
	if len(all.byID) == maxSessions {
		return nil
	}
	if all.byID == nil {
		all.byID = make(map[string]*session)
	}
	s := &session{
		id: newID(), version: version, capabilities: capabilities,
		messages:   newStream("get"),
		used:       time.Now(),
		subscribed: make(map[string]bool),
		calls:      make(map[mcp.ID]*legacyCall),
		asked:      make(map[mcp.ID]chan response),
	}
	all.byID[s.id] = s
	return s
}

func (all *sessions) get(id string) *session {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.byID[id]
}

// remove forgets a session and reports whether there was one.
func (all *sessions) remove(id string) *session {
	all.mu.Lock()
	defer all.mu.Unlock()
	s := all.byID[id]
	delete(all.byID, id)
	return s
}

// idle gives the ids of the sessions that were not used since t.
func (all *sessions) idle(t time.Time) []string {
	all.mu.Lock()
	defer all.mu.Unlock()
	var ids []string
	for id, s := range all.byID {
		if s.idleSince(t) {
			ids = append(ids, id)
		}
	}
	return ids
}
