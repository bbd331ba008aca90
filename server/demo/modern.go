package demo

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const maxListeners = maxSessions + 1000 // sessions, and subscriptions/listen besides

// postModern takes one message of a client that has no session.
func (s *Server) postModern(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
	if m.Kind() != mcp.KindRequest {
		w.WriteHeader(http.StatusAccepted) // the era has none that mean something
		return
	}
	if e := s.check(r, m); e != nil {
		respond(w, statusOf(e), mcp.Failed(m.ID(), e))
		return
	}
	if m.Method() == mcp.SubscriptionsListen {
		s.listenModern(w, r, m)
		return
	}
	c := &modernCall{w: w, params: m.Params(), level: levelOf(m.Params())}
	result, err := s.resultModern(r.Context(), c, m)
	answer := mcp.Answer(m.ID(), result)
	status := http.StatusOK
	if err != nil {
		e := asError(err)
		answer, status = mcp.Failed(m.ID(), e), statusOf(e)
	}
	c.finish(answer, status)
}

// check holds the headers to the body, and the claims of both to what we speak.
func (s *Server) check(r *http.Request, m *mcp.Message) *mcp.Error {
	params := m.Params()
	header := r.Header.Get(mcp.HeaderVersion)
	version, _ := mcp.Text(mcp.Meta(params, mcp.MetaProtocolVersion))
	switch {
	case version == "":
		return failure(mcp.CodeInvalidParams, "_meta %s is missing", mcp.MetaProtocolVersion)
	case header != version:
		return failure(mcp.CodeHeaderMismatch, "%s %q differs from the version %q in _meta", mcp.HeaderVersion, header, version)
	case version != string(mcp.V20260728):
		return mcp.UnsupportedVersion(version)
	case mcp.Meta(params, mcp.MetaClientCapabilities) == nil:
		return failure(mcp.CodeInvalidParams, "_meta %s is missing", mcp.MetaClientCapabilities)
	case r.Header.Get(mcp.HeaderMethod) != m.Method():
		return failure(mcp.CodeHeaderMismatch, "%s %q differs from the method %q", mcp.HeaderMethod, r.Header.Get(mcp.HeaderMethod), m.Method())
	case mcp.LegacyOnly(m.Method()):
		return failure(mcp.CodeMethodNotFound, "%s has no method %s", mcp.V20260728, m.Method())
	}
	return s.checkName(r, m)
}

// checkName holds Mcp-Name and the headers of arguments to the body.
func (s *Server) checkName(r *http.Request, m *mcp.Message) *mcp.Error {
	field := mcp.NameField(m.Method())
	if field == "" {
		return nil
	}
	want, _ := mcp.Text(mcp.Field(m.Params(), field))
	got, err := mcp.DecodeHeader(r.Header.Get(mcp.HeaderName))
	if err != nil || got != want {
		return failure(mcp.CodeHeaderMismatch, "%s differs from params.%s %q", mcp.HeaderName, field, want)
	}
	t := s.tools[want]
	if m.Method() != mcp.ToolsCall || t == nil {
		return nil
	}
	for _, p := range t.headers {
		values := r.Header.Values(p.Name())
		value := ""
		if len(values) > 0 {
			value = values[0]
		}
		if err := p.Check(value, len(values) > 0, mcp.Field(m.Params(), "arguments")); err != nil {
			return failure(mcp.CodeHeaderMismatch, "%v", err)
		}
	}
	return nil
}

// statusOf is the HTTP status of an error of the modern era.
func statusOf(e *mcp.Error) int {
	switch e.Code {
	case mcp.CodeMethodNotFound:
		return http.StatusNotFound
	case mcp.CodeInternal:
		return http.StatusOK
	default:
		return http.StatusBadRequest
	}
}

// resultModern does what only this era has, and leaves the rest to result.
func (s *Server) resultModern(ctx context.Context, c *modernCall, m *mcp.Message) ([]byte, error) {
	if m.Method() == mcp.Discover {
		return complete(m.Method(), map[string]any{
			"supportedVersions": mcp.Versions(),
			"capabilities":      capabilities,
			"instructions":      instructions,
		}), nil
	}
	state := s.stateOf(m)
	if brought, has := mcp.RequestState(m.Params()); has && !hmac.Equal([]byte(brought), []byte(state)) {
		return nil, failure(mcp.CodeInvalidParams, "requestState is not the one that this call was given")
	}
	result, err := s.result(ctx, &call{method: m.Method(), params: m.Params(), client: c})
	if need, ok := errors.AsType[errInputRequired](err); ok {
		return mcp.InputRequired([]mcp.InputRequest{need.request}, state), nil
	}
	if e, ok := errors.AsType[*mcp.Error](err); ok && e.Code == mcp.CodeResourceNotFound {
		return nil, &mcp.Error{Code: mcp.CodeInvalidParams, Message: e.Message, Data: e.Data} // the code of this era
	}
	if err != nil {
		return nil, err
	}
	return complete(m.Method(), result), nil
}

