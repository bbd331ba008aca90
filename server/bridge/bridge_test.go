package bridge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A node is a server that a test gives its answers, and what it was asked.
type node struct {
	*httptest.Server

	mu   sync.Mutex
	said []string // "METHOD session method" of all but GET, in order
}

// A reply answers m, or a GET or DELETE when that is nil. False: as any node would.
type reply func(w http.ResponseWriter, r *http.Request, m *mcp.Message) bool

func newNode(t *testing.T, session string, answer reply) *node {
	n := &node{}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m, _ := mcp.Parse(body, mcp.Inbound)
		method := ""
		if m != nil {
			method = m.Method()
		}
		n.mu.Lock()
		if r.Method != http.MethodGet {
			n.said = append(n.said, strings.Join(strings.Fields(r.Method+" "+r.Header.Get(mcp.HeaderSession)+" "+method), " "))
		}
		n.mu.Unlock()
		if answer != nil && answer(w, r, m) {
			return
		}
		switch {
		case r.Method == http.MethodGet:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case m == nil:
			w.WriteHeader(http.StatusNoContent)
		case m.Method() == mcp.Initialize:
			w.Header().Set(mcp.HeaderSession, session)
			give(w, m, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}}}`)
		case m.Kind() == mcp.KindRequest:
			give(w, m, fmt.Sprintf(`{"by":%q}`, session))
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	t.Cleanup(n.CloseClientConnections)
	t.Cleanup(n.Close)
	return n
}

func (n *node) asked() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.said, "\n")
}

func give(w http.ResponseWriter, m *mcp.Message, result string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(mcp.Answer(m.ID(), []byte(result)).Bytes())
}

func events(w http.ResponseWriter, list ...sse.Event) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range list {
		_, _ = w.Write(sse.Append(nil, e))
	}
	_ = http.NewResponseController(w).Flush()
}

func gone(w http.ResponseWriter) bool {
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write(mcp.Failed("", &mcp.Error{Code: mcp.CodeInternal, Message: "no such session"}).Bytes())
	return true
}

// A client speaks to a bridge.
type client struct {
	t   *testing.T
	in  *io.PipeWriter
	out *bufio.Reader
	end chan error
}

func start(t *testing.T, nodes ...*node) *client {
	t.Helper()
	var urls []string
	for _, n := range nodes {
		urls = append(urls, n.URL)
	}
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	b := New(Config{Find: func(context.Context) ([]string, error) { return urls, nil }, Token: "t"})
	c := &client{t: t, in: inW, out: bufio.NewReader(outR), end: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { c.end <- b.Run(ctx, inR, outW); outW.Close() }()
	t.Cleanup(func() { cancel(); go func() { _, _ = io.Copy(io.Discard, outR) }(); inW.Close() })
	return c
}

func (c *client) say(lines ...string) {
	c.t.Helper()
	for _, line := range lines {
		if _, err := io.WriteString(c.in, line+"\n"); err != nil {
			c.t.Fatal(err)
		}
	}
}

// hear is the next line of the bridge.
func (c *client) hear() string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("the bridge says nothing more: %q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (c *client) wants(parts ...string) {
	c.t.Helper()
	line := c.hear()
	for _, part := range parts {
		if !strings.Contains(line, part) {
			c.t.Errorf("heard %s, want %s", line, part)
		}
	}
}

const (
	hello  = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`
	ready  = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	call   = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`
	list   = `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
	meta   = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	modCal = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"é","arguments":{"region":"eu"},` + meta + `}}`
)

func (c *client) open() {
	c.t.Helper()
	c.say(hello)
	c.wants(`"id":0`, `"result"`)
	c.say(ready)
}

func TestARequestGoesToTheNextNodeWhenItReachedNobody(t *testing.T) {
	down, up := newNode(t, "a", nil), newNode(t, "s", nil)
	down.Close()
	c := start(t, down, up)
	c.open()
	c.say(call)
	c.wants(`"id":1`, `"by":"s"`)
}

func TestARequestThatANodeRefusesForNowGoesToTheNext(t *testing.T) {
	var stops atomic.Bool
	first := newNode(t, "s", func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) bool {
		if stops.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write(mcp.Failed("", &mcp.Error{Code: -32603, Message: "stopping", Data: []byte(`{"gateway":{"reason":"unavailable","retryable":true}}`)}).Bytes())
		}
		return stops.Load()
	})
	second := newNode(t, "s2", nil)
	c := start(t, first, second)
	c.open()
	stops.Store(true)
	c.say(call)
	c.wants(`"id":1`, `"by":"s2"`)
}

func TestACallThatMayHaveBeenCarriedOutIsAnsweredAndNotRepeated(t *testing.T) {
	breaks := func(_ http.ResponseWriter, _ *http.Request, m *mcp.Message) bool {
		if m != nil && (m.Method() == mcp.ToolsCall || m.Method() == mcp.ToolsList) {
			panic(http.ErrAbortHandler)
		}
		return false
	}
	first, second := newNode(t, "s", breaks), newNode(t, "s", nil)
	c := start(t, first, second)
	c.open()
	c.say(call)
	c.wants(`"id":1`, `"error"`, `"reason":"outcome_unknown"`, "look before you repeat it")
	if strings.Contains(second.asked(), "tools/call") {
		t.Errorf("the call was repeated: %s", second.asked())
	}
	third := start(t, first, second)
	third.open()
	third.say(list)
	third.wants(`"id":2`, `"by":"s"`)
	if !strings.Contains(first.asked(), "tools/list") || !strings.Contains(second.asked(), "tools/list") {
		t.Errorf("a request that only reads was not asked twice: %s", second.asked())
	}
}

func TestASessionThatIsGoneIsOpenedAgainWithAllItHad(t *testing.T) {
	var mu sync.Mutex
	lost := false
	opened := 0
	n := newNode(t, "", func(w http.ResponseWriter, r *http.Request, m *mcp.Message) bool {
		mu.Lock()
		defer mu.Unlock()
		if m != nil && m.Method() == mcp.Initialize {
			opened++
			w.Header().Set(mcp.HeaderSession, fmt.Sprintf("s%d", opened))
			give(w, m, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}}}`)
			return true
		}
		return lost && r.Header.Get(mcp.HeaderSession) == "s1" && gone(w)
	})
	c := start(t, n)
	c.open()
	c.say(`{"jsonrpc":"2.0","id":"a","method":"resources/subscribe","params":{"uri":"note://a"}}`)
	c.wants(`"id":"a"`)
	c.say(`{"jsonrpc":"2.0","id":"b","method":"logging/setLevel","params":{"level":"info"}}`)
	c.wants(`"id":"b"`)
	mu.Lock()
	lost = true
	mu.Unlock()
	c.say(call)
	c.wants(mcp.ToolsListChanged)
	c.wants(mcp.ResourceUpdated, `note://a`)
	c.wants(`"id":1`, `"result"`)
	want := "POST s1 tools/call\nPOST initialize\nPOST s2 notifications/initialized\nPOST s2 logging/setLevel\nPOST s2 resources/subscribe\nPOST s2 tools/call"
	if !strings.Contains(n.asked(), want) {
		t.Errorf("asked\n%s\nwant\n%s", n.asked(), want)
	}
}

