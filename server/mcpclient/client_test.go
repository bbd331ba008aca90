package mcpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A peer is a server that a test gives its answers: to the message m, or on GET
// with m nil.
type peer func(w http.ResponseWriter, r *http.Request, m *mcp.Message)

func start(t *testing.T, p peer) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		m, _ := mcp.Parse(body, mcp.Inbound)
		switch {
		case m != nil && m.Method() == mcp.Initialize:
			w.Header().Set(mcp.HeaderSession, "s-1")
			_, _ = w.Write(mcp.Answer(m.ID(), []byte(`{"protocolVersion":"2025-11-25"}`)).Bytes())
		case m != nil && m.Method() == mcp.Initialized:
			w.WriteHeader(http.StatusAccepted)
		case r.Header.Get(mcp.HeaderSession) != "s-1" || r.Header.Get(mcp.HeaderVersion) != "2025-11-25" || r.Header.Get("Authorization") != "Bearer t":
			t.Errorf("%s with %v", r.Method, r.Header)
		default:
			p(w, r, m)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func open(t *testing.T, c Config) *Client {
	t.Helper()
	c.Token = "t"
	client := New(c)
	if _, err := client.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return client
}

func write(w http.ResponseWriter, events ...sse.Event) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range events {
		_, _ = w.Write(sse.Append(nil, e))
	}
}

func TestAnAddressThatIsDownIsPassedOver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := "http://" + l.Addr().String()
	l.Close()
	up := start(t, func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
		_, _ = w.Write(mcp.Answer(m.ID(), []byte(`{"x":1}`)).Bytes())
	})
	client := open(t, Config{URLs: []string{down, up}})
	if result, err := client.Call(t.Context(), mcp.ToolsCall, nil); err != nil || string(result) != `{"x":1}` {
		t.Errorf("result = %s, %v", result, err)
	}
	if _, err := New(Config{URLs: []string{down}}).Open(t.Context()); fault.Of(err) != fault.Unreachable {
		t.Errorf("nobody there: %v", err)
	}
}

func TestACallThatMayHaveArrivedIsNotSentAgain(t *testing.T) {
	var calls atomic.Int32
	broken := start(t, func(http.ResponseWriter, *http.Request, *mcp.Message) {
		calls.Add(1)
		panic(http.ErrAbortHandler)
	})
	client := open(t, Config{URLs: []string{broken, broken}})
	if _, err := client.Call(t.Context(), mcp.ToolsCall, nil); fault.Of(err) != fault.OutcomeUnknown || calls.Load() != 1 {
		t.Errorf("%d calls, %v", calls.Load(), err)
	}
}

func TestAStreamIsTakenUpBehindItsLastEvent(t *testing.T) {
	var id atomic.Value // mcp.ID
	url := start(t, func(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
		if m != nil {
			id.Store(m.ID())
			write(w, sse.Event{ID: "e-1", HasID: true, Retry: 1}, sse.Event{Data: mcp.Notification(mcp.Progress, []byte(`{"progress":1}`)).Bytes(), ID: "e-2", HasID: true})
			return
		}
		if got := r.Header.Get(mcp.HeaderLastEventID); r.Method != http.MethodGet || got != "e-2" {
			t.Errorf("%s from %q", r.Method, got)
		}
		write(w, sse.Event{Data: mcp.Answer(id.Load().(mcp.ID), []byte(`{"done":true}`)).Bytes(), ID: "e-3", HasID: true})
	})
	var told []string
	client := open(t, Config{URLs: []string{url}, Notify: func(method string, _ []byte) { told = append(told, method) }})
	if result, err := client.Call(t.Context(), mcp.ToolsCall, nil); err != nil || string(result) != `{"done":true}` || len(told) != 1 {
		t.Errorf("result = %s, %v; told %v", result, err, told)
	}
}

func TestAStreamWithoutEventIDsIsLostWithItsConnection(t *testing.T) {
	url := start(t, func(w http.ResponseWriter, _ *http.Request, _ *mcp.Message) { write(w, sse.Event{Comment: "x"}) })
	if _, err := open(t, Config{URLs: []string{url}}).Call(t.Context(), mcp.ToolsCall, nil); fault.Of(err) != fault.OutcomeUnknown {
		t.Errorf("err = %v", err)
	}
}

