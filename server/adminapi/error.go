package adminapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// An ErrorBody is the body of every answer that is not a success.
type ErrorBody struct {
	Error Error `json:"error"`
}

// An Error says what went wrong. Over the stream the code is the status of the
// frame and RetryAfter is part of the body; over HTTP it is a header.
type Error struct {
	Code       string            `cbor:"-" json:"code"`
	Message    string            `cbor:"1,keyasint" json:"message"`                        // what was asked and what was found
	Hint       string            `cbor:"2,keyasint,omitempty" json:"hint,omitempty"`       // what to do about it
	Retryable  bool              `cbor:"-" json:"retryable"`                               // the same request may be sent again as it is
	Details    map[string]string `cbor:"3,keyasint,omitempty" json:"details,omitempty"`    // machine-readable particulars
	RequestID  string            `cbor:"4,keyasint,omitempty" json:"request_id,omitempty"` // finds the request in the node's log
	RetryAfter Duration          `cbor:"5,keyasint,omitempty" json:"-"`                    // 0: unstated
}

// ErrorOf is the wire form of e.
func ErrorOf(e *fault.Error, requestID string) Error {
	return Error{
		Code:       e.Kind.String(),
		Message:    e.Message,
		Hint:       e.Hint,
		Retryable:  e.Kind.Retryable(),
		Details:    e.Details,
		RequestID:  requestID,
		RetryAfter: DurationOf(e.RetryAfter),
	}
}

// fault is e as it is used in this process. The detail request_id keeps its id.
func (e *Error) fault(kind fault.Kind) *fault.Error {
	f := &fault.Error{
		Kind:       kind,
		Message:    e.Message,
		Hint:       e.Hint,
		Details:    e.Details,
		RetryAfter: e.RetryAfter.Duration(),
	}
	if e.RequestID != "" {
		f.WithDetail("request_id", e.RequestID)
	}
	return f
}

// httpError reads an answer that is not a success. What does not look like ours
// (a proxy in between, another server) is described instead.
func httpError(addr string, resp *http.Response, body []byte) *fault.Error {
	var b ErrorBody
	if err := json.Unmarshal(body, &b); err != nil || b.Error.Code == "" {
		return fault.New(fault.Unreachable, "%s answered %s, which is not an answer of this API", addr, resp.Status).
			WithHint("check that the address is that of an mcpraft admin port")
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s >= 0 {
		b.Error.RetryAfter = DurationOf(time.Duration(s) * time.Second)
	}
	return b.Error.fault(fault.Parse(b.Error.Code))
}

// unreachable sums up what happened at each address.
func unreachable(tried []string) *fault.Error {
	return fault.New(fault.Unreachable, "no node answered: %s", strings.Join(tried, "; ")).
		WithHint("check that a node runs there and that the address, port and TLS settings are right")
}
