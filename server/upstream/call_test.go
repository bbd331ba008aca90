package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sync/semaphore"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

func withCancel(b *bed) (context.Context, context.CancelFunc) { return context.WithCancel(b.Context()) }

// onCall runs one tools/call against a legacy upstream with this script.
func onCall(t *testing.T, script func(*hit), test func(b *bed), change ...func(*upstream.Config)) {
	t.Helper()
	f := legacy()
	f.script("tools/call", script)
	inBubble(t, f, test, change...)
}

func TestAnswersAreReadHoweverTheyAreLabelled(t *testing.T) {
	message := func(h *hit) string { return string(mcp.Answer(h.m.ID(), []byte(`{"x":1}`)).Bytes()) }
	for name, script := range map[string]func(*hit){
		"JSON":               func(h *hit) { h.raw("application/json", message(h)) },
		"JSON with charset":  func(h *hit) { h.raw("application/json; charset=utf-8", message(h)) },
		"JSON as text":       func(h *hit) { h.raw("text/plain", message(h)) },
		"JSON as events":     func(h *hit) { h.raw("text/event-stream", message(h)) },
		"JSON with BOM":      func(h *hit) { h.raw("application/json", "\xef\xbb\xbf \r\n"+message(h)) },
		"JSON on many lines": func(h *hit) { h.raw("application/json", strings.ReplaceAll(message(h), ",", ",\r\n  ")) },
		"a batch of one":     func(h *hit) { h.raw("application/json", "["+message(h)+"]") },
		"events":             func(h *hit) { h.stream(h.answer(`{"x":1}`)) },
		"events as JSON":     func(h *hit) { h.raw("application/json", "event: message\ndata: "+message(h)+"\n\n") },
		"events after silence": func(h *hit) {
			h.stream(sse.Event{Comment: "wait"})
			time.Sleep(20 * time.Second)
			h.send(h.answer(`{"x":1}`))
		},
		"id as a string": func(h *hit) {
			h.raw("application/json", string(mcp.Answer(mcp.TextID(string(h.m.ID())), []byte(`{"x":1}`)).Bytes()))
		},
		"stream left open": func(h *hit) {
			h.stream(h.answer(`{"x":1}`))
			h.gone()
		},
	} {
		t.Run(name, func(t *testing.T) {
			onCall(t, script, func(b *bed) {
				if got := string(b.ok(user("a"), nil).Result()); !strings.Contains(got, "1") {
					b.Errorf("the result is %s", got)
				}
			})
		})
	}
}

func TestErrorsOfUpstreamsAreRelayedWhateverTheirStatus(t *testing.T) {
	for _, status := range []int{200, 400, 404, 422, 500} {
		onCall(t, func(h *hit) { h.fail(status, -32123, "odd") }, func(b *bed) {
			answer, err := b.call(user("a"), nil)
			if err != nil || answer.Kind() != mcp.KindFailure || answer.Err().Code != -32123 || answer.ID() != `"client-1"` {
				b.Fatalf("status %d: %v, %v", status, answer, err)
			}
		})
	}
}

func TestOtherErrorsBecomeClearFaults(t *testing.T) {
	for _, test := range []struct {
		status int
		kind   fault.Kind
		says   string
	}{
		{401, fault.Unreachable, "credentials"},
		{403, fault.Unreachable, "credentials"},
		{405, fault.Unreachable, "405"},
		{429, fault.Overloaded, "busy"},
		{500, fault.OutcomeUnknown, "500"},
		{503, fault.Overloaded, "busy"},
	} {
		onCall(t, func(h *hit) { http.Error(h, "plain \x1b[31mtext", test.status) }, func(b *bed) {
			_, err := b.call(user("a"), nil)
			b.wantFault(err, test.kind, test.says, `"up"`)
			b.wantSeen("tools/call", 1)
			if strings.Contains(err.Error(), "\x1b") {
				b.Error("terminal controls of the upstream are repeated")
			}
		})
	}
}

func TestGarbageIsAnErrorToTheCallerOnly(t *testing.T) {
	for name, script := range map[string]func(*hit){
		"HTML":            func(h *hit) { h.raw("text/html", "<html><body>Welcome") },
		"half a message":  func(h *hit) { h.raw("application/json", `{"jsonrpc":"2.0","id":`) },
		"not JSON-RPC":    func(h *hit) { h.raw("application/json", `{"hello":"world"}`) },
		"nothing":         func(h *hit) { h.WriteHeader(http.StatusAccepted) },
		"empty stream":    func(h *hit) { h.stream() },
		"garbage event":   func(h *hit) { h.stream(event("[DONE]")) },
		"binary":          func(h *hit) { h.raw("application/octet-stream", "\x00\x01\x02") },
		"a batch of junk": func(h *hit) { h.raw("application/json", `[1,2,3]`) },
	} {
		t.Run(name, func(t *testing.T) {
			f := legacy()
			f.script("tools/call", script)
			inBubble(t, f, func(b *bed) {
				_, err := b.call(user("a"), nil)
				b.wantFault(err, fault.OutcomeUnknown)
				b.wantSeen("tools/call", 1)
				f.script("tools/call", nil)
				b.ok(user("a"), nil)
				b.wantSeen("initialize", 1)
			})
		})
	}
}

