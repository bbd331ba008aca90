package upstream_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

func TestAnyLegacyRevisionIsTakenBack(t *testing.T) {
	for _, version := range mcp.LegacyVersions() {
		f := legacy()
		f.version = string(version)
		inBubble(t, f, func(b *bed) {
			opened, err := b.ups.Open(b.Context(), "up", user("a"))
			if err != nil || opened.Version != version {
				b.Fatalf("opened %v, %v", opened.Version, err)
			}
			b.ok(user("a"), nil)
			header := f.seen("tools/call")[0].in.Header.Get("Mcp-Protocol-Version")
			want := string(version)
			if version < mcp.V20250618 {
				want = "" // the header came with 2025-06-18
			}
			if header != want {
				b.Errorf("%s: the version header is %q", version, header)
			}
		})
	}
}

func TestUnknownRevisionIsRefusedByName(t *testing.T) {
	f := legacy()
	f.version = "2031-01-01"
	inBubble(t, f, func(b *bed) {
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.Unsupported, "2031-01-01")
	})
}

func TestCallersOwnRevisionIsOffered(t *testing.T) {
	f := legacy()
	inBubble(t, f, func(b *bed) {
		c := user("a")
		c.Version = mcp.V20250326
		b.ok(c, nil)
		if got := f.seen("initialize")[0].param("protocolVersion"); got != `"2025-03-26"` {
			b.Errorf("offered %s", got)
		}
	})
}

func TestRevisionThatAnErrorNamesIsOfferedNext(t *testing.T) {
	f := legacy()
	f.version = "2024-11-05"
	f.script("initialize", func(h *hit) {
		if h.param("protocolVersion") != `"2024-11-05"` {
			h.raw("application/json", `{"jsonrpc":"2.0","id":`+string(h.m.ID())+`,"error":{"code":-32602,"message":"no","data":{"supported":["2024-11-05"]}}}`)
			return
		}
		h.initialize()
	})
	inBubble(t, f, func(b *bed) { b.ok(user("a"), nil) })
}

func TestHandshakeSaysWhoTheClientIs(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		opened, err := b.ups.Open(b.Context(), "up", user("a"))
		if err != nil || opened.Session != "s1" || !strings.Contains(string(opened.Initialize), `"fake"`) {
			b.Fatalf("opened %+v, %v", opened, err)
		}
		init := b.fake.seen("initialize")[0]
		if init.param("capabilities") != `{"roots":{}}` || init.param("clientInfo", "name") != `"client"` {
			b.Errorf("initialize said %s", init.m.Params())
		}
		b.wantSeen("notifications/initialized", 1)
		b.ok(user("a"), nil)
		b.wantSeen("initialize", 1)
		if len(b.rebound) != 0 {
			b.Errorf("Open told Rebound %v, though it gave the id back", b.rebound)
		}
	})
}

func TestSessionModesDecideWhoShares(t *testing.T) {
	alice, bob := user("a"), user("b")
	bob.Principal.Subject = "bob"
	alice2 := user("a2")
	for mode, want := range map[string]int{"shared": 1, "per_principal": 2, "per_session": 3, "per_call": 6, "": 3} {
		inBubble(t, legacy(), func(b *bed) {
			b.change(func(r *record.Upstream) { r.SessionMode = mode })
			for range 2 {
				for _, c := range []upstream.Caller{alice, alice2, bob} {
					b.ok(c, nil)
				}
			}
			b.wantSeen("initialize", want)
			if mode == "per_call" {
				b.wantSeen("DELETE", 6)
			}
		})
	}
}

func TestCallersOfDifferentCapabilitiesNeverShare(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		b.change(func(r *record.Upstream) { r.SessionMode = "shared" })
		other := user("b")
		other.Capabilities = []byte(`{}`)
		b.ok(user("a"), nil)
		b.ok(other, nil)
		b.wantSeen("initialize", 2)
		if name := b.fake.seen("initialize")[0].param("clientInfo", "name"); name != `"mcpraft"` {
			b.Errorf("a shared session was opened in the name of %s", name)
		}
	})
}

func TestModernCallersShareASessionPerPrincipal(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		c := user("")
		c.Modern = true
		answer, err := b.request(c, "tools/call", `{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"mine":1}}`, nil)
		if err != nil || answer.Kind() != mcp.KindResult {
			b.Fatal(answer, err)
		}
		b.ok(c, nil)
		b.wantSeen("initialize", 1)
		if got := b.fake.seen("tools/call")[0].param("_meta"); got != `{"mine":1}` {
			b.Errorf("_meta went up as %s", got)
		}
	})
}

