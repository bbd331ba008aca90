package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// node is an admin port that answers as it is told.
func node(t *testing.T, h http.HandlerFunc) (addr string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func refuse(kind fault.Kind) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(kind.Status())
		_ = json.NewEncoder(w).Encode(ErrorBody{Error: ErrorOf(fault.New(kind, "refused").WithHint("do this"), "req-1")})
	}
}

func receipt(w http.ResponseWriter, _ *http.Request) {
	info := Info{Index: 9, Timeline: "1-00000001", Revision: 4, Replayed: true}
	info.SetHeader(w.Header())
	fmt.Fprint(w, `{"revision":4,"time":"2026-11-23T10:00:00.5Z","a_new_field":1}`)
}

// cut reads the request and cuts the connection, as a killed node does.
func cut(w http.ResponseWriter, _ *http.Request) {
	nc, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	nc.Close()
}

// nobody is an address where nothing listens.
func nobody(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func client(t *testing.T, addrs ...string) *Client {
	t.Helper()
	c, err := New(Config{Addrs: addrs, Token: "secret", Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var write = RegisterRequest{Type: "tool", Key: "a"}

func TestAnswersAreReadWithTheirHeaders(t *testing.T) {
	addr, _ := node(t, receipt)
	got, info, err := client(t, addr).Register(t.Context(), &write)
	if err != nil {
		t.Fatal(err)
	}
	if got.Revision != 4 || got.Time.Time() != time.Date(2026, 11, 23, 10, 0, 0, 5e8, time.UTC) {
		t.Errorf("receipt = %+v", got)
	}
	if info.Index != 9 || info.Timeline != "1-00000001" || info.Revision != 4 || !info.Replayed || info.Addr == "" {
		t.Errorf("info = %+v", info)
	}
}

func TestRequestsCarryTheirArguments(t *testing.T) {
	var seen *http.Request
	addr, _ := node(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r
		receipt(w, r)
	})
	c := client(t, addr)
	_, _, _ = c.Register(t.Context(), &RegisterRequest{Type: "resource", Key: "file:///a/../b?c", WriteOptions: WriteOptions{IfMatch: 3, IdempotencyKey: "k"}})
	if seen.Method != http.MethodPut || seen.URL.EscapedPath() != "/v1/registry/resource/file:%2F%2F%2Fa%2F..%2Fb%3Fc" {
		t.Errorf("%s %s", seen.Method, seen.URL.EscapedPath())
	}
	if seen.Header.Get("If-Match") != `"3"` || seen.Header.Get("Idempotency-Key") != "k" || seen.Header.Get("Authorization") != "Bearer secret" {
		t.Errorf("header = %v", seen.Header)
	}
	_, _, _ = c.Register(t.Context(), &RegisterRequest{Type: "resource", Key: ".."})
	if seen.URL.EscapedPath() != "/v1/registry/resource/%2E%2E" {
		t.Errorf("the key .. became %s", seen.URL.EscapedPath())
	}
	_, _, _ = c.Entries(t.Context(), &EntriesRequest{Type: "tool", Prefix: "p q", Page: 2, Limit: 5, ReadOptions: ReadOptions{Consistency: Bounded, MinIndex: 7, MaxStaleness: 1500}})
	if got := seen.URL.Query().Encode(); got != "consistency=bounded&limit=5&max_staleness=1.5s&min_index=7&page=2&prefix=p+q" {
		t.Errorf("query = %s", got)
	}
}

func TestAnUnreachableNodeIsPassedOver(t *testing.T) {
	good, _ := node(t, receipt)
	c := client(t, nobody(t), good)
	if _, _, err := c.Register(t.Context(), &write); err != nil {
		t.Error(err)
	}
}

func TestANodeThatDoesNotServeIsPassedOver(t *testing.T) {
	for _, kind := range []fault.Kind{fault.NoLeader, fault.Unavailable} {
		bad, _ := node(t, refuse(kind))
		good, _ := node(t, receipt)
		if _, _, err := client(t, bad, good).Register(t.Context(), &write); err != nil {
			t.Errorf("%v: %v", kind, err)
		}
	}
}

func TestAnAnswerIsNotAskedForElsewhere(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Conflict, fault.NotFound, fault.OutcomeUnknown, fault.Overloaded, fault.Unauthenticated} {
		bad, _ := node(t, refuse(kind))
		other, asked := node(t, receipt)
		_, _, err := client(t, bad, other).Register(t.Context(), &write)
		e, ok := errors.AsType[*fault.Error](err)
		if !ok || e.Kind != kind || e.Hint != "do this" || e.RetryAfter != 2*time.Second || e.Details["request_id"] != "req-1" || e.Details["addr"] == "" {
			t.Errorf("%v: error = %#v", kind, err)
		}
		if asked.Load() != 0 {
			t.Errorf("%v: another node was asked", kind)
		}
	}
}

func TestAWriteIsSentAgainOnlyWithAKey(t *testing.T) {
	bad, _ := node(t, cut)
	good, asked := node(t, receipt)
	_, _, err := client(t, bad, good).Register(t.Context(), &write)
	if fault.Of(err) != fault.OutcomeUnknown || asked.Load() != 0 {
		t.Errorf("a cut write: %v, asked elsewhere %d times", err, asked.Load())
	}
	keyed := write
	keyed.IdempotencyKey = "k"
	if _, _, err := client(t, bad, good).Register(t.Context(), &keyed); err != nil || asked.Load() != 1 {
		t.Errorf("a cut write with a key: %v", err)
	}
	if _, _, err := client(t, bad, good).WhereIs(t.Context(), &WhereIsRequest{Type: "tool", Key: "a"}); err != nil {
		t.Errorf("a cut read: %v", err)
	}
}

// A write that was lost on its way is unknown, whatever the other nodes say that
// did not take it either.
func TestALostWriteIsNotCalledUnreachable(t *testing.T) {
	keyed := write
	keyed.IdempotencyKey = "k"
	bad, _ := node(t, cut)
	leaderless, _ := node(t, refuse(fault.NoLeader))
	for name, other := range map[string]string{"nobody": nobody(t), "a node without a leader": leaderless} {
		if _, _, err := client(t, bad, other).Register(t.Context(), &keyed); fault.Of(err) != fault.OutcomeUnknown {
			t.Errorf("with %s beside it: %v", name, err)
		}
	}
}

func TestErrorsSayWhichNodeAndWhatToDo(t *testing.T) {
	first, second := nobody(t), nobody(t)
	_, _, err := client(t, first, second).Status(t.Context(), &StatusRequest{})
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Kind != fault.Unreachable || !strings.Contains(e.Message, first) || !strings.Contains(e.Message, second) || e.Hint == "" {
		t.Errorf("error = %#v", err)
	}
	stranger, _ := node(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hello", http.StatusTeapot) })
	_, _, err = client(t, stranger).Status(t.Context(), &StatusRequest{})
	if fault.Of(err) != fault.Unreachable || !strings.Contains(err.Error(), "not an answer of this API") {
		t.Errorf("error = %v", err)
	}
}

func TestACallEndsInTime(t *testing.T) {
	slow, _ := node(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that the client has left
		<-r.Context().Done()
	})
	c, err := New(Config{Addrs: []string{slow}, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.Status(t.Context(), &StatusRequest{}); fault.Of(err) != fault.Timeout {
		t.Errorf("a read: %v", err)
	}
	if _, _, err := c.Register(t.Context(), &write); fault.Of(err) != fault.OutcomeUnknown {
		t.Errorf("a write: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Status(ctx, &StatusRequest{}); fault.Of(err) != fault.Timeout {
		t.Errorf("a call that was given up: %v", err)
	}
}

func TestTheLastNodeThatAnsweredIsAskedFirst(t *testing.T) {
	bad, refused := node(t, refuse(fault.NoLeader))
	good, _ := node(t, receipt)
	c := client(t, bad, good)
	for range 3 {
		if _, _, err := c.Register(t.Context(), &write); err != nil {
			t.Fatal(err)
		}
	}
	if n := refused.Load(); n != 1 {
		t.Errorf("the node without a leader was asked %d times", n)
	}
}

func TestAddressesAreChecked(t *testing.T) {
	for _, addr := range []string{"", "ftp://h:1", "http://", "http://h:1/path", "h:1?x=y", "::::"} {
		if _, err := New(Config{Addrs: []string{addr}}); fault.Of(err) != fault.Invalid {
			t.Errorf("%q: %v", addr, err)
		}
	}
	if _, err := New(Config{}); fault.Of(err) != fault.Invalid {
		t.Errorf("no address: %v", err)
	}
	c := client(t, "n1:7441", "https://n2", "http://[::1]:7441/")
	if got := fmt.Sprint(c.Addrs()); got != "[n1:7441 n2:443 [::1]:7441]" {
		t.Errorf("addresses = %s", got)
	}
}
