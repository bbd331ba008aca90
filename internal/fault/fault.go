// Package fault is the closed list of ways a request can fail, and the one
// table that turns a kind into every wire code: HTTP status, admin API code and
// metric label, JSON-RPC code, exit code of the CLI.
//
// Code below the wire returns *Error (or wraps one); code at the wire asks Of
// for the kind and never invents a status of its own. The message and the hint
// may reach strangers: they name what was asked, what was found and what to do,
// and hold no secrets. What only an operator may see goes into the wrapped
// cause, which is logged and never sent.
package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Kind says what went wrong in a way that a program can act on. Numbers are
// for ever: they are stored with the results of commands and sent between
// nodes. Append, never reuse, never reorder. Zero is not a failure.
type Kind uint8

const (
	Invalid           Kind = 1  // the request breaks a rule of its format or of a record
	Unauthenticated   Kind = 2  // no credentials, or credentials that do not verify
	Forbidden         Kind = 3  // the caller is known and may not do this
	NotFound          Kind = 4  // the named thing does not exist
	Conflict          Kind = 5  // the thing exists already, or its state forbids the change
	Precondition      Kind = 6  // the revision asked for is not the current one
	TooLarge          Kind = 7  // a body, record or command above its stated limit
	Mismatch          Kind = 8  // an Idempotency-Key was used again with another body
	Quota             Kind = 9  // a stated maximum is reached
	NoLeader          Kind = 10 // no leader is known, or leadership moved before anything was appended
	Overloaded        Kind = 11 // refused before anything was appended; try again later
	Stale             Kind = 12 // this replica cannot meet the freshness that was asked for
	OutcomeUnknown    Kind = 13 // the change may or may not have been applied
	Timeout           Kind = 14 // the caller's deadline passed; nothing is known to have been applied
	Integrity         Kind = 15 // stored or received bytes do not verify
	Internal          Kind = 16 // a defect of ours; details are in the log
	Unavailable       Kind = 17 // this node does not serve: starting, stopping, read-only, removed
	Fenced            Kind = 18 // the term or the claim that this change was made under has ended
	Unreachable       Kind = 19 // a node could not be reached (client side and between nodes)
	Unsupported       Kind = 20 // known, and not done by this version
	MethodNotAllowed  Kind = 21 // the route exists, not with this method
	UnsupportedFormat Kind = 22 // the body is of a media type that the route does not take
)

// row is one line of the table: what each wire calls a kind.
type row struct {
	code      string // admin API, metric label
	status    int    // HTTP
	rpc       int    // JSON-RPC
	exit      int    // CLI, see reference of exit codes in docs/cli.md
	retryable bool   // the same request may succeed later, and is safe to send again
}

// table is indexed by Kind; index 0 stands for anything that is not a Kind.
var table = [...]row{
	0:                 {"internal", http.StatusInternalServerError, -32603, 1, false},
	Invalid:           {"invalid", http.StatusBadRequest, -32602, 2, false},
	Unauthenticated:   {"unauthenticated", http.StatusUnauthorized, -32603, 4, false},
	Forbidden:         {"forbidden", http.StatusForbidden, -32603, 4, false},
	NotFound:          {"not_found", http.StatusNotFound, -32602, 3, false},
	Conflict:          {"conflict", http.StatusConflict, -32602, 5, false},
	Precondition:      {"precondition_failed", http.StatusPreconditionFailed, -32602, 5, false},
	TooLarge:          {"too_large", http.StatusRequestEntityTooLarge, -32600, 2, false},
	Mismatch:          {"idempotency_mismatch", http.StatusUnprocessableEntity, -32602, 5, false},
	Quota:             {"quota", http.StatusTooManyRequests, -32603, 1, true},
	NoLeader:          {"no_leader", http.StatusServiceUnavailable, -32603, 6, true},
	Overloaded:        {"overloaded", http.StatusServiceUnavailable, -32603, 6, true},
	Stale:             {"stale", http.StatusServiceUnavailable, -32603, 6, true},
	OutcomeUnknown:    {"outcome_unknown", http.StatusGatewayTimeout, -32603, 9, false},
	Timeout:           {"timeout", http.StatusGatewayTimeout, -32603, 9, false},
	Integrity:         {"integrity", http.StatusInternalServerError, -32603, 7, false},
	Internal:          {"internal", http.StatusInternalServerError, -32603, 1, false},
	Unavailable:       {"unavailable", http.StatusServiceUnavailable, -32603, 6, true},
	Fenced:            {"fenced", http.StatusConflict, -32603, 5, false},
	Unreachable:       {"unreachable", http.StatusBadGateway, -32603, 6, true},
	Unsupported:       {"unsupported", http.StatusNotImplemented, -32601, 2, false},
	MethodNotAllowed:  {"method_not_allowed", http.StatusMethodNotAllowed, -32601, 2, false},
	UnsupportedFormat: {"unsupported_format", http.StatusUnsupportedMediaType, -32600, 2, false},
}