func TestUpstreamWithoutSessionIDIsShared(t *testing.T) {
	f := legacy()
	f.sessions = false
	inBubble(t, f, func(b *bed) {
		for i := range 5 {
			b.ok(user(fmt.Sprint(i)), nil)
		}
		if n := len(f.seen("initialize")); n > 2 {
			b.Errorf("%d handshakes", n)
		}
	})
}

func TestLostSessionIsOpenedAgainAlone(t *testing.T) {
	for name, refuse := range map[string]func(*hit){
		"404": func(h *hit) { http.Error(h, "whatever", http.StatusNotFound) },
		"400 that says so": func(h *hit) {
			h.fail(http.StatusBadRequest, -32000, "Bad Request: No valid session ID provided")
		},
		"400 of a server that restarted": func(h *hit) {
			h.fail(http.StatusBadRequest, -32000, "Bad Request: Server not initialized")
		},
	} {
		f := legacy()
		inBubble(t, f, func(b *bed) {
			b.ok(user("a"), nil)
			b.ok(user("other"), nil)
			f.forget("s1")
			f.script("tools/call", func(h *hit) {
				if id := h.in.Header.Get("Mcp-Session-Id"); !f.knows(id) {
					refuse(h)
					return
				}
				h.behave()
			})
			b.ok(user("a"), nil)
			b.ok(user("other"), nil)
			b.wantSeen("initialize", 3)
			if want := []string{"a>s1", "other>s2", "a>s3"}; !slices.Equal(b.rebound, want) {
				b.Errorf("%s: Rebound was told %v, want %v", name, b.rebound, want)
			}
		})
	}
}

func TestConcurrentCallersReopenOnce(t *testing.T) {
	f := legacy()
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), nil)
		f.forget()
		f.script("initialize", func(h *hit) {
			time.Sleep(time.Second)
			h.initialize()
		})
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() { b.ok(user("a"), nil) })
		}
		calls.Wait()
		b.wantSeen("initialize", 2)
	})
}

// The one who makes the handshake may be cancelled; the others go on.
func TestHandshakeSurvivesTheCallerThatBeganIt(t *testing.T) {
	f := legacy()
	f.script("initialize", func(h *hit) {
		time.Sleep(time.Second)
		h.initialize()
	})
	inBubble(t, f, func(b *bed) {
		ctx, cancel := withCancel(b)
		var calls sync.WaitGroup
		calls.Go(func() {
			if _, err := b.ups.Call(ctx, "up", user("a"), mcp.Request("1", "tools/call", nil), nil); err == nil {
				b.Error("the cancelled call succeeded")
			}
		})
		synctest.Wait()
		calls.Go(func() { b.ok(user("a"), nil) })
		synctest.Wait()
		cancel()
		calls.Wait()
	})
}

func TestReopenedSessionGetsItsSubscriptionsAndLevelBack(t *testing.T) {
	f := legacy()
	inBubble(t, f, func(b *bed) {
		c := user("a")
		b.request(c, "resources/subscribe", `{"uri":"x://1"}`, nil)
		b.request(c, "resources/subscribe", `{"uri":"x://2"}`, nil)
		b.request(c, "resources/unsubscribe", `{"uri":"x://1"}`, nil)
		b.request(c, "logging/setLevel", `{"level":"warning"}`, nil)
		f.forget()
		b.ok(c, nil)
		subs := f.seen("resources/subscribe")
		if last := subs[len(subs)-1]; len(subs) != 3 || last.param("uri") != `"x://2"` || last.in.Header.Get("Mcp-Session-Id") != "s2" {
			b.Errorf("subscriptions: %d, the last of %s", len(subs), last.m.Params())
		}
		levels := f.seen("logging/setLevel")
		if len(levels) != 2 || levels[1].param("level") != `"warning"` {
			b.Errorf("%d levels set", len(levels))
		}
		if now := b.bound[len(b.bound)-1]; !slices.Equal(now.Subscriptions, []string{"x://2"}) || now.Protocol != "2025-11-25" {
			b.Errorf("Rebound was told %+v", now)
		}
	})
}

func TestBindingIsTakenUpWithoutProbeOrHandshake(t *testing.T) {
	f := legacy()
	f.live["from-another-node"] = true
	inBubble(t, f, func(b *bed) {
		b.ok(bound("a", "from-another-node"), nil)
		b.wantSeen("server/discover", 0)
		b.wantSeen("initialize", 0)
	})
}

// Another node has opened the session anew: its id counts, not ours.
func TestNewerBindingWins(t *testing.T) {
	f := legacy()
	f.live["s-new"] = true
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), nil)
		b.ok(bound("a", "s-new"), nil)
		calls := f.seen("tools/call")
		if id := calls[1].in.Header.Get("Mcp-Session-Id"); id != "s-new" {
			b.Errorf("the call went to session %s", id)
		}
	})
}

