package upstream_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

func TestModernUpstreamIsProbedOnceAndHasNoSessions(t *testing.T) {
	inBubble(t, modern(), func(b *bed) {
		b.ok(user("a"), nil)
		b.ok(user("b"), nil)
		b.wantSeen("server/discover", 1)
		b.wantSeen("initialize", 0)
		b.wantSeen("tools/call", 2)
		opened, err := b.ups.Open(b.Context(), "up", user("a"))
		if err != nil || !opened.Modern || opened.Version != mcp.V20260728 || opened.Session != "" {
			b.Errorf("opened %+v, %v", opened, err)
		}
	})
}

func TestDiscoverThatListsOnlyLegacyVersionsMeansLegacy(t *testing.T) {
	f := legacy()
	f.script("server/discover", func(h *hit) {
		h.result(`{"resultType":"complete","supportedVersions":["2025-11-25","2025-06-18"],"capabilities":{}}`)
	})
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), nil)
		b.wantSeen("initialize", 1)
	})
}

func TestRefusedVersionIsFollowedByOneThatIsSupported(t *testing.T) {
	f := modern()
	refused := false
	f.script("server/discover", func(h *hit) {
		if !refused {
			refused = true
			h.Header().Set("Content-Type", "application/json")
			h.WriteHeader(http.StatusBadRequest)
			h.Write([]byte(`{"jsonrpc":"2.0","id":` + string(h.m.ID()) + `,"error":{"code":-32022,"message":"no","data":{"supported":["2026-07-28"]}}}`))
			return
		}
		h.behave()
	})
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), nil)
		b.wantSeen("server/discover", 2)
		b.wantSeen("initialize", 0)
	})
}

// 401 and no connection prove nothing: the next call probes again.
func TestInconclusiveProbeIsNotRemembered(t *testing.T) {
	f := modern()
	f.script("server/discover", func(h *hit) { h.WriteHeader(http.StatusUnauthorized) })
	inBubble(t, f, func(b *bed) {
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.Unreachable, "credentials")
		b.wantSeen("initialize", 0)
		f.script("server/discover", nil)
		b.ok(user("a"), nil)
		b.wantSeen("server/discover", 2)
	})
}

// A server that fails on a method it does not know can still be a legacy one.
// Until it is known, each session asks again.
func TestProbeThatFailsByServerErrorFallsBackToInitialize(t *testing.T) {
	f := legacy()
	f.script("server/discover", func(h *hit) { h.WriteHeader(http.StatusInternalServerError) })
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), nil)
		b.ok(user("b"), nil)
		b.wantSeen("server/discover", 2)
		b.wantSeen("initialize", 2)
	})
}

func TestGarbageToTheProbeFallsBackToInitialize(t *testing.T) {
	f := legacy()
	f.script("server/discover", func(h *hit) { h.raw("text/html", "<html>hello</html>") })
	inBubble(t, f, func(b *bed) { b.ok(user("a"), nil) })
}

// Many servers speak both eras. Nothing needs to be translated for such a one, and
// what has no translation works.
func TestUpstreamOfBothErasIsSpokenToInTheCallersEra(t *testing.T) {
	f := modern()
	f.version, f.sessions = "2025-11-25", true
	f.script("server/discover", func(h *hit) {
		h.result(`{"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}`)
	})
	f.script("initialize", func(h *hit) { h.initialize() })
	f.script("notifications/initialized", func(h *hit) { h.WriteHeader(http.StatusAccepted) })
	f.script("tools/call", func(h *hit) {
		switch id := h.in.Header.Get("Mcp-Session-Id"); {
		case id != "" && !f.knows(id):
			h.WriteHeader(http.StatusNotFound)
		case mcp.Version(h.in.Header.Get("Mcp-Protocol-Version")).Modern() == (id != ""):
			h.WriteHeader(http.StatusTeapot)
		default:
			h.result(`{}`)
		}
	})
	inBubble(t, f, func(b *bed) {
		asker := user("")
		asker.Modern = true
		b.ok(asker, nil)
		b.wantSeen("initialize", 0)
		b.ok(user("a"), nil)
		b.wantSeen("initialize", 1)
		b.ok(asker, nil)
		b.ok(user("a"), nil)
		b.wantSeen("initialize", 1)
		b.wantSeen("server/discover", 1)
		opened, err := b.ups.Open(b.Context(), "up", user("b"))
		if err != nil || opened.Modern || opened.Version != mcp.V20251125 || opened.Session == "" {
			b.Errorf("a legacy caller opened %+v, %v", opened, err)
		}
		f.forget("s1", "s2")
		b.ok(user("a"), nil) // lost, and begun anew in the same era
		b.wantSeen("initialize", 3)
	})
}

func TestModernUpstreamThatBecomesLegacyIsProbedAgain(t *testing.T) {
	f := modern()
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), nil)
		time.Sleep(time.Minute)
		f.mu.Lock()
		f.modern, f.version, f.sessions = false, "2025-06-18", true
		f.mu.Unlock()
		f.script("server/discover", func(h *hit) { h.fail(http.StatusBadRequest, -32000, "Bad Request: Server not initialized") })
		b.ok(user("a"), nil)
		b.wantSeen("initialize", 1)
		b.wantSeen("tools/call", 3) // the second was refused unread
	})
}

func TestLegacyUpstreamThatBecomesModernIsProbedAgain(t *testing.T) {
	f := legacy()
	inBubble(t, f, func(b *bed) {
		b.ok(user("a"), nil)
		time.Sleep(time.Minute)
		f.mu.Lock()
		f.modern = true
		f.mu.Unlock()
		f.script("tools/call", func(h *hit) {
			if h.in.Header.Get("Mcp-Session-Id") != "" {
				h.fail(http.StatusBadRequest, mcp.CodeUnsupportedVersion, "unsupported")
				return
			}
			h.behave()
		})
		b.ok(user("a"), nil)
		b.wantSeen("server/discover", 2)
	})
}

// Clients call what a server does not have all the time.
func TestMethodNotFoundIsRelayedAndDoubtedRarely(t *testing.T) {
	f := modern()
	f.script("tools/call", func(h *hit) { h.fail(http.StatusNotFound, mcp.CodeMethodNotFound, "no tools here") })
	inBubble(t, f, func(b *bed) {
		for range 20 {
			answer, err := b.call(user("a"), nil)
			if err != nil || answer.Err() == nil || answer.Err().Message != "no tools here" || answer.ID() != `"client-1"` {
				b.Fatalf("got %v, %v", answer, err)
			}
			time.Sleep(time.Second)
		}
		if n := len(f.seen("server/discover")); n > 4 {
			b.Errorf("%d probes in 20 seconds", n)
		}
	})
}

func TestHangingProbeEndsInTime(t *testing.T) {
	f := modern()
	f.script("server/discover", (*hit).gone)
	inBubble(t, f, func(b *bed) {
		begun := time.Now()
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.Timeout, "did not answer")
		if took := time.Since(begun); took != 10*time.Second {
			b.Errorf("it took %v", took)
		}
	})
}

func TestChangedRecordIsProbedAnew(t *testing.T) {
	inBubble(t, modern(), func(b *bed) {
		b.ok(user("a"), nil)
		other := legacy()
		defer b.serve("other.example:80", other)()
		b.mu.Lock()
		b.rec.URL, b.rec.Revision = "http://other.example:80/", 2
		b.mu.Unlock()
		b.ok(user("a"), nil)
		if len(other.seen("initialize")) != 1 {
			b.Error("the upstream at the new URL was not opened")
		}
	})
}
