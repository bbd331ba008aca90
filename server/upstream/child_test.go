package upstream_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/process"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// childVariable makes the test binary an MCP server on its standard input.
const childVariable = "MCPRAFT_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		serveStdio()
		return
	}
	os.Exit(m.Run())
}

// serveStdio answers what it is called to do by the name of the tool.
func serveStdio() {
	in := bufio.NewReader(os.Stdin)
	say := func(m *mcp.Message) { fmt.Printf("%s\n", m.Bytes()) }
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		m, err := mcp.Parse(line, mcp.FromUpstream)
		if err != nil || m.Kind() != mcp.KindRequest {
			continue
		}
		result := "{}"
		switch m.Method() {
		case mcp.Initialize:
			result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"child","version":"1"}}`
			if len(mcp.Field(m.Params(), "capabilities")) > 2 {
				result = `{"protocolVersion":"none"}` // a shared one must not be told any
			}
		case mcp.ToolsCall:
			name, _ := mcp.Text(mcp.Field(m.Params(), "name"))
			switch name {
			case "crash":
				os.Exit(3)
			case "garbage":
				fmt.Println("Listening on stdio")
				say(mcp.Notification(mcp.ToolsListChanged, nil))
			case "progress":
				token := mcp.Meta(m.Params(), mcp.MetaProgressToken)
				for i := range 3 {
					params := mcp.WithField(nil, token, mcp.MetaProgressToken)
					say(mcp.Notification(mcp.Progress, mcp.WithField(params, fmt.Append(nil, i), "progress")))
				}
			case "ask":
				say(mcp.Request(mcp.NumberID(1), "roots/list", nil))
				if line, err = in.ReadBytes('\n'); err != nil {
					return
				}
				result = string(mcp.WithField(nil, mcp.Quote(string(line)), "heard"))
			case "large":
				result = string(mcp.WithField(nil, mcp.Quote(strings.Repeat("x", 5<<20)), "text"))
			}
			result = string(mcp.WithField([]byte(result), fmt.Append(nil, os.Getpid()), "pid"))
		}
		say(mcp.Answer(m.ID(), []byte(result)))
	}
}

// An office holds all claims for one node, until it is told otherwise.
type office struct {
	self string

	mu    sync.Mutex
	owner string
	token uint64
}

func (o *office) claim(name string) record.Claim {
	o.mu.Lock()
	defer o.mu.Unlock()
	return record.Claim{Name: name, Node: o.owner, Token: o.token}
}

func (o *office) Find(_ context.Context, name, _ string, _ int) (record.Claim, error) {
	return o.claim(name), nil
}
func (o *office) Known(name string) (record.Claim, error) { return o.claim(name), nil }

func (o *office) Held(name string) (uint64, bool) {
	c := o.claim(name)
	return c.Token, c.Node == o.self
}
func (o *office) Own() ([]record.Claim, error)                               { return nil, nil }
func (o *office) Release(context.Context, string, uint64) error              { return nil }
func (o *office) Move(_ context.Context, _ string, _ uint64, _ string) error { return nil }

func (o *office) give(node string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owner = node
	o.token++
}

// A post carries calls between the nodes of a test.
type post struct {
	self  string
	nodes map[string]*post
	ops   map[uint16]peer.Handler
}

func (p *post) Handle(op uint16, h peer.Handler) { p.ops[op] = h }

func (p *post) Call(ctx context.Context, node string, op uint16, body []byte) ([]byte, error) {
	if len(body) > 4<<20 {
		return nil, fault.New(fault.TooLarge, "a frame has at most 4 MiB")
	}
	answer, err := p.nodes[node].ops[op](ctx, peer.From{Node: p.self}, body)
	if len(answer) > 4<<20 {
		return nil, fault.New(fault.TooLarge, "a frame has at most 4 MiB")
	}
	return answer, err
}

// stdioNodes are two nodes; all processes are n1's.
func stdioNodes(t *testing.T, rec record.Upstream) (n1, n2 *upstream.Upstreams, offices [2]*office) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rec.Alias, rec.Transport, rec.Command = "kid", record.TransportStdio, "child"
	command := process.Command{Path: self, Env: []string{childVariable + "=1"}}
	posts := make(map[string]*post)
	var nodes [2]*upstream.Upstreams
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	for i, name := range []string{"n1", "n2"} {
		posts[name] = &post{self: name, nodes: posts, ops: make(map[uint16]peer.Handler)}
		runner := process.NewRunner(process.Config{})
		offices[i] = &office{self: name, owner: "n1", token: 1}
		nodes[i] = upstream.New(upstream.Config{
			Lookup: func(string) (record.Upstream, error) { return rec, nil },
			Children: upstream.Children{
				Self: name, Claims: offices[i], Peers: posts[name], Runner: runner,
				Command: func(string) (process.Command, bool) { return command, true },
			},
		})
		running.Go(func() { _ = nodes[i].Run(t.Context()) })
		running.Go(func() { _ = runner.Run(t.Context()) })
	}
	return nodes[0], nodes[1], offices
}

// do calls a tool and gives the result.
func do(t *testing.T, u *upstream.Upstreams, c upstream.Caller, tool string, sink upstream.Sink) ([]byte, error) {
	t.Helper()
	params := []byte(`{"name":"` + tool + `","arguments":{},"_meta":{"progressToken":"mine"}}`)
	answer, err := u.Call(t.Context(), "kid", c, mcp.Request(mcp.NumberID(9), mcp.ToolsCall, params), sink)
	if err != nil {
		return nil, err
	}
	if answer.Kind() != mcp.KindResult || answer.ID() != mcp.NumberID(9) {
		t.Fatalf("%s: %s", tool, answer.Bytes())
	}
	return answer.Result(), nil
}

func pidOf(t *testing.T, u *upstream.Upstreams, c upstream.Caller) string {
	t.Helper()
	result, err := do(t, u, c, "pid", nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(mcp.Field(result, "pid"))
}

// heard notes what comes before an answer.
type heard struct{ progress []string }

func (h *heard) Notification(m *mcp.Message) {
	if m.Method() == mcp.Progress {
		h.progress = append(h.progress, string(mcp.Field(m.Params(), "progressToken"))+string(mcp.Field(m.Params(), "progress")))
	}
}

func (h *heard) Ask(_ context.Context, m *mcp.Message) (*mcp.Message, error) {
	return mcp.Answer(m.ID(), []byte(`{"roots":[]}`)), nil
}
func (h *heard) Progressed(string, string, mcp.ID) {}

func TestChildIsReachedFromBothNodes(t *testing.T) {
	n1, n2, _ := stdioNodes(t, record.Upstream{})
	caller := upstream.Caller{Session: "a", Capabilities: []byte(`{"roots":{}}`)}
	for _, u := range []*upstream.Upstreams{n1, n2} {
		opened, err := u.Open(t.Context(), "kid", caller)
		if err != nil || opened.Version != "2025-11-25" || opened.Modern {
			t.Fatalf("opened %+v, %v", opened, err)
		}
		h := new(heard)
		if _, err := do(t, u, caller, "progress", h); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(h.progress, " "); got != `"mine"0 "mine"1 "mine"2` {
			t.Errorf("heard %s", got)
		}
		if result, err := do(t, u, caller, "large", nil); err != nil || len(result) < 5<<20 {
			t.Errorf("a large answer: %d bytes, %v", len(result), err)
		}
		if _, err := do(t, u, caller, "garbage", nil); err != nil {
			t.Errorf("with garbage before the answer: %v", err)
		}
		if result, err := do(t, u, caller, "ask", new(heard)); err != nil || !strings.Contains(string(result), "-32601") {
			t.Errorf("a shared process asked and heard %s, %v", result, err)
		}
	}
	if a, b := pidOf(t, n1, caller), pidOf(t, n2, upstream.Caller{Session: "b"}); a != b {
		t.Errorf("processes %s and %s", a, b)
	}
}

func TestSessionsWithAChildOfTheirOwnAreAsked(t *testing.T) {
	n1, n2, _ := stdioNodes(t, record.Upstream{SessionMode: record.ModePerSession})
	a, b := upstream.Caller{Session: "a"}, upstream.Caller{Session: "b"}
	if pidOf(t, n1, a) != pidOf(t, n2, a) || pidOf(t, n1, a) == pidOf(t, n2, b) {
		t.Error("sessions share what is theirs, or have two")
	}
	for _, u := range []*upstream.Upstreams{n1, n2} {
		if result, err := do(t, u, a, "ask", new(heard)); err != nil || !strings.Contains(string(result), "roots") {
			t.Errorf("asked and heard %s, %v", result, err)
		}
	}
	before := pidOf(t, n1, a)
	n2.Close(t.Context(), "kid", a)
	if pidOf(t, n1, a) == before {
		t.Error("the process of an ended session goes on")
	}
}

func TestChildThatCrashesIsStartedAgain(t *testing.T) {
	n1, n2, _ := stdioNodes(t, record.Upstream{})
	before := pidOf(t, n2, upstream.Caller{})
	for _, u := range []*upstream.Upstreams{n1, n2} {
		if _, err := do(t, u, upstream.Caller{}, "crash", nil); fault.Of(err) != fault.OutcomeUnknown {
			t.Errorf("a call that ended its process: %v", err)
		}
		if after := pidOf(t, u, upstream.Caller{}); after == before {
			t.Error("it is the same process")
		}
	}
}

func TestProcessesAndTheirLogAreToldToOtherNodes(t *testing.T) {
	n1, n2, _ := stdioNodes(t, record.Upstream{})
	pidOf(t, n2, upstream.Caller{})
	_, _ = do(t, n2, upstream.Caller{}, "crash", nil)
	if _, err := do(t, n2, upstream.Caller{}, "garbage", nil); err != nil {
		t.Fatal(err)
	}
	pid := pidOf(t, n2, upstream.Caller{})
	for _, u := range []*upstream.Upstreams{n1, n2} {
		list, err := u.Processes(t.Context(), "n1", "kid")
		if err != nil || len(list) != 1 {
			t.Fatalf("processes %+v, %v", list, err)
		}
		p := list[0]
		if strconv.Itoa(p.PID) != pid || p.Slot != "0" || p.Restarts != 1 || p.Since == 0 || !strings.Contains(p.LastExit, "exit status 3") {
			t.Errorf("process %s is told as %+v", pid, p)
		}
		log, err := u.Log(t.Context(), "n1", "kid", 1)
		if err != nil || len(log.Lines) != 1 || !strings.Contains(log.Lines[0].Text, "Listening on stdio") {
			t.Errorf("log %+v, %v", log, err)
		}
	}
	if list, err := n1.Processes(t.Context(), "n2", "kid"); err != nil || len(list) != 0 {
		t.Errorf("processes of the node that has none: %+v, %v", list, err)
	}
	if s := n1.Stats(); len(s) != 1 || s[0].Processes != 1 || s[0].Transport != record.TransportStdio {
		t.Errorf("stats %+v", s)
	}
}

func TestChildRunsNothingWithoutItsClaim(t *testing.T) {
	n1, n2, offices := stdioNodes(t, record.Upstream{FailoverTimeout: 300})
	pidOf(t, n1, upstream.Caller{})
	offices[0].give("n2") // n2 still believes that it is n1's
	begun := time.Now()
	if _, err := do(t, n2, upstream.Caller{}, "pid", nil); fault.Of(err) != fault.Unavailable {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
	offices[1].give("n2")
	if pidOf(t, n1, upstream.Caller{}) != pidOf(t, n2, upstream.Caller{}) {
		t.Error("there are two processes")
	}
}