func TestTheServerIsAnswered(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(context.Context, string, []byte) ([]byte, error)
		want   string
	}{
		"by a person":    {func(context.Context, string, []byte) ([]byte, error) { return []byte(`{"action":"accept"}`), nil }, `"result":{"action":"accept"}`},
		"by a refusal":   {func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("no") }, `"code":-1`},
		"that nobody is": {nil, `"code":-32601`},
	} {
		answers := make(chan string, 1)
		url := start(t, func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			if m.Kind() == mcp.KindRequest {
				write(w, sse.Event{Data: mcp.Request(mcp.TextID("ask-1"), mcp.ElicitationCreate, []byte(`{"message":"?"}`)).Bytes()})
				_ = http.NewResponseController(w).Flush()
				answers <- <-answers // wait for the answer, and keep it
				write(w, sse.Event{Data: mcp.Answer(m.ID(), nil).Bytes()})
				return
			}
			answers <- string(m.Bytes())
			w.WriteHeader(http.StatusAccepted)
		})
		client := open(t, Config{URLs: []string{url}, Answer: test.answer})
		if _, err := client.Call(t.Context(), mcp.ToolsCall, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := <-answers; !strings.Contains(got, test.want) || !strings.Contains(got, `"id":"ask-1"`) {
			t.Errorf("%s: answered %s, want %s", name, got, test.want)
		}
	}
}

func TestFailuresKeepTheirWordsAndGetAKind(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		want   fault.Kind
	}{
		{200, `{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"words"}}`, fault.Invalid},
		{200, `{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"words"}}`, fault.Unsupported},
		{200, `{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"words","data":{"gateway":{"reason":"outcome_unknown"}}}}`, fault.OutcomeUnknown},
		{200, `{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"words","data":{"gateway":{"reason":"node_lost"}}}}`, fault.OutcomeUnknown},
		{401, `{"jsonrpc":"2.0","error":{"code":-32603,"message":"words"}}`, fault.Unauthenticated},
		{503, `{"jsonrpc":"2.0","error":{"code":-32603,"message":"words","data":{"gateway":{"reason":"no_leader"}}}}`, fault.NoLeader},
		{502, `<html>`, fault.Unreachable},
		{301, ``, fault.Internal},
		{200, `nonsense`, fault.Integrity},
		{200, `{"jsonrpc":"2.0","id":99,"result":{}}`, fault.Integrity},
	} {
		url := start(t, func(w http.ResponseWriter, _ *http.Request, _ *mcp.Message) {
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		})
		_, err := open(t, Config{URLs: []string{url}}).Call(t.Context(), mcp.ToolsCall, nil)
		if fault.Of(err) != test.want || strings.Contains(test.body, "words") && !strings.Contains(err.Error(), "words") {
			t.Errorf("%d %s: %v, want %v", test.status, test.body, err, test.want)
		}
	}
}

func TestAListHasAllItsPages(t *testing.T) {
	url := start(t, func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
		cursor, _ := mcp.Text(mcp.Field(m.Params(), "cursor"))
		page := map[string]string{"": `{"tools":[1,2],"nextCursor":"b"}`, "b": `{"tools":[3]}`}[cursor]
		_, _ = w.Write(mcp.Answer(m.ID(), []byte(page)).Bytes())
	})
	var got []string
	client := open(t, Config{URLs: []string{url}})
	err := client.List(t.Context(), mcp.ToolsList, "tools", func(item []byte) error {
		got = append(got, string(item))
		return nil
	})
	if fmt.Sprint(got) != "[1 2 3]" || err != nil {
		t.Errorf("list = %v, %v", got, err)
	}
	if err := client.List(t.Context(), mcp.ToolsList, "prompts", nil); fault.Of(err) != fault.Integrity {
		t.Errorf("another member: %v", err)
	}
}

func TestTheEndIsTold(t *testing.T) {
	var ended atomic.Bool
	url := start(t, func(w http.ResponseWriter, r *http.Request, _ *mcp.Message) {
		ended.Store(r.Method == http.MethodDelete)
		w.WriteHeader(http.StatusNoContent)
	})
	open(t, Config{URLs: []string{url}}).Close(t.Context())
	if !ended.Load() {
		t.Error("no DELETE")
	}
}