func TestWrongIDIsAnErrorToTheCallerAndHarmsNoConnection(t *testing.T) {
	wrong := string(mcp.Answer("4711", nil).Bytes())
	for name, script := range map[string]func(*hit){
		"JSON":   func(h *hit) { h.raw("application/json", wrong) },
		"stream": func(h *hit) { h.stream(event(wrong)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := legacy()
			inBubble(t, f, func(b *bed) {
				b.ok(user("a"), nil)
				connections := b.ups.Stats()[0].Connections
				f.script("tools/call", script)
				_, err := b.call(user("a"), nil)
				b.wantFault(err, fault.OutcomeUnknown, "4711")
				f.script("tools/call", nil)
				b.ok(user("a"), nil)
				if now := b.ups.Stats()[0].Connections; name == "JSON" && now != connections {
					b.Errorf("%d connections became %d", connections, now)
				}
			})
		})
	}
}

// Whatever may have been carried out is not sent again.
func TestBrokenCallIsNotSentAgain(t *testing.T) {
	for name, script := range map[string]func(*hit){
		"before the head": func(h *hit) { panic(http.ErrAbortHandler) },
		"in the body": func(h *hit) {
			h.Header().Set("Content-Length", "1000")
			io.WriteString(h, `{"jsonrpc"`)
			h.ResponseWriter.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"in the stream": func(h *hit) {
			h.stream(event(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`))
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onCall(t, script, func(b *bed) {
				_, err := b.call(user("a"), nil)
				b.wantFault(err, fault.OutcomeUnknown, "up")
				b.wantSeen("tools/call", 1)
			})
		})
	}
}

func TestUnreachableUpstreamIsSaidToBeUnreachable(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		b.change(func(r *record.Upstream) { r.URL = "http://nobody.example:80/mcp" })
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.Unreachable, "cannot be reached")
		if strings.Contains(fault.As(err).Message, "nobody.example") {
			b.Error("the message gives the address away")
		}
	})
}

func TestHeadersAreNothingButOurs(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		b.ok(user("a"), nil)
		var names []string
		for name := range b.fake.seen("tools/call")[0].in.Header {
			names = append(names, name)
		}
		slices.Sort(names)
		want := []string{"Accept", "Content-Length", "Content-Type", "Mcp-Protocol-Version", "Mcp-Session-Id", "User-Agent"}
		if !slices.Equal(names, want) {
			b.Errorf("headers %v, want %v", names, want)
		}
	})
}

func TestModernHeadersRepeatTheBodyThatIsSent(t *testing.T) {
	f := modern()
	f.script("tools/list", func(h *hit) {
		h.result(`{"resultType":"complete","tools":[{"name":"t","inputSchema":{"type":"object","properties":{
			"region":{"type":"string","x-mcp-header":"Region"},
			"where":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
			"none":{"type":"string","x-mcp-header":"None"}}}}]}`)
	})
	inBubble(t, f, func(b *bed) {
		b.request(user("a"), "tools/call", `{"name":"t","arguments":{"region":"é","where":{"n":42},"none":null}}`, nil)
		b.wantSeen("tools/list", 1) // it was not known
		header := f.seen("tools/call")[0].in.Header
		for name, want := range map[string]string{
			"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "t",
			"Mcp-Param-Region": "=?base64?w6k=?=", "Mcp-Param-N": "42", "Mcp-Param-None": "",
		} {
			if got := header.Get(name); got != want {
				b.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		b.request(user("a"), "resources/read", `{"uri":"x://ü"}`, nil)
		if got := f.seen("resources/read")[0].in.Header.Get("Mcp-Name"); got != mcp.EncodeHeader("x://ü") {
			b.Errorf("Mcp-Name of a resource: %q", got)
		}
		if params, ok := b.ups.HeaderParams("up", "t"); !ok || len(params) != 3 {
			b.Errorf("HeaderParams gives %v, %v", params, ok)
		}
	})
}

func TestModernRequestsCarryTheProtocolsMeta(t *testing.T) {
	inBubble(t, modern(), func(b *bed) {
		c := user("a")
		c.LogLevel = "info"
		b.ok(c, nil)
		h := b.fake.seen("tools/call")[0]
		for key, want := range map[string]string{
			mcp.MetaProtocolVersion: `"2026-07-28"`, mcp.MetaClientCapabilities: `{"roots":{}}`,
			mcp.MetaClientInfo: `{"name":"client","version":"9"}`, mcp.MetaLogLevel: `"info"`,
		} {
			if got := h.param("_meta", key); got != want {
				b.Errorf("%s is %s, want %s", key, got, want)
			}
		}
		b.request(c, "tools/call", `{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2027-01-01","io.modelcontextprotocol/clientCapabilities":{"sampling":{}}}}`, nil)
		h = b.fake.seen("tools/call")[1]
		if got := h.param("_meta", mcp.MetaClientCapabilities); got != `{"sampling":{}}` {
			b.Errorf("the caller's capabilities became %s", got)
		}
		if got := h.param("_meta", mcp.MetaProtocolVersion); got != `"2026-07-28"` {
			b.Errorf("the version is %s, the header says otherwise", got)
		}
	})
}

func TestToolThatBreaksTheHeaderRulesIsDroppedAlone(t *testing.T) {
	f := modern()
	f.script("tools/list", func(h *hit) {
		h.result(`{"tools":[{"name":"good","inputSchema":{}},{"name":"bad","inputSchema":{"properties":{"x":{"type":"number","x-mcp-header":"X"}}}},{"name":"fine","inputSchema":{}}],"nextCursor":"n"}`)
	})
	inBubble(t, f, func(b *bed) {
		answer, err := b.request(user("a"), "tools/list", `{}`, nil)
		if err != nil {
			b.Fatal(err)
		}
		want := `{"tools":[{"name":"good","inputSchema":{}},{"name":"fine","inputSchema":{}}],"nextCursor":"n"}`
		if string(answer.Result()) != want {
			b.Errorf("the list is %s", answer.Result())
		}
	})
}

func TestHeaderMismatchListsTheToolsAndTriesOnceMore(t *testing.T) {
	f := modern()
	schema := `{}`
	f.script("tools/list", func(h *hit) { h.result(`{"tools":[{"name":"t","inputSchema":` + schema + `}]}`) })
	f.script("tools/call", func(h *hit) {
		if h.in.Header.Get("Mcp-Param-X") != "1" {
			h.fail(http.StatusBadRequest, mcp.CodeHeaderMismatch, "Mcp-Param-X missing")
			return
		}
		h.result(`{}`)
	})
	inBubble(t, f, func(b *bed) {
		b.request(user("a"), "tools/list", `{}`, nil)
		schema = `{"properties":{"x":{"type":"integer","x-mcp-header":"X"}}}`
		answer, err := b.request(user("a"), "tools/call", `{"name":"t","arguments":{"x":1}}`, nil)
		if err != nil || answer.Kind() != mcp.KindResult {
			b.Fatalf("%v, %v", answer, err)
		}
		b.wantSeen("tools/list", 2)
		b.wantSeen("tools/call", 2)
	})
}

func TestProgressTokenIsOursOnTheWayUpAndTheCallersOnTheWayBack(t *testing.T) {
	onCall(t, func(h *hit) {
		token := h.param("_meta", "progressToken")
		progress := func(token string, n int) sse.Event {
			return event(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, token, n))
		}
		h.stream(progress(token, 1), progress(`"theirs"`, 2), progress(`99`, 3), progress(`"`+token+`"`, 4), h.answer(`{}`))
	}, func(b *bed) {
		s := &sink{}
		if _, err := b.request(user("a"), "tools/call", `{"name":"t","_meta":{"progressToken":"theirs","x":1}}`, s); err != nil {
			b.Fatal(err)
		}
		if up := b.fake.seen("tools/call")[0]; up.param("_meta", "progressToken") == `"theirs"` || up.param("_meta", "x") != "1" {
			b.Errorf("went up as %s", up.m.Params())
		}
		var got []string
		for _, m := range s.messages {
			got = append(got, string(m.Params()))
		}
		want := []string{`{"progressToken":"theirs","progress":1}`, `{"progressToken":"theirs","progress":4}`}
		if !slices.Equal(got, want) {
			b.Errorf("progress came back as %v, want %v", got, want)
		}
	})
}

func TestIDsAreOurs(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		b.ok(user("a"), nil)
		b.ok(user("a"), nil)
		calls := b.fake.seen("tools/call")
		if calls[0].m.ID() == `"client-1"` || calls[0].m.ID() == calls[1].m.ID() {
			b.Errorf("ids %s and %s", calls[0].m.ID(), calls[1].m.ID())
		}
	})
}

// ask is a script that sends requests on the stream, waits for so many answers
// and gives the result.
func askScript(requests []string, answers int) (func(*hit), func(*fake)) {
	arrived := sync.OnceValue(func() chan struct{} { return make(chan struct{}, 100) }) // in the bubble
	call := func(h *hit) {
		h.stream()
		for _, r := range requests {
			h.send(event(r))
		}
		for range answers {
			select {
			case <-arrived():
			case <-h.in.Context().Done():
				return
			}
		}
		h.send(h.answer(`{"done":true}`))
	}
	return call, func(f *fake) {
		f.script("answer", func(h *hit) {
			h.WriteHeader(http.StatusAccepted)
			arrived() <- struct{}{}
		})
	}
}

func elicitation(id int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"up-%d","method":"elicitation/create","params":{"message":"m"}}`, id)
}

func TestRequestsOfUpstreamsAreAnsweredConcurrently(t *testing.T) {
	call, answers := askScript([]string{elicitation(1), elicitation(2), `{"jsonrpc":"2.0","id":7,"method":"ping"}`}, 3)
	f := legacy()
	f.script("tools/call", call)
	answers(f)
	inBubble(t, f, func(b *bed) {
		both := make(chan struct{}, 2)
		s := &sink{ask: func(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
			both <- struct{}{}
			for len(both) < 2 { // each waits for the other
				time.Sleep(time.Millisecond)
			}
			return mcp.Answer(`"of the client"`, []byte(`{"action":"accept"}`)), nil
		}}
		b.ok(user("a"), s)
		var ids []string
		for _, h := range f.seen("answer") {
			ids = append(ids, string(h.m.ID()))
			if h.in.Header.Get("Mcp-Session-Id") != "s1" {
				b.Error("an answer came without the session")
			}
		}
		slices.Sort(ids)
		if want := []string{`"up-1"`, `"up-2"`, `7`}; !slices.Equal(ids, want) {
			b.Errorf("answers %v, want %v", ids, want)
		}
	})
}

func TestTooManyRequestsOfAnUpstreamAreRefused(t *testing.T) {
	var requests []string
	for i := range upstream.MaxAsks + 3 {
		requests = append(requests, elicitation(i))
	}
	call, answers := askScript(requests, 3)
	f := legacy()
	f.script("tools/call", call)
	answers(f)
	inBubble(t, f, func(b *bed) {
		running, most := 0, 0
		var mu sync.Mutex
		s := &sink{ask: func(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		b.ok(user("a"), s)
		if most != upstream.MaxAsks {
			b.Errorf("%d were asked at once, want %d", most, upstream.MaxAsks)
		}
		for _, h := range f.seen("answer") {
			if h.m.Kind() != mcp.KindFailure {
				b.Errorf("answered by %s", h.m.Bytes())
			}
		}
	})
}

func TestRequestWithoutAnybodyToAskIsRefused(t *testing.T) {
	call, answers := askScript([]string{elicitation(1)}, 1)
	f := legacy()
	f.script("tools/call", call)
	answers(f)
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), nil)
		if h := f.seen("answer")[0]; h.m.Err() == nil || h.m.Err().Code != mcp.CodeMethodNotFound {
			b.Errorf("answered by %s", h.m.Bytes())
		}
	})
}

func TestErrorOfTheClientReachesTheUpstream(t *testing.T) {
	call, answers := askScript([]string{elicitation(1)}, 1)
	f := legacy()
	f.script("tools/call", call)
	answers(f)
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), &sink{ask: func(context.Context, *mcp.Message) (*mcp.Message, error) {
			return nil, &mcp.Error{Code: -1, Message: "declined"}
		}})
		if h := f.seen("answer")[0]; h.m.Err() == nil || h.m.Err().Code != -1 || h.m.ID() != `"up-1"` {
			b.Errorf("answered by %s", h.m.Bytes())
		}
	})
}

func TestUpstreamCanWithdrawItsRequest(t *testing.T) {
	asked := sync.OnceValue(func() chan struct{} { return make(chan struct{}) }) // in the bubble
	onCall(t, func(h *hit) {
		h.stream(event(elicitation(1)))
		<-asked()
		h.send(event(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"up-1"}}`))
		time.Sleep(time.Second)
		h.send(h.answer(`{}`))
	}, func(b *bed) {
		withdrawn := false
		s := &sink{ask: func(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
			close(asked())
			<-ctx.Done()
			withdrawn = true
			return nil, ctx.Err()
		}}
		b.ok(user("a"), s)
		if !withdrawn {
			b.Error("the asking went on")
		}
		b.wantSeen("answer", 0)
		if len(s.messages) != 0 {
			b.Error("the cancellation of a request that the client does not know was relayed")
		}
	})
}

