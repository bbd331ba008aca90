package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

func kinds() []Kind {
	var all []Kind
	for k := range table {
		if k > 0 {
			all = append(all, Kind(k))
		}
	}
	return all
}

// The codes and numbers are promises: to clients, to stored results of commands,
// to scripts. This list changes only by lines at its end.
func TestTableIsAsItWasPublished(t *testing.T) {
	published := `
		1 invalid 400 -32602 2
		2 unauthenticated 401 -32603 4
		3 forbidden 403 -32603 4
		4 not_found 404 -32602 3
		5 conflict 409 -32602 5
		6 precondition_failed 412 -32602 5
		7 too_large 413 -32600 2
		8 idempotency_mismatch 422 -32602 5
		9 quota 429 -32603 1
		10 no_leader 503 -32603 6
		11 overloaded 503 -32603 6
		12 stale 503 -32603 6
		13 outcome_unknown 504 -32603 9
		14 timeout 504 -32603 9
		15 integrity 500 -32603 7
		16 internal 500 -32603 1
		17 unavailable 503 -32603 6
		18 fenced 409 -32603 5
		19 unreachable 502 -32603 6
		20 unsupported 501 -32601 2
		21 method_not_allowed 405 -32601 2
		22 unsupported_format 415 -32600 2`
	var got strings.Builder
	for _, k := range kinds() {
		fmt.Fprintf(&got, "\n\t\t%d %s %d %d %d", k, k, k.Status(), k.RPC(), k.Exit())
	}
	if got.String() != published {
		t.Errorf("the table is now:%s", got.String())
	}
}

func TestEveryRowIsComplete(t *testing.T) {
	code := regexp.MustCompile(`^[a-z][a-z_]*[a-z]$`)
	seen := make(map[string]Kind)
	for _, k := range kinds() {
		if !k.Known() {
			t.Errorf("kind %d is not known", k)
		}
		if !code.MatchString(k.String()) {
			t.Errorf("kind %d has the code %q", k, k)
		}
		if other, ok := seen[k.String()]; ok {
			t.Errorf("kinds %d and %d share the code %q", other, k, k)
		}
		seen[k.String()] = k
		if k.Status() < 400 || http.StatusText(k.Status()) == "" {
			t.Errorf("%s has the status %d", k, k.Status())
		}
		if k.RPC() > -32600 || k.RPC() < -32700 {
			t.Errorf("%s has the JSON-RPC code %d", k, k.RPC())
		}
		if k.Exit() < 1 || k.Exit() > 9 {
			t.Errorf("%s has the exit code %d", k, k.Exit())
		}
		if Parse(k.String()) != k {
			t.Errorf("%s parses as %s", k, Parse(k.String()))
		}
	}
}

func TestUnknownKindIsInternal(t *testing.T) {
	for _, k := range []Kind{0, Kind(len(table)), 255} {
		if k.Known() || k.String() != "internal" || k.Status() != 500 || k.RPC() != -32603 || k.Exit() != 1 || k.Retryable() {
			t.Errorf("kind %d is %s %d", k, k, k.Status())
		}
	}
	for _, code := range []string{"", "no such code", "Not_Found"} {
		if Parse(code) != Internal {
			t.Errorf("%q parses as %s", code, Parse(code))
		}
	}
}

// A client may send a request again only when it cannot have been applied.
func TestUnknownOutcomesAreNotRetryable(t *testing.T) {
	for _, k := range []Kind{OutcomeUnknown, Internal, Integrity, Conflict, Precondition, Invalid} {
		if k.Retryable() {
			t.Errorf("%s is retryable", k)
		}
	}
	for _, k := range []Kind{NoLeader, Overloaded, Stale, Unavailable, Quota} {
		if !k.Retryable() {
			t.Errorf("%s is not retryable", k)
		}
	}
}

func TestMessageNeverHoldsTheCause(t *testing.T) {
	secret := errors.New("secret")
	for _, test := range []struct {
		err         *Error
		message, in string
	}{
		{New(NotFound, "no tool %q", "x"), `no tool "x"`, `no tool "x"`},
		{New(Internal, "reading %s: %w", "x", secret), "reading x", "reading x: secret"},
		{New(Internal, "reading (%w) x", secret), "reading () x", "reading () x: secret"},
		{New(Internal, "%w", secret), "", ": secret"},
		{New(Internal, "reading: %w: %w", secret, io.EOF), "reading", "reading: secret\nEOF"},
		{New(Invalid, "bad: %v", secret), "bad: secret", "bad: secret"},
	} {
		if test.err.Message != test.message || test.err.Error() != test.in {
			t.Errorf("message %q, error %q; want %q, %q", test.err.Message, test.err, test.message, test.in)
		}
	}
}

func TestCausesStayInTheChain(t *testing.T) {
	missing := &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}
	err := New(Internal, "reading: %w", missing)
	if !errors.Is(err, fs.ErrNotExist) || err.Cause != error(missing) {
		t.Errorf("the cause is %v", err.Cause)
	}
	err = New(Internal, "reading: %w: %w", missing, io.EOF)
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, io.EOF) {
		t.Errorf("the causes are %v", err.Cause)
	}
	if New(Internal, "nothing").Cause != nil {
		t.Error("a cause from nowhere")
	}
}

func TestOfFindsTheNearestKind(t *testing.T) {
	inner := New(NotFound, "no tool")
	for _, test := range []struct {
		err  error
		want Kind
	}{
		{nil, 0},
		{inner, NotFound},
		{fmt.Errorf("listing: %w", inner), NotFound},
		{New(Conflict, "outer: %w", inner), Conflict},
		{errors.Join(io.EOF, inner), NotFound},
		{context.DeadlineExceeded, Timeout},
		{fmt.Errorf("reading: %w", context.Canceled), Timeout},
		{New(Unavailable, "stopping: %w", context.Canceled), Unavailable},
		{io.EOF, Internal},
	} {
		if got := Of(test.err); got != test.want {
			t.Errorf("Of(%v) = %d, want %d", test.err, got, test.want)
		}
	}
}

func TestAsGivesNothingAway(t *testing.T) {
	if As(nil) != nil {
		t.Error("nil became an error")
	}
	own := New(NotFound, "no tool")
	if As(fmt.Errorf("listing: %w", own)) != own {
		t.Error("an Error is not itself")
	}
	for err, want := range map[error]Kind{errors.New("open /etc/secret"): Internal, context.DeadlineExceeded: Timeout} {
		e := As(err)
		if e.Kind != want || !errors.Is(e, err) || e.Message == "" || strings.Contains(e.Message+e.Hint, err.Error()) {
			t.Errorf("As(%v) = %+v", err, e)
		}
	}
}

func TestParticularsAreKept(t *testing.T) {
	e := New(Quota, "too many").WithHint("wait %v", time.Minute).WithDetail("limit", "10").WithDetail("found", "11").After(time.Second)
	if e.Hint != "wait 1m0s" || e.Details["limit"] != "10" || e.Details["found"] != "11" || e.RetryAfter != time.Second {
		t.Errorf("got %+v", e)
	}
}