func TestAStreamIsTakenUpAtAnotherNode(t *testing.T) {
	first := newNode(t, "s", func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) bool {
		if m == nil || m.Method() != mcp.ToolsCall {
			return false
		}
		events(w, sse.Event{ID: "e1", HasID: true, Retry: time.Millisecond}, sse.Event{Data: mcp.Notification(mcp.Progress, []byte(`{"progress":1}`)).Bytes(), ID: "e2", HasID: true})
		panic(http.ErrAbortHandler)
	})
	second := newNode(t, "s", func(w http.ResponseWriter, r *http.Request, m *mcp.Message) bool {
		if r.Method != http.MethodGet || r.Header.Get(mcp.HeaderLastEventID) != "e2" {
			return false
		}
		events(w, sse.Event{Data: mcp.Answer(mcp.NumberID(1), []byte(`{"done":true}`)).Bytes(), ID: "e3", HasID: true})
		return true
	})
	c := start(t, first, second)
	c.say(hello)
	c.wants(`"id":0`)
	c.say(call)
	c.wants(mcp.Progress)
	first.Listener.Close()
	c.wants(`"id":1`, `"done":true`)
}

func TestASubscriptionOfTheModernEraOutlivesItsNode(t *testing.T) {
	var asked atomic.Int32
	n := newNode(t, "", func(w http.ResponseWriter, r *http.Request, m *mcp.Message) bool {
		about := `{"_meta":{"io.modelcontextprotocol/subscriptionId":"l"},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["note://a"]}}`
		events(w, sse.Event{Data: mcp.Notification(mcp.Acknowledged, []byte(about)).Bytes()})
		if asked.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		<-r.Context().Done()
		return true
	})
	c := start(t, n)
	c.say(`{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},` + meta + `}}`)
	c.wants(mcp.Acknowledged)
	c.wants(mcp.ToolsListChanged, `"io.modelcontextprotocol/subscriptionId":"l"`)
	c.wants(mcp.ResourceUpdated, `note://a`)
	c.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"l"}}`)
	c.in.Close()
	if err := <-c.end; err != nil {
		t.Error(err)
	}
	if strings.Contains(n.asked(), mcp.Cancelled) {
		t.Error("a cancellation of the modern era was posted")
	}
}

func TestHeadersOfAModernCallSayWhatTheMessageSays(t *testing.T) {
	n := newNode(t, "", func(w http.ResponseWriter, r *http.Request, m *mcp.Message) bool {
		if m.Method() == mcp.ToolsList {
			give(w, m, `{"tools":[{"name":"é","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}`)
			return true
		}
		if r.Header.Get("Mcp-Param-Region") != "eu" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write(mcp.Failed(m.ID(), &mcp.Error{Code: mcp.CodeHeaderMismatch, Message: "Mcp-Param-Region is missing"}).Bytes())
			return true
		}
		give(w, m, fmt.Sprintf(`{"name":%q,"version":%q}`, r.Header.Get(mcp.HeaderName), r.Header.Get(mcp.HeaderVersion)))
		return true
	})
	c := start(t, n)
	c.say(modCal)
	c.wants(`"id":1`, `"name":"=?base64?w6k=?="`, `"version":"2026-07-28"`)
}