func TestRequestsOfAModernUpstreamAreRefused(t *testing.T) {
	f := modern()
	f.script("tools/call", func(h *hit) { h.stream(event(elicitation(1)), h.answer(`{}`)) })
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), &sink{ask: func(context.Context, *mcp.Message) (*mcp.Message, error) {
			b.Error("it was asked")
			return nil, errors.New("no")
		}})
		b.wantSeen("answer", 0)
	})
}

// The time of a call stands still while a person thinks.
func TestAskingDoesNotCountAgainstTheTimeout(t *testing.T) {
	call, answers := askScript([]string{elicitation(1)}, 1)
	f := legacy()
	f.script("tools/call", call)
	answers(f)
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), &sink{ask: func(context.Context, *mcp.Message) (*mcp.Message, error) {
			time.Sleep(10 * time.Minute)
			return mcp.Answer("1", nil), nil
		}})
	})
}

func TestBrokenStreamIsResumedAfterThePauseThatWasAskedFor(t *testing.T) {
	f := legacy()
	var call *hit
	var ended time.Time
	f.script("tools/call", func(h *hit) {
		call = h
		h.stream(sse.Event{ID: "e1", HasID: true, Retry: 700 * time.Millisecond})
		ended = time.Now()
	})
	first := true
	f.script("GET", func(h *hit) {
		if got := time.Since(ended); first && got != 700*time.Millisecond {
			t.Errorf("resumed after %v", got)
		}
		first = false
		h.stream(sse.Event{Comment: "x"})
		time.Sleep(20 * time.Second) // silent for seconds
		e := call.answer(`{}`)
		e.ID, e.HasID = "e2", true
		h.send(e)
	})
	inBubble(t, f, func(b *bed) {
		s := &sink{}
		b.ok(user("a"), s)
		if id := f.seen("GET")[0].in.Header.Get("Last-Event-ID"); id != "e1" {
			b.Errorf("resumed behind %q", id)
		}
		b.wantSeen("tools/call", 1)
		if !slices.Contains(s.progress, "e1@s1") {
			b.Errorf("the sink was told of %v", s.progress)
		}
	})
}