// stateOf is the requestState of a call: a proof that it is asked again as it was.
func (s *Server) stateOf(m *mcp.Message) string {
	proof := hmac.New(sha256.New, s.secret)
	for _, part := range []string{m.Method(), string(mcp.Field(m.Params(), "name")), string(mcp.Field(m.Params(), "arguments"))} {
		proof.Write(mcp.Quote(part)) // quoted, so that parts cannot run into each other
	}
	return hex.EncodeToString(proof.Sum(nil))
}

// complete is a result with what the era wants in each.
func complete(method string, v any) []byte {
	result := mcp.WithField(encode(v), encode(mcp.ResultComplete), "resultType")
	result = mcp.WithField(result, encode(serverInfo), "_meta", mcp.MetaServerInfo)
	if mcp.CacheHints(method) {
		result = mcp.WithField(result, []byte("0"), "ttlMs")
		result = mcp.WithField(result, encode("public"), "cacheScope")
	}
	return result
}

// A modernCall is a request that is answered on its own connection, whose end is
// its end.
type modernCall struct {
	w      http.ResponseWriter
	params []byte
	level  string       // of log messages; "" means none
	out    *eventWriter // once something came before the answer
}

// notify sends a message ahead of the answer. An error means that the client is
// gone, which the call's context tells too.
func (c *modernCall) notify(m *mcp.Message) {
	if c.out == nil {
		c.out = newEventWriter(c.w)
	}
	_ = c.out.write(sse.Event{Data: m.Bytes()})
}

// finish sends the answer.
func (c *modernCall) finish(answer *mcp.Message, status int) {
	if c.out == nil {
		respond(c.w, status, answer)
		return
	}
	c.notify(answer)
}

func (c *modernCall) open() {} // nobody can come back to it

func (c *modernCall) logs(level string) bool { return severe(level, c.level) }

// levelOf is the log level that a request asks for.
func levelOf(params []byte) string {
	level, _ := mcp.Text(mcp.Meta(params, mcp.MetaLogLevel))
	return level
}

// ask gives the answer that the request brought along, or the error that makes the
// result ask for it.
func (c *modernCall) ask(_ context.Context, key, method string, params []byte) ([]byte, error) {
	if answer := mcp.InputResponse(c.params, key); answer != nil {
		return answer, nil
	}
	declared := mcp.ParseClientCapabilities(mcp.Meta(c.params, mcp.MetaClientCapabilities))
	if required := declared.Missing(method, params); required != nil {
		return nil, mcp.MissingCapability(required)
	}
	return nil, errInputRequired{request: mcp.InputRequest{Key: key, Method: method, Params: params}}
}

// errInputRequired ends a call that needs an answer of the client first.
type errInputRequired struct{ request mcp.InputRequest }

func (e errInputRequired) Error() string { return "the client is asked " + e.request.Method + " first" }

// A subscription is one subscriptions/listen.
type subscription struct {
	id      mcp.ID
	methods map[string]bool // of notifications
	uris    map[string]bool
	stream  *stream
}

// changed sends what was asked for, and nothing else.
func (l *subscription) changed(c change) {
	if c.uri == "" && l.methods[c.method] || l.uris[c.uri] {
		l.stream.send(c.message(l.id))
	}
}

// listenModern serves a subscription until the client or the server leaves.
func (s *Server) listenModern(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
	wanted := mcp.Field(m.Params(), "notifications")
	l := &subscription{id: m.ID(), stream: newStream(""), methods: make(map[string]bool), uris: make(map[string]bool)}
	granted := []byte("{}")
	for flag, method := range map[string]string{
		"toolsListChanged": mcp.ToolsListChanged, "promptsListChanged": mcp.PromptsListChanged, "resourcesListChanged": mcp.ResourcesListChanged,
	} {
		if string(mcp.Field(wanted, flag)) == "true" {
			l.methods[method] = true
			granted = mcp.WithField(granted, []byte("true"), flag)
		}
	}
	uris := []string{}
	for raw := range strictjson.Elements(mcp.Field(wanted, "resourceSubscriptions")) {
		if uri, ok := mcp.Text(raw); ok && s.knows(uri) && len(uris) < maxSubscriptions {
			l.uris[uri] = true
			uris = append(uris, uri)
		}
	}
	if len(uris) > 0 {
		granted = mcp.WithField(granted, encode(uris), "resourceSubscriptions")
	}
	if s.topics.count() >= maxListeners {
		respond(w, http.StatusOK, mcp.Failed(m.ID(), failure(mcp.CodeInternal, "too many subscriptions")))
		return
	}
	about := mcp.WithField(nil, []byte(m.ID()), "_meta", mcp.MetaSubscriptionID)
	l.stream.send(mcp.Notification(mcp.Acknowledged, mcp.WithField(about, granted, "notifications")))
	s.topics.join(l)
	defer s.topics.leave(l)
	defer context.AfterFunc(s.life, func() {
		l.stream.finish(mcp.Answer(m.ID(), mcp.WithField(about, encode(mcp.ResultComplete), "resultType")))
	})()
	l.stream.serve(w, r, 0, nil)
}
