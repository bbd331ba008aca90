package front

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

var contentJSON = []string{"application/json"}

// answer ends a POST with what the handler said.
func (v *visit) answer(a exchange.Answer) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.streamed {
		if a.Message != nil && v.failed == nil {
			_ = v.write(sse.Event{Data: a.Message.Bytes(), ID: a.EventID, HasID: a.EventID != ""})
		}
		return nil
	}
	if a.Session != "" {
		v.w.Header()[headerSession] = []string{a.Session}
	}
	if a.Message == nil {
		v.bare(orElse(a.Status, http.StatusAccepted))
		return nil
	}
	v.json(orElse(a.Status, http.StatusOK), a.Message.Bytes())
	return nil
}

// answerBatch ends a POST of several messages.
func (v *visit) answerBatch(list []*mcp.Message) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.streamed {
		for _, m := range list {
			if v.failed != nil || v.write(sse.Event{Data: m.Bytes()}) != nil {
				break
			}
		}
		return nil
	}
	if len(list) == 0 {
		v.bare(http.StatusAccepted)
		return nil
	}
	text := []byte{'['}
	for i, m := range list {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, m.Bytes()...)
	}
	v.json(http.StatusOK, append(text, ']'))
	return nil
}

// json is the whole answer, in one write.
func (v *visit) json(status int, text []byte) {
	h := v.w.Header()
	h["Content-Type"] = contentJSON
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	v.status = status
	v.deadline(answerTimeout)
	v.w.WriteHeader(status)
	n, _ := v.w.Write(text) // an error here means that nobody listens
	v.sent += n
}

// bare is an answer without a body.
func (v *visit) bare(status int) {
	v.status = status
	v.deadline(answerTimeout)
	v.w.WriteHeader(status)
}

// malformed answers a body that is no JSON-RPC: 400, and the position of the
// mistake.
func (v *visit) malformed(err error) error {
	e, ok := errors.AsType[*mcp.Error](err)
	if !ok {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = err
	v.json(http.StatusBadRequest, mcp.Failed(e.ID, e).Bytes())
	return nil
}

// refuse answers with err, in the way that the place and the message ask for. On
// an open stream it is the event that ends it.
func (v *visit) refuse(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = err
	if v.ended || v.failed != nil {
		return
	}
	e := fault.As(err)
	if v.streamed {
		if v.rpc != "" {
			_ = v.write(sse.Event{Data: mcp.Failed(v.rpc, mcp.FromFault(err, v.id)).Bytes()})
		}
		return
	}
	status := v.statusOf(e)
	v.explain(e, status)
	if v.r.Method == http.MethodHead {
		v.bare(status)
		return
	}
	if v.place == endpoint {
		v.json(status, mcp.Failed(v.rpc, mcp.FromFault(err, v.id)).Bytes())
		return
	}
	text, err := json.Marshal(adminapi.ErrorBody{Error: adminapi.ErrorOf(e, v.id)})
	if err != nil {
		text = []byte("{}") // texts always encode
	}
	v.json(status, append(text, '\n'))
}

// detailScope is the detail of a Forbidden fault that asks the client for a
// token with more scopes.
const detailScope = "scope"

// statusOf is the HTTP status of a refusal. That a caller may not do something is
// no concern of HTTP once its message is known: a 403 makes clients start their
// login again, so it is kept for pages of foreign origins and for tokens that
// lack a scope.
func (v *visit) statusOf(e *fault.Error) int {
	if e.Kind == fault.Forbidden && v.rpc != "" && e.Details[detailScope] == "" {
		return http.StatusOK
	}
	return e.Kind.Status()
}

// explain sets the headers that belong to a refusal.
func (v *visit) explain(e *fault.Error, status int) {
	h := v.w.Header()
	switch status {
	case http.StatusUnauthorized:
		h["Www-Authenticate"] = []string{v.f.c.Challenge(v.r, e)}
	case http.StatusForbidden:
		if e.Details[detailScope] != "" {
			h["Www-Authenticate"] = []string{v.f.c.Challenge(v.r, e)}
		}
	case http.StatusMethodNotAllowed:
		h["Allow"] = []string{corsMethods}
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		wait := max(e.RetryAfter, time.Second)
		h["Retry-After"] = []string{strconv.Itoa(int((wait + time.Second - 1) / time.Second))}
	}
}

func orElse(status, otherwise int) int {
	if status != 0 {
		return status
	}
	return otherwise
}