func TestStreamIsResumedAgainAndAgain(t *testing.T) {
	f := legacy()
	var call *hit
	f.script("tools/call", func(h *hit) {
		call = h
		h.stream(numbered("0", ""))
		panic(http.ErrAbortHandler)
	})
	n := 0
	f.script("GET", func(h *hit) {
		switch n++; {
		case n == 3:
			h.WriteHeader(http.StatusBadGateway) // a proxy in trouble
		case n < 40:
			h.stream(numbered(fmt.Sprint(n), `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`))
		default:
			h.stream(call.answer(`{}`))
		}
	})
	inBubble(t, f, func(b *bed) {
		b.change(func(r *record.Upstream) { r.RequestTimeout = 3_600_000 })
		s := &sink{}
		b.ok(user("a"), s)
		if len(s.messages) != 38 {
			b.Errorf("%d notifications came through", len(s.messages))
		}
	})
}

func TestStreamThatBringsNothingNewIsGivenUp(t *testing.T) {
	f := legacy()
	f.script("tools/call", func(h *hit) { h.stream(numbered("0", "")) })
	f.script("GET", func(h *hit) { h.stream(sse.Event{Comment: "x"}) })
	inBubble(t, f, func(b *bed) {
		b.change(func(r *record.Upstream) { r.RequestTimeout = 3_600_000 })
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.OutcomeUnknown)
	})
}

