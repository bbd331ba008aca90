package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// An exchange is one HTTP request on its way: the ResponseWriter that handlers
// get, with what admission found out.
type exchange struct {
	http.ResponseWriter
	caller    record.Principal
	requestID string
	answered  bool
}

// Unwrap lets http.ResponseController find the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

func (x *exchange) WriteHeader(status int) {
	x.answered = true
	x.ResponseWriter.WriteHeader(status)
}

// json answers with v as the body, in one write.
func (x *exchange) json(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	h := x.Header()
	h["Content-Type"] = contentJSON
	h["Content-Length"] = []string{strconv.Itoa(len(body) + 1)}
	x.WriteHeader(status)
	_, _ = x.Write(append(body, '\n')) // an error here means that nobody listens
	return nil
}

var (
	contentJSON = []string{"application/json"}
	noStore     = []string{"no-store"}
	noSniff     = []string{"nosniff"}
)

// ServeHTTP admits a request and lets its route answer. The one place where
// errors become answers over HTTP.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, requestID: a.ids.Of(r.Header.Get(adminapi.HeaderRequestID))}
	h := w.Header()
	h[adminapi.HeaderRequestID] = []string{x.requestID}
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			panic(v) // an answer that had begun is cut off
		} else if v != nil {
			a.panicked(r.Method+" "+r.Pattern, x.requestID, v, debug.Stack())
			a.refuse(x, r, fault.New(fault.Internal, "internal error").WithHint("the node's log has the details under this request id"))
		}
	}()
	if err := a.admit(x, r); err != nil {
		a.refuse(x, r, err)
		return
	}
	a.mux.ServeHTTP(x, r)
}

// admit refuses what may not go on to a route.
func (a *API) admit(x *exchange, r *http.Request) error {
	if isProbe(r.URL.Path) {
		return nil
	}
	if err := a.origins.Check(r); err != nil {
		return fault.New(fault.Forbidden, "the request comes from a page of another origin: %v", err).
			WithHint("this API is for programs and for the console of this node")
	}
	caller, err := a.authenticate(r)
	if err != nil {
		return err
	}
	x.caller = caller
	if path := r.URL.EscapedPath(); strings.Contains(path, "//") || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") {
		return fault.New(fault.Invalid, "path %q has an empty, . or .. segment", path).
			WithHint("percent-encode a key: / is %%2F and . is %%2E")
	}
	return nil
}

func isProbe(path string) bool {
	return path == adminapi.Livez || path == adminapi.Readyz || path == adminapi.Startupz
}

// serve makes an HTTP handler of one that returns errors.
func (a *API) serve(h func(x *exchange, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange) // ServeHTTP hands in nothing else
		if err := h(x, r); err != nil {
			a.refuse(x, r, err)
		}
	})
}

// operation is the handler of a route over HTTP.
func (a *API) operation(rt *route) http.Handler {
	return a.serve(func(x *exchange, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
		defer cancel()
		began := time.Now()
		c := &call{op: rt.op, caller: x.caller, requestID: x.requestID}
		args := newArgs(x, r)
		result, info, err := rt.http(a, ctx, c, args)
		a.metrics.observe(rt.op, began, err)
		if info.Timeline != "" {
			info.SetHeader(x.Header())
		}
		if err != nil {
			return err
		}
		return x.json(rt.status, result)
	})
}

// refuse answers with an error and logs what the caller is not told.
func (a *API) refuse(x *exchange, r *http.Request, err error) {
	e := fault.As(err)
	a.logFailure(r.Method+" "+r.Pattern, x.requestID, e)
	if x.answered {
		return
	}
	h := x.Header()
	switch {
	case e.Kind == fault.Unauthenticated:
		h.Set("WWW-Authenticate", `Bearer realm="mcpraft"`)
	case e.RetryAfter > 0:
		h.Set("Retry-After", retryAfter(e.RetryAfter))
	case e.Kind.Retryable():
		h.Set("Retry-After", "1")
	}
	body := adminapi.ErrorBody{Error: adminapi.ErrorOf(e, x.requestID)}
	_ = x.json(e.Kind.Status(), body) // strings always encode
}

// retryAfter is d in whole seconds, rounded up.
func retryAfter(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}

// logFailure tells the operator what is theirs to know: defects and integrity at
// error, what has a hidden cause at warn, the rest not at all.
func (a *API) logFailure(route, requestID string, e *fault.Error) {
	level := slog.LevelDebug
	switch {
	case e.Kind == fault.Internal || e.Kind == fault.Integrity:
		level = slog.LevelError
	case e.Cause != nil && e.Kind != fault.Invalid && e.Kind != fault.Timeout:
		level = slog.LevelWarn
	}
	if !a.log.Enabled(context.Background(), level) {
		return
	}
	a.log.Log(context.Background(), level, "admin request refused",
		"route", route, "request_id", requestID, "code", e.Kind.String(), "err", e.Error())
}

func (a *API) panicked(route, requestID string, value any, stack []byte) {
	a.metrics.panics.Inc()
	a.log.Error("admin request panicked", "route", route, "request_id", requestID, "panic", fmt.Sprint(value), "stack", string(stack))
}
