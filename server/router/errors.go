package router

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

func mismatch(format string, args ...any) *mcp.Error {
	return &mcp.Error{Code: mcp.CodeHeaderMismatch, Message: fmt.Sprintf(format, args...)}
}

func invalidParams(format string, args ...any) *mcp.Error {
	return &mcp.Error{Code: mcp.CodeInvalidParams, Message: fmt.Sprintf(format, args...)}
}

func invalidRequest(format string, args ...any) *mcp.Error {
	return &mcp.Error{Code: mcp.CodeInvalidRequest, Message: fmt.Sprintf(format, args...)}
}

// noMethod names the revisions too: a client that met the wrong era finds out here.
func noMethod(method string) *mcp.Error {
	return &mcp.Error{
		Code:    mcp.CodeMethodNotFound,
		Message: fmt.Sprintf("no method %s here; supported protocol versions %s", method, versionList),
	}
}

var versionList = func() string {
	var names []string
	for _, v := range mcp.Versions() {
		names = append(names, string(v))
	}
	return strings.Join(names, ", ")
}()

// impossible is the error of reference 3.9 for what one era cannot carry to the
// other. Reason is for programs.
func impossible(reason, format string, args ...any) *mcp.Error {
	return &mcp.Error{
		Code:    mcp.CodeInternal,
		Message: fmt.Sprintf(format, args...),
		Data:    mcp.WithField([]byte(`{"gateway":{"retryable":false}}`), mcp.Quote(reason), "gateway", "reason"),
	}
}

// refuse answers m with an error of the gateway, which carries the id to look for
// in the logs. The HTTP status is the one that the modern era gives the code.
func refuse(q *exchange.Request, m *mcp.Message, e *mcp.Error) exchange.Answer {
	return exchange.Answer{Message: mcp.Failed(m.ID(), traced(q, e)), Status: statusOf(e.Code)}
}

// traced is e with the id of the request in its data, as every error that the
// gateway makes has it.
func traced(q *exchange.Request, e *mcp.Error) *mcp.Error {
	if e.Data != nil && e.Data[0] != '{' {
		return e
	}
	out := *e
	out.Data = mcp.WithField(e.Data, mcp.Quote(q.ID), "request_id")
	return &out
}

// statusOf is the HTTP status of an error in the modern era. What the
// specification leaves open is 200, like any answer.
func statusOf(code int) int {
	switch code {
	case mcp.CodeMethodNotFound:
		return http.StatusNotFound
	case mcp.CodeInvalidParams, mcp.CodeInvalidRequest, mcp.CodeHeaderMismatch, mcp.CodeMissingCapability, mcp.CodeUnsupportedVersion:
		return http.StatusBadRequest
	default:
		return http.StatusOK
	}
}

// refusedBefore reports whether err says that nothing was done for want of room or
// of a place to do it. Such an error is the carrier's to report, with a status and
// a Retry-After that load balancers understand; any other belongs to the call and
// travels as its JSON-RPC answer.
func refusedBefore(err error) bool {
	switch fault.Of(err) {
	case fault.Overloaded, fault.Unavailable, fault.NoLeader, fault.Quota:
		return true
	default:
		return false
	}
}