func TestStreamThatCannotBeResumedIsAnUnknownOutcome(t *testing.T) {
	for _, status := range []int{404, 405, 400} {
		f := legacy()
		f.script("tools/call", func(h *hit) { h.stream(numbered("0", "")) })
		f.script("GET", func(h *hit) { h.WriteHeader(status) })
		inBubble(t, f, func(b *bed) {
			_, err := b.call(user("a"), nil)
			b.wantFault(err, fault.OutcomeUnknown)
			b.wantSeen("tools/call", 1)
			b.wantSeen("GET", 1)
		})
	}
}

func TestModernStreamIsNeverResumed(t *testing.T) {
	f := modern()
	f.script("tools/call", func(h *hit) { h.stream(numbered("0", "")) })
	inBubble(t, f, func(b *bed) {
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.OutcomeUnknown)
		b.wantSeen("GET", 0)
	})
}

func TestAnotherNodesCallIsTakenUp(t *testing.T) {
	f := legacy()
	f.live["s-old"] = true
	f.script("GET", func(h *hit) {
		h.stream(numbered("e8", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":1}}`),
			numbered("e9", `{"jsonrpc":"2.0","id":12345,"result":{"late":true}}`))
	})
	inBubble(t, f, func(b *bed) {
		s := &sink{}
		answer, err := b.ups.Resume(b.Context(), "up", bound("a", "s-old"), "e7", "12345", `"client-9"`, s)
		if err != nil || answer.ID() != `"client-9"` || string(answer.Result()) != `{"late":true}` {
			b.Fatalf("%v, %v", answer, err)
		}
		h := f.seen("GET")[0].in.Header
		if h.Get("Last-Event-ID") != "e7" || h.Get("Mcp-Session-Id") != "s-old" {
			b.Errorf("resumed by %v", h)
		}
		if len(s.messages) != 0 {
			b.Error("progress under the dead node's token was relayed")
		}
	})
}

// The reference server registers a resumed stream under the wrong name, and
// replays what belongs to other calls of the session.
func TestResumedStreamThatStaysSilentIsResumedAnew(t *testing.T) {
	f := legacy()
	f.live["s-old"] = true
	asked := 0
	f.script("GET", func(h *hit) {
		if asked++; asked < 4 {
			h.stream(numbered("e8", `{"jsonrpc":"2.0","id":11,"result":{"of":"another"}}`))
			h.gone()
			return
		}
		h.stream(numbered("e9", `{"jsonrpc":"2.0","id":12345,"result":{"late":true}}`))
	})
	inBubble(t, f, func(b *bed) {
		answer, err := b.ups.Resume(b.Context(), "up", bound("a", "s-old"), "e7", "12345", `1`, nil)
		if err != nil || string(answer.Result()) != `{"late":true}` {
			b.Fatalf("%v, %v", answer, err)
		}
		b.wantSeen("GET", 4)
	})
}

func TestStreamThatIsStillTakenIsResumedLater(t *testing.T) {
	f := legacy()
	f.live["s-old"] = true
	asked := 0
	f.script("GET", func(h *hit) {
		if asked++; asked == 1 {
			h.WriteHeader(http.StatusConflict)
			return
		}
		h.stream(numbered("e9", `{"jsonrpc":"2.0","id":12345,"result":{}}`))
	})
	inBubble(t, f, func(b *bed) {
		if _, err := b.ups.Resume(b.Context(), "up", bound("a", "s-old"), "e7", "12345", `1`, nil); err != nil {
			b.Fatal(err)
		}
	})
}

func TestCallOfALostSessionCannotBeTakenUp(t *testing.T) {
	f := legacy()
	inBubble(t, f, func(b *bed) {
		_, err := b.ups.Resume(b.Context(), "up", bound("a", "s-gone"), "e7", "5", `1`, nil)
		b.wantFault(err, fault.OutcomeUnknown)
		_, err = b.ups.Resume(b.Context(), "up", user("a"), "e7", "5", `1`, nil)
		b.wantFault(err, fault.OutcomeUnknown)
	})
}

func TestCancellationIsSaidToALegacyUpstream(t *testing.T) {
	f := legacy()
	f.script("tools/call", (*hit).gone)
	inBubble(t, f, func(b *bed) {
		ctx, cancel := withCancel(b)
		time.AfterFunc(time.Second, cancel)
		_, err := b.ups.Call(ctx, "up", user("a"), mcp.Request("1", "tools/call", []byte(`{"name":"t"}`)), nil)
		b.wantFault(err, fault.Timeout)
		cancelled := f.seen("notifications/cancelled")
		if len(cancelled) != 1 || cancelled[0].param("requestId") != string(f.seen("tools/call")[0].m.ID()) {
			b.Fatalf("%d cancellations", len(cancelled))
		}
	})
}

func TestCancellationIsAClosedConnectionToAModernUpstream(t *testing.T) {
	f := modern()
	closed := false
	f.script("tools/call", func(h *hit) { h.gone(); closed = true })
	inBubble(t, f, func(b *bed) {
		ctx, cancel := withCancel(b)
		time.AfterFunc(time.Second, cancel)
		_, err := b.ups.Call(ctx, "up", user("a"), mcp.Request("1", "tools/call", []byte(`{"name":"t"}`)), nil)
		b.wantFault(err, fault.Timeout)
		synctest.Wait()
		if !closed {
			b.Error("the upstream still works on it")
		}
		b.wantSeen("notifications/cancelled", 0)
	})
}

func TestHangingCallEndsAtTheUpstreamsTimeout(t *testing.T) {
	onCall(t, (*hit).gone, func(b *bed) {
		b.change(func(r *record.Upstream) { r.RequestTimeout = 7000 })
		begun := time.Now()
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.Timeout, "tools/call", "7s")
		if took := time.Since(begun); took != 7*time.Second {
			b.Errorf("it took %v", took)
		}
		b.wantSeen("notifications/cancelled", 1)
	})
}