func (k Kind) row() row {
	if int(k) >= len(table) {
		return table[0]
	}
	return table[k]
}

// String is the code of k on the admin API and as a metric label.
func (k Kind) String() string { return k.row().code }

// Known reports whether k is a row of the table.
func (k Kind) Known() bool { return k != 0 && int(k) < len(table) }

// Status is the HTTP status of k.
func (k Kind) Status() int { return k.row().status }

// RPC is the JSON-RPC error code of k.
func (k Kind) RPC() int { return k.row().rpc }

// Exit is the exit code of the CLI for k.
func (k Kind) Exit() int { return k.row().exit }

// Retryable reports whether the same request may be sent again as it is.
func (k Kind) Retryable() bool { return k.row().retryable }

// Parse is the kind of an admin API code; unknown codes are Internal.
func Parse(code string) Kind {
	for k := range table {
		if k > 0 && table[k].code == code {
			return Kind(k)
		}
	}
	return Internal
}

// An Error is a failure that may be shown to whoever asked.
type Error struct {
	Kind       Kind
	Message    string            // what was asked and what was found; no trailing period
	Hint       string            // what to do about it; empty when there is nothing
	Details    map[string]string // machine-readable particulars: field, limit, found
	RetryAfter time.Duration     // 0 means unstated
	Cause      error             // for the log only; nil when the message says it all
}

// Error is the message, followed by the cause if there is one: it is the form
// for logs. What leaves the process is built from the fields.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.Cause.Error()
}

func (e *Error) Unwrap() error { return e.Cause }

// New makes an Error of kind k with a formatted message. An error formatted by %w
// becomes the Cause, and its text does not become part of the message, which may
// reach strangers; use %v for one that may. %w stands at the end, behind ": ".
func New(k Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Kind: k, Message: err.Error()}
	causes := wrapped(err)
	for _, cause := range slices.Backward(causes) {
		e.Message = without(e.Message, cause.Error())
	}
	if len(causes) == 1 {
		e.Cause = causes[0]
	} else {
		e.Cause = errors.Join(causes...)
	}
	return e
}

// wrapped is what the %w verbs of fmt.Errorf took, in their order.
func wrapped(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	if one := errors.Unwrap(err); one != nil {
		return []error{one}
	}
	return nil
}

// without removes the last occurrence of text from message, and what led to it.
func without(message, text string) string {
	if i := strings.LastIndex(message, text); i >= 0 {
		message = message[:i] + message[i+len(text):]
	}
	return strings.TrimRight(message, ":,; ")
}

// WithHint sets what to do about e and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// WithDetail adds one machine-readable particular and returns e.
func (e *Error) WithDetail(key, value string) *Error {
	if e.Details == nil {
		e.Details = make(map[string]string)
	}
	e.Details[key] = value
	return e
}

// After sets when to try again and returns e.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// Of is the kind of err: that of the nearest *Error in its chain, Timeout for a
// context that ended, Internal for anything else, and 0 for nil.
func Of(err error) Kind {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Timeout
	}
	return Internal
}

// As is err as an *Error. What is not one becomes Internal (or Timeout) with a
// message that gives nothing away; the cause stays for the log.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch k := Of(err); k {
	case 0:
		return nil
	case Timeout:
		return &Error{Kind: Timeout, Message: "the deadline of the request passed", Cause: err}
	default:
		return &Error{Kind: k, Message: "internal error", Hint: "the node's log has the details under this request id", Cause: err}
	}
}