// What the cluster knows lags behind: an id that was lost is not taken back.
func TestLostBindingIsNotAdoptedAgain(t *testing.T) {
	f := legacy()
	inBubble(t, f, func(b *bed) {
		for range 3 {
			b.ok(bound("a", "s-gone"), nil)
		}
		b.wantSeen("initialize", 1)
		b.wantSeen("tools/call", 4)
	})
}

func TestLostBindingKeepsItsSubscriptions(t *testing.T) {
	f := legacy()
	inBubble(t, f, func(b *bed) {
		c := bound("a", "s-gone")
		c.Binding.Subscriptions = []string{"x://1"}
		b.ok(c, nil)
		b.wantSeen("resources/subscribe", 1)
	})
}

func TestCloseEndsTheUpstreamSessionWhateverTheUpstreamSays(t *testing.T) {
	f := legacy()
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), nil)
		b.ups.Close(b.Context(), "up", user("a"))
		if f.knows("s1") {
			b.Error("the upstream session still stands")
		}
		f.script("DELETE", func(h *hit) { h.WriteHeader(http.StatusMethodNotAllowed) })
		b.ok(user("b"), nil)
		b.ups.Close(b.Context(), "up", user("b"))
		f.script("DELETE", (*hit).gone)
		b.ok(user("c"), nil)
		begun := time.Now()
		b.ups.Close(b.Context(), "up", user("c"))
		if took := time.Since(begun); took > 5*time.Second {
			b.Errorf("Close took %v", took)
		}
		b.wantSeen("DELETE", 3)
	})
}

func TestCloseNeedsTheBindingOnly(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		b.ups.Close(b.Context(), "up", bound("a", "s9"))
		b.wantSeen("DELETE", 1)
		if id := b.fake.seen("DELETE")[0].in.Header.Get("Mcp-Session-Id"); id != "s9" {
			b.Errorf("ended %q, want s9", id)
		}
		if n := b.ups.Stats()[0].Sessions; n != 0 {
			b.Errorf("%d sessions are kept", n)
		}
		b.wantSeen("initialize", 0)
	})
}

func TestCloseLeavesSharedSessionsAlone(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		b.change(func(r *record.Upstream) { r.SessionMode = "shared" })
		b.ok(user("a"), nil)
		b.ups.Close(b.Context(), "up", user("a"))
		b.wantSeen("DELETE", 0)
	})
}

func TestIdleSessionsAreForgottenAndComeBackFromTheBinding(t *testing.T) {
	f := legacy()
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), nil)
		time.Sleep(time.Hour)
		if stats := b.ups.Stats(); stats[0].Sessions != 0 {
			b.Errorf("%d sessions are kept", stats[0].Sessions)
		}
		b.wantSeen("DELETE", 0) // it belongs to a session that may come back
		b.ok(bound("a", "s1"), nil)
		b.wantSeen("initialize", 1)
	})
}

func TestNotifyNeedsASession(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		m := mcp.Notification("notifications/roots/list_changed", nil)
		if err := b.ups.Notify(b.Context(), "up", user("a"), m); err != nil {
			b.Fatal(err)
		}
		b.wantSeen("notifications/roots/list_changed", 0)
		b.ok(user("a"), nil)
		if err := b.ups.Notify(b.Context(), "up", user("a"), m); err != nil {
			b.Fatal(err)
		}
		b.wantSeen("notifications/roots/list_changed", 1)
	})
}

func TestMostCuriousCallerSetsTheLevelOfAnUpstreamSession(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		c := user("")
		c.Modern = true
		for _, level := range []string{"warning", "error", "debug", "debug"} {
			c.LogLevel = level
			b.ok(c, nil)
		}
		var set []string
		for _, h := range b.fake.seen("logging/setLevel") {
			set = append(set, h.param("level"))
		}
		if want := []string{`"warning"`, `"debug"`}; !slices.Equal(set, want) {
			b.Errorf("levels set: %v, want %v", set, want)
		}
	})
}

func TestUnknownAndDisabledUpstreamsAreRefused(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		_, err := b.ups.Call(b.Context(), "nobody", user("a"), mcp.Request("1", "ping", nil), nil)
		b.wantFault(err, fault.NotFound)
		b.change(func(r *record.Upstream) { r.Disabled = true })
		_, err = b.call(user("a"), nil)
		b.wantFault(err, fault.Unavailable, "disabled")
		b.change(func(r *record.Upstream) { r.Disabled, r.Transport = false, record.TransportStdio })
		_, err = b.call(user("a"), nil)
		b.wantFault(err, fault.Unsupported)
	})
}