func TestProgressExtendsTheTimeUpToAMaximum(t *testing.T) {
	onCall(t, func(h *hit) {
		h.stream()
		for n := 0; h.in.Context().Err() == nil; n++ {
			time.Sleep(50 * time.Second)
			h.send(event(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, h.param("_meta", "progressToken"), n)))
		}
	}, func(b *bed) {
		begun := time.Now()
		_, err := b.request(user("a"), "tools/call", `{"name":"t","_meta":{"progressToken":1}}`, &sink{})
		b.wantFault(err, fault.Timeout)
		if took := time.Since(begun); took != upstream.DefaultLongest {
			b.Errorf("it took %v, want %v", took, upstream.DefaultLongest)
		}
	})
}

func TestOtherMessagesDoNotExtendTheTime(t *testing.T) {
	onCall(t, func(h *hit) {
		h.stream()
		for h.in.Context().Err() == nil {
			time.Sleep(10 * time.Second)
			h.send(sse.Event{Comment: "alive"})
		}
	}, func(b *bed) {
		begun := time.Now()
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.Timeout)
		if took := time.Since(begun); took != upstream.DefaultTimeout {
			b.Errorf("it took %v", took)
		}
	})
}

// endless is a body of a gibibyte; it counts what is taken of it.
func endless(h *hit, contentType, begin string, announce bool) (sent int) {
	const size = 1 << 30
	h.Header().Set("Content-Type", contentType)
	if announce {
		h.Header().Set("Content-Length", fmt.Sprint(size))
	}
	io.WriteString(h, begin)
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for sent < size {
		n, err := h.Write(chunk)
		sent += n
		if err != nil {
			return sent
		}
	}
	return sent
}

