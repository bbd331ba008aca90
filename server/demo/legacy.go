package demo

import (
	"context"
	"net/http"

	"github.com/mcpraft/mcpraft/server/mcp"
)

// postLegacy takes one message of a session, or the one that opens it.
func (s *Server) postLegacy(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
	if m.Kind() == mcp.KindRequest && m.Method() == mcp.Initialize {
		s.initialize(w, m)
		return
	}
	session := s.sessionOf(w, r)
	if session == nil {
		return
	}
	defer session.enter()()
	switch m.Kind() {
	case mcp.KindRequest:
		s.callLegacy(w, r, session, m)
		return
	case mcp.KindNotification:
		if m.Method() == mcp.Cancelled {
			if id, ok := mcp.ParseID(mcp.Field(m.Params(), "requestId")); ok {
				session.cancel(id)
			}
		}
	default:
		session.answered(m)
	}
	w.WriteHeader(http.StatusAccepted)
}

// initialize opens a session.
func (s *Server) initialize(w http.ResponseWriter, m *mcp.Message) {
	requested, _ := mcp.Text(mcp.Field(m.Params(), "protocolVersion"))
	version := mcp.NegotiateLegacy(requested)
	session := s.sessions.add(version, mcp.ParseClientCapabilities(mcp.Field(m.Params(), "capabilities")))
	if session == nil {
		respond(w, http.StatusServiceUnavailable, mcp.Failed(m.ID(), failure(mcp.CodeInternal, "the server has %d sessions, its limit", maxSessions)))
		return
	}
	s.topics.join(session)
	w.Header().Set(mcp.HeaderSession, session.id)
	respond(w, http.StatusOK, mcp.Answer(m.ID(), encode(map[string]any{
		"protocolVersion": version,
		"capabilities":    capabilities,
		"serverInfo":      serverInfo,
		"instructions":    instructions,
	})))
}

// sessionOf finds the session that a request names, or answers the request.
func (s *Server) sessionOf(w http.ResponseWriter, r *http.Request) *session {
	id := r.Header.Get(mcp.HeaderSession)
	if id == "" {
		refuse(w, http.StatusBadRequest, "the header Mcp-Session-Id is missing; initialize gives one")
		return nil
	}
	session := s.sessions.get(id)
	if session == nil {
		refuse(w, http.StatusNotFound, "there is no such session; initialize a new one")
		return nil
	}
	if version := r.Header.Get(mcp.HeaderVersion); version != "" && version != string(session.version) {
		refuse(w, http.StatusBadRequest, "the session speaks MCP-Protocol-Version "+string(session.version))
		return nil
	}
	return session
}

// deleteSession ends a session.
func (s *Server) deleteSession(w http.ResponseWriter, r *http.Request) {
	if session := s.sessionOf(w, r); session != nil {
		s.forget(session.id)
		w.WriteHeader(http.StatusNoContent)
	}
}

// forget ends a session and drops it.
func (s *Server) forget(id string) {
	if session := s.sessions.remove(id); session != nil {
		s.topics.leave(session)
		session.end()
	}
}

// listenLegacy serves a GET: what belongs to no call, or the rest of a call's
// stream after the event that the client saw last.
func (s *Server) listenLegacy(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(mcp.HeaderSession) == "" {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, "without a session there is nothing to listen to")
		return
	}
	session := s.sessionOf(w, r)
	if session == nil {
		return
	}
	defer session.enter()()
	last := r.Header.Get(mcp.HeaderLastEventID)
	name, number, ok := splitEventID(last)
	switch {
	case last != "" && !ok:
		refuse(w, http.StatusBadRequest, "Last-Event-ID is none of this server's")
	case last != "" && name != session.messages.name:
		stream := session.stream(name)
		if stream == nil {
			refuse(w, http.StatusMethodNotAllowed, "the stream of Last-Event-ID is gone")
			return
		}
		stream.serve(w, r, number+1, s.life.Done())
	default:
		ctx, replace := context.WithCancel(s.life)
		defer replace()
		from := session.listen(replace)
		if last != "" {
			from = number + 1
		}
		session.listened(session.messages.serve(w, r, from, ctx.Done()))
	}
}

// A legacyCall is a request of a session that is being answered. It outlives the
// connection that brought it: only cancelling, or the end of the session, ends it.
type legacyCall struct {
	id      mcp.ID
	session *session
	stream  *stream
	cancel  context.CancelFunc
}

// callLegacy answers a request: with JSON if nothing comes before the answer,
// otherwise with a stream.
func (s *Server) callLegacy(w http.ResponseWriter, r *http.Request, session *session, m *mcp.Message) {
	ctx, cancel := context.WithCancel(s.life)
	c := &legacyCall{id: m.ID(), session: session, stream: newStream(newID()), cancel: cancel}
	if err := session.begin(c); err != nil {
		cancel()
		respond(w, http.StatusOK, mcp.Failed(m.ID(), asError(err)))
		return
	}
	started := s.start(func() {
		defer cancel()
		answer := s.answerLegacy(ctx, c, m)
		session.finish(c) // first: a client may use the id again as soon as it has the answer
		c.stream.finish(answer)
	})
	if !started {
		cancel()
		refuse(w, http.StatusServiceUnavailable, "the server is stopping")
		return
	}
	c.stream.begun(r.Context())
	events, _, done, _ := c.stream.from(0)
	switch {
	case done && len(events) == 0:
		session.drop(c.stream)
		w.WriteHeader(http.StatusAccepted) // it was cancelled, and is not answered
	case done && len(events) == 1:
		session.drop(c.stream)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(events[0].Data)
	case len(events) > 0:
		c.stream.serve(w, r, 0, s.life.Done())
	}
}

// answerLegacy is the answer to a request; nil if it was cancelled.
func (s *Server) answerLegacy(ctx context.Context, c *legacyCall, m *mcp.Message) *mcp.Message {
	result, err := s.resultLegacy(ctx, c, m)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return mcp.Failed(m.ID(), asError(err))
	default:
		return mcp.Answer(m.ID(), encode(result))
	}
}

// resultLegacy does what only this era has, and leaves the rest to result.
func (s *Server) resultLegacy(ctx context.Context, c *legacyCall, m *mcp.Message) (any, error) {
	switch m.Method() {
	case mcp.Ping:
		return struct{}{}, nil
	case mcp.SetLevel:
		level, _ := mcp.Text(mcp.Field(m.Params(), "level"))
		return struct{}{}, c.session.setLevel(level)
	case mcp.ResourcesSub, mcp.ResourcesUnsub:
		uri, err := s.knownURI(m.Params())
		if err != nil {
			return nil, err
		}
		return struct{}{}, c.session.subscribe(uri, m.Method() == mcp.ResourcesSub)
	default:
		return s.result(ctx, &call{method: m.Method(), params: m.Params(), client: c})
	}
}

// notify sends a message ahead of the answer. A stream that begins is primed for
// clients that may then lose it and come back.
func (c *legacyCall) notify(m *mcp.Message) {
	c.open()
	c.stream.send(m)
}

func (c *legacyCall) open() {
	if _, next, _, _ := c.stream.from(0); next == 0 && c.session.version.AtLeast(mcp.V20251125) {
		c.stream.prime()
	}
}

func (c *legacyCall) logs(level string) bool { return c.session.logs(level) }

func (c *legacyCall) ask(ctx context.Context, _, method string, params []byte) ([]byte, error) {
	if required := c.session.capabilities.Missing(method, params); required != nil {
		return nil, errCannotAsk{method: method, required: required}
	}
	c.open()
	return c.session.ask(ctx, c.stream, method, params)
}
