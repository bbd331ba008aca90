package router

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

func (w *world) batchOf(t *testing.T, s sent, body string) ([]string, error) {
	t.Helper()
	list, _, err := mcp.ParseAny([]byte(body), mcp.Inbound)
	if err != nil {
		t.Fatal(err)
	}
	if s.stream == nil {
		s.stream = new(fakeStream)
	}
	answers, err := w.Batch(t.Context(), s.request(), list, s.stream)
	var texts []string
	for _, a := range answers {
		texts = append(texts, string(a.Bytes()))
	}
	return texts, err
}

func TestBatchIsAnsweredInTheOrderOfItsRequests(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20250326, mcp.V20250326, `{}`)
	second := make(chan struct{})
	w.upstreams.call = func(_ context.Context, _ upstream.Caller, m *mcp.Message, s upstream.Sink) (*mcp.Message, error) {
		if m.ID() == mcp.NumberID(1) {
			<-second // they are worked on at the same time
			return nil, fault.New(fault.Unreachable, "gone")
		}
		close(second)
		s.Notification(mcp.Notification(mcp.Progress, nil))
		return mcp.Answer(m.ID(), nil), nil
	}
	s := sent{session: "s", stream: new(fakeStream)}
	got, err := w.batchOf(t, s, `[{"jsonrpc":"2.0","id":1,"method":"tools/list"},{"jsonrpc":"2.0","method":"notifications/cancelled"},
		{"jsonrpc":"2.0","id":2,"method":"tools/list"},{"jsonrpc":"2.0","id":3,"method":"ping"},{"jsonrpc":"2.0","id":"a","result":{}}]`)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || !strings.Contains(got[0], `"id":1,"error"`) || !strings.Contains(got[1], `"id":2,"result"`) || !strings.Contains(got[2], `"id":3,"result"`) {
		t.Errorf("answers %q", got)
	}
	if len(w.sessions.delivered) != 2 {
		t.Errorf("delivered %q", w.sessions.delivered)
	}
}

func TestAnswerInABatchDoesNotWaitForTheRequestsBeforeIt(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20250326, mcp.V20250326, `{}`)
	arrived := make(chan struct{})
	var once sync.Once
	w.upstreams.call = func(_ context.Context, _ upstream.Caller, m *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
		<-arrived
		return mcp.Answer(m.ID(), nil), nil
	}
	requests := strings.Repeat(`{"jsonrpc":"2.0","id":1,"method":"tools/list"},`, 2*batchAtOnce)
	w.Router.sessions = &hearing{w.sessions, func() { once.Do(func() { close(arrived) }) }}
	got, err := w.batchOf(t, sent{session: "s"}, `[`+requests+`{"jsonrpc":"2.0","id":"a","result":{}}]`)
	if err != nil || len(got) != 2*batchAtOnce {
		t.Errorf("%d answers, %v", len(got), err)
	}
}

func TestBatchesAreOfTheirRevisionsOnly(t *testing.T) {
	for name, c := range map[string]struct {
		v    mcp.Version
		sent sent
		body string
		ok   bool
	}{
		"2025-03-26":          {mcp.V20250326, sent{session: "s"}, `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, true},
		"2024-11-05":          {mcp.V20241105, sent{session: "s"}, `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, true},
		"2025-06-18":          {mcp.V20250618, sent{session: "s"}, `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, false},
		"2025-11-25":          {mcp.V20251125, sent{session: "s"}, `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, false},
		"initialize inside":   {mcp.V20250326, sent{session: "s"}, `[{"jsonrpc":"2.0","id":1,"method":"initialize"}]`, false},
		"no session":          {mcp.V20250326, sent{}, `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, false},
		"a modern one inside": {mcp.V20250326, sent{session: "s"}, `[` + modernBody("tools/list", "") + `]`, false},
	} {
		w := newWorld(t)
		w.open("s", c.v, mcp.V20250326, `{}`)
		got, err := w.batchOf(t, c.sent, c.body)
		if c.ok && (err != nil || len(got) != 1) || !c.ok && fault.Of(err) != fault.Invalid {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestEventsOfABatchHaveNoIDs(t *testing.T) {
	s := new(fakeStream)
	if err := (unnumbered{s}).Send(sse.Event{ID: "x", HasID: true, Data: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if e := s.events[0]; e.HasID || e.ID != "" || string(e.Data) != "1" {
		t.Errorf("sent %+v", e)
	}
}

// hearing tells when something was delivered.
type hearing struct {
	*fakeSessions
	heard func()
}

func (h *hearing) Deliver(ctx context.Context, l *session.Live, m *mcp.Message) (bool, error) {
	h.heard()
	return h.fakeSessions.Deliver(ctx, l, m)
}