func TestHugeAnswerIsCutOffAtTheLimit(t *testing.T) {
	for _, test := range []struct {
		name, contentType, begin string
		announce                 bool
		most                     int
	}{
		{"JSON, announced", "application/json", `{"jsonrpc":"2.0","id":1,"result":{"x":"`, true, 2 << 20},
		{"JSON, chunked", "application/json", `{"jsonrpc":"2.0","id":1,"result":{"x":"`, false, 20 << 20},
		{"event", "text/event-stream", `data: {"jsonrpc":"2.0","id":1,"result":{"x":"`, false, 20 << 20},
		{"HTML", "text/html", `<html>`, false, 2 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			sent := 0
			f := legacy()
			f.script("tools/call", func(h *hit) { sent = endless(h, test.contentType, test.begin, test.announce) })
			inBubble(t, f, func(b *bed) {
				_, err := b.call(user("a"), nil)
				b.wantFault(err, fault.OutcomeUnknown)
				synctest.Wait()
				if sent > test.most {
					b.Errorf("%d MiB were taken of it", sent>>20)
				}
				f.script("tools/call", nil)
				b.ok(user("a"), nil)
			})
		})
	}
}

func TestLargeAnswerWithinTheLimitArrives(t *testing.T) {
	for _, stream := range []bool{false, true} {
		large := `{"x":"` + strings.Repeat("y", 15<<20) + `"}`
		onCall(t, func(h *hit) {
			if stream {
				h.stream(h.answer(large))
			} else {
				h.result(large)
			}
		}, func(b *bed) {
			if got := len(b.ok(user("a"), nil).Result()); got != len(large) {
				b.Errorf("%d bytes arrived of %d", got, len(large))
			}
		})
	}
}

func TestHugeErrorBodyIsCutOff(t *testing.T) {
	sent := 0
	onCall(t, func(h *hit) {
		h.WriteHeader(http.StatusInternalServerError)
		sent = endless(h, "text/plain", "oh", false)
	}, func(b *bed) {
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.OutcomeUnknown, "500")
		synctest.Wait()
		if sent > 4<<20 {
			b.Errorf("%d MiB were taken of it", sent>>20)
		}
	})
}

func TestMessagesWaitForTheBudgetAndAreThenRefused(t *testing.T) {
	budget := semaphore.NewWeighted(1 << 20)
	f := legacy()
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), nil)
		f.script("tools/call", func(h *hit) { h.result(`{"x":"` + strings.Repeat("y", 2<<20) + `"}`) })
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.Overloaded, "memory")
		f.script("tools/call", nil)
		b.ok(user("a"), nil)
		if !budget.TryAcquire(1 << 20) {
			b.Error("not everything was given back")
		}
	}, func(c *upstream.Config) { c.Budget = budget })
}

