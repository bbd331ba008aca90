package router

import (
	"bytes"
	"context"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// A sessionCall is a request of a session that an upstream works on: what comes
// before the answer passes through it.
type sessionCall struct {
	route
	r      *Router
	q      *exchange.Request
	m      *mcp.Message // in the upstream's names
	live   *session.Live
	caller upstream.Caller
	path   eras
	call   Call
}

// call takes a request of a session to its upstream and the answer back. The
// client may hang up meanwhile: that cancels nothing. After a result, note (if not
// nil) writes down what it changed, before the client is told.
func (r *Router) call(ctx context.Context, q *exchange.Request, to *target, l *session.Live, s exchange.Stream, note func(context.Context) error) (exchange.Answer, error) {
	l, err := r.beforeFirstUse(ctx, l, to)
	if err != nil {
		return exchange.Answer{}, err
	}
	caller, path, err := r.sessionCaller(to.alias, l)
	if err != nil {
		return exchange.Answer{}, err
	}
	m := withoutTask(to.request)
	w := &sessionCall{route: to.route, r: r, q: q, m: m, live: l, caller: caller, path: path}
	w.call, err = r.sessions.OpenCall(ctx, l, m.ID(), s, session.CallOptions{JSONOnly: q.JSONOnly, Progress: w.progress})
	if err != nil {
		return exchange.Answer{}, err
	}
	answer, err := w.do(w.call.Context(), note)
	if err != nil {
		answer = mcp.Failed(m.ID(), mcp.FromFault(err, q.ID))
	}
	return w.call.Finish(answer), nil
}

// withoutTask is m without the wish to be run as a task, which a server that has
// not offered tasks is to ignore.
func withoutTask(m *mcp.Message) *mcp.Message {
	params := m.Params()
	if m.Method() != mcp.ToolsCall || !bytes.Contains(params, []byte(`"task"`)) || mcp.Field(params, "task") == nil {
		return m
	}
	return m.WithParams(mcp.WithoutField(params, "task"))
}

// resume goes on with a call whose node is gone, from where its record says that
// the upstream was.
func (r *Router) resume(q *exchange.Request, l *session.Live, call Call, u session.Upstream) (*mcp.Message, error) {
	caller, path, err := r.sessionCaller(u.Alias, l)
	if err != nil {
		return nil, err
	}
	path.upstream = mcp.Version(u.Protocol)
	caller.Binding = &record.Binding{Alias: u.Alias, Protocol: u.Protocol, Session: []byte(u.Session)}
	w := &sessionCall{route: route{alias: u.Alias, joined: q.Alias == ""}, r: r, q: q, live: l, caller: caller, path: path, call: call}
	answer, err := r.upstreams.Resume(call.Context(), u.Alias, caller, u.LastEventID, u.Request, call.Request(), w)
	if err != nil {
		return nil, err
	}
	// What was asked is not in the record. The answer tells.
	w.m = mcp.Request(call.Request(), methodOf(answer.Result()), nil)
	return w.answer(w.m.Method(), forLegacy(q, w.m, path, answer)), nil
}

// methodOf is the method that a result answers, as far as it matters to what it is
// translated to; "" if it does not.
func methodOf(result []byte) string {
	for member := range strictjson.Members(result) {
		switch string(member.Name) {
		case `"content"`:
			return mcp.ToolsCall
		case `"messages"`:
			return mcp.PromptsGet
		case `"contents"`:
			return mcp.ResourcesRead
		case `"tools"`:
			return mcp.ToolsList
		}
	}
	return ""
}

// do gives the answer for the client.
func (w *sessionCall) do(ctx context.Context, note func(context.Context) error) (*mcp.Message, error) {
	answer, err := w.upstreamAnswer(ctx)
	if err != nil {
		return nil, ended(ctx, err)
	}
	if note != nil && answer.Err() == nil {
		if err := note(ctx); err != nil {
			return nil, err
		}
	}
	return w.answer(w.m.Method(), forLegacy(w.q, w.m, w.path, answer)), nil
}

// ended is why a call ended: the cause of its context knows more than whoever gave
// up because of it.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && fault.Of(err) == fault.Timeout {
		return cause
	}
	return err
}

// upstreamAnswer sends the request, again as long as a modern upstream only wants
// to see it again later.
func (w *sessionCall) upstreamAnswer(ctx context.Context) (*mcp.Message, error) {
	m := w.m
	for round := 1; ; round++ {
		answer, err := w.r.upstreams.Call(ctx, w.alias, w.caller, m, w)
		if err != nil || answer.Err() != nil {
			return answer, err
		}
		if !w.path.crossed() {
			if !isModern(answer.Result()) {
				return answer, nil
			}
			w.path.upstream = mcp.V20260728 // it was upgraded since the session was opened
		}
		switch kind := mcp.ResultType(answer.Result()); kind {
		case mcp.ResultComplete:
			return answer, nil
		case mcp.ResultInputRequired:
			again, instead, err := inputOfLegacy(ctx, m, answer.Result(), round)
			if again == nil {
				return instead, err
			}
			m = again
		default:
			return failure(m, traced(w.q, impossible("result_type", "the upstream answered with a result of type %q, which this client's protocol revision does not have", kind))), nil
		}
	}
}

// isModern reports whether a result says what only modern ones do.
func isModern(result []byte) bool {
	return bytes.Contains(result, []byte(`"resultType"`)) && mcp.Field(result, "resultType") != nil
}

// Notification passes on what the upstream says in the course of the call.
func (w *sessionCall) Notification(m *mcp.Message) {
	if m.Method() == mcp.TaskStatus || mcp.ModernOnly(m.Method()) {
		return
	}
	if w.joined && !loud(w.live, m) {
		return
	}
	w.call.Notify(w.notification(m))
}

// Ask passes on a request of the upstream, if the client can be asked it.
func (w *sessionCall) Ask(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
	return askLegacy(m, w.live, w.route, func(m *mcp.Message) (*mcp.Message, error) { return w.call.Ask(ctx, m) })
}

// Progressed notes how far the upstream's stream has come, for the node that goes
// on if this one is gone.
func (w *sessionCall) Progressed(eventID, upstreamSession string, request mcp.ID) {
	w.call.Upstream(session.Upstream{
		Alias:       w.alias,
		Protocol:    string(w.path.upstream),
		Session:     upstreamSession,
		Request:     request,
		LastEventID: eventID,
	})
}

// progress passes on what the client says while it works on a request of the
// upstream.
func (w *sessionCall) progress(m *mcp.Message) {
	w.r.notify(w.call.Context(), w.q, w.alias, m, w.live)
}