func TestWhatIsNoMessageIsRefusedAndNothingElse(t *testing.T) {
	n := newNode(t, "s", nil)
	c := start(t, n)
	c.say("nonsense")
	c.wants(`"code":-32700`)
	c.say(`[` + call + `]`)
	c.wants(`"code":-32600`)
	c.say(`{"x":"` + strings.Repeat("a", mcp.Inbound.Bytes) + `"}`)
	c.wants(`"error"`)
	c.open()
	c.say(list)
	c.wants(`"id":2`, `"result"`)
}

func TestTheEndOfTheInputWaitsForAnswersAndEndsTheSession(t *testing.T) {
	release := make(chan struct{})
	n := newNode(t, "s", func(_ http.ResponseWriter, _ *http.Request, m *mcp.Message) bool {
		if m != nil && m.Method() == mcp.ToolsCall {
			<-release
		}
		return false
	})
	c := start(t, n)
	c.open()
	c.say(call)
	c.in.Close()
	close(release)
	c.wants(`"id":1`, `"result"`)
	if err := <-c.end; err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(n.asked(), "DELETE s") {
		t.Errorf("the session was not ended: %s", n.asked())
	}
}

func TestARefusalIsGivenAsTheGatewayPutIt(t *testing.T) {
	n := newNode(t, "s", func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) bool {
		if m == nil || m.Method() != mcp.ToolsCall {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write(mcp.Failed("", &mcp.Error{Code: -32603, Message: "not for you", Data: []byte(`{"request_id":"r1"}`)}).Bytes())
		return true
	})
	c := start(t, n)
	c.open()
	c.say(call)
	c.wants(`"id":1`, `"message":"not for you"`, `"request_id":"r1"`)
}