func TestStreamGivesTheBudgetBackAfterEachMessage(t *testing.T) {
	budget := semaphore.NewWeighted(256 << 10)
	onCall(t, func(h *hit) {
		h.stream()
		for range 100 {
			h.send(event(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"` + strings.Repeat("x", 50<<10) + `"}}`))
		}
		h.send(h.answer(`{}`))
	}, func(b *bed) {
		b.ok(user("a"), &sink{})
		if !budget.TryAcquire(256 << 10) {
			b.Error("not everything was given back")
		}
	}, func(c *upstream.Config) { c.Budget = budget })
}

func TestPoolRefusesWhatWaitsTooLong(t *testing.T) {
	release := sync.OnceValue(func() chan struct{} { return make(chan struct{}) }) // in the bubble
	onCall(t, func(h *hit) { <-release(); h.result(`{}`) }, func(b *bed) {
		b.change(func(r *record.Upstream) { r.Pool = record.Pool{Size: 2, MaxOverflow: 1, Timeout: 2000} })
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() { b.ok(user("a"), nil) })
		}
		synctest.Wait()
		waiter := make(chan error, 1)
		go func() { _, err := b.call(user("a"), nil); waiter <- err }()
		synctest.Wait()
		stats := b.ups.Stats()[0]
		want := `
# HELP mcpraft_upstream_info 1, with the era of an upstream as this node found it: modern, legacy, legacy sse, or unknown.
# TYPE mcpraft_upstream_info gauge
mcpraft_upstream_info{era="legacy",upstream="up"} 1
# HELP mcpraft_upstream_pool_in_use Calls that are at an upstream.
# TYPE mcpraft_upstream_pool_in_use gauge
mcpraft_upstream_pool_in_use{upstream="up"} 3
# HELP mcpraft_upstream_pool_waiting Calls that wait for a place in the pool of an upstream.
# TYPE mcpraft_upstream_pool_waiting gauge
mcpraft_upstream_pool_waiting{upstream="up"} 1
`
		if err := testutil.CollectAndCompare(b.ups.Collector(), strings.NewReader(want), "mcpraft_upstream_info", "mcpraft_upstream_pool_in_use", "mcpraft_upstream_pool_waiting"); err != nil {
			b.Error(err)
		}
		if stats.InUse != 3 || stats.Waiting != 1 || stats.Size != 2 || stats.MaxOverflow != 1 {
			b.Errorf("the snapshot says %+v", stats)
		}
		begun := time.Now()
		err := <-waiter
		b.wantFault(err, fault.Overloaded, "3 places")
		if took := time.Since(begun); took != 2*time.Second {
			b.Errorf("it waited %v", took)
		}
		go func() { _, err := b.call(user("a"), nil); waiter <- err }()
		synctest.Wait()
		close(release())
		if err := <-waiter; err != nil {
			b.Errorf("who waited when a place came free: %v", err)
		}
		calls.Wait()
		if stats := b.ups.Stats()[0]; stats.InUse != 0 || stats.Refused != 1 || stats.Connections > 2 {
			b.Errorf("afterwards: %+v", stats)
		}
	})
}

// What belongs to a call inside must not wait for a place: the call would wait
// for itself.
func TestAnswersToUpstreamsNeedNoPlaceInThePool(t *testing.T) {
	call, answers := askScript([]string{elicitation(1)}, 1)
	f := legacy()
	f.script("tools/call", call)
	answers(f)
	inBubble(t, f, func(b *bed) {
		b.change(func(r *record.Upstream) { r.Pool = record.Pool{Size: 1} })
		b.ok(user("a"), &sink{ask: func(context.Context, *mcp.Message) (*mcp.Message, error) { return mcp.Answer("1", nil), nil }})
	})
}

func TestRedirectIsFollowedToTheSameOriginOnly(t *testing.T) {
	f := legacy()
	inBubble(t, f, func(b *bed) {
		defer b.serve("moved.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/other" {
				w.Header().Set("Location", "http://"+address+"/mcp")
				w.WriteHeader(http.StatusTemporaryRedirect)
				return
			}
			if r.URL.Path == "/mcp" {
				w.Header().Set("Location", "/mcp/")
				w.WriteHeader(http.StatusTemporaryRedirect)
				return
			}
			f.ServeHTTP(w, r)
		}))()
		b.change(func(r *record.Upstream) { r.URL = "http://moved.example:80/mcp" })
		b.ok(user("a"), nil)
		seen := len(f.hits)
		b.change(func(r *record.Upstream) { r.URL = "http://moved.example:80/other" })
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.Unreachable, "redirect")
		if len(f.hits) != seen {
			b.Error("a message was sent to another host")
		}
	})
}

func TestSecretIsSentAndReadAgainWhenItsFileChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(value string, at time.Time) {
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("first", time.Unix(1, 0))
	secrets, err := upstream.NewSecrets(map[string]upstream.Secret{"s": {File: file}, "k": {File: file, Header: "x-api-key"}})
	if err != nil {
		t.Fatal(err)
	}
	f := legacy()
	inBubble(t, f, func(b *bed) {
		b.change(func(r *record.Upstream) { r.SecretRef = "s" })
		b.ok(user("a"), nil)
		write("second", time.Unix(2, 0))
		time.Sleep(2 * time.Second)
		b.ok(user("a"), nil)
		b.change(func(r *record.Upstream) { r.SecretRef = "k" })
		b.ok(user("a"), nil)
		calls := f.seen("tools/call")
		if a, c := calls[0].in.Header.Get("Authorization"), calls[1].in.Header.Get("Authorization"); a != "Bearer first" || c != "Bearer second" {
			b.Errorf("sent %q, then %q", a, c)
		}
		if got := calls[2].in.Header.Get("X-Api-Key"); got != "second" {
			b.Errorf("X-Api-Key: %q", got)
		}
		b.change(func(r *record.Upstream) { r.SecretRef = "nobody" })
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.Unavailable, `"nobody"`)
	}, func(c *upstream.Config) { c.Secrets = secrets })
}
