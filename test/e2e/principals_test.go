package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// A person is a principal with a token and a session of its own.
type person struct {
	t       *testing.T
	alias   string // of the upstream that it talks to
	token   string
	session string
}

// newPerson makes a token as an administrator does, and opens a session with it.
func newPerson(t *testing.T, c *Cluster, name string) *person {
	t.Helper()
	out, talk, code := c.Run("token", "create", name)
	if code != 0 {
		t.Fatalf("token create: %d\n%s%s", code, out, talk)
	}
	p := &person{t: t, alias: "demo", token: strings.TrimSpace(out)}
	a := p.send(http.MethodPost, c.nodes[0], "", "", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"form":{}}},"clientInfo":{"name":"`+name+`","version":"1"}}}`)
	text := body(t, a)
	if p.session = a.Header.Get("Mcp-Session-Id"); p.session == "" {
		t.Fatalf("%s has no session: %d %s", name, a.StatusCode, text)
	}
	a = p.send(http.MethodPost, c.nodes[1], p.session, "", `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	if body(t, a); a.StatusCode != http.StatusAccepted {
		t.Fatalf("notifications/initialized: %d", a.StatusCode)
	}
	return p
}

// send sends a request to one node, in a session and behind an event that are
// perhaps somebody else's. The caller closes the answer's body.
func (p *person) send(method string, n *Node, session, event, text string) *http.Response {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+n.mcp+"/servers/"+p.alias+"/mcp", strings.NewReader(text))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Mcp-Protocol-Version", "2025-11-25")
	for key, value := range map[string]string{"Mcp-Session-Id": session, "Last-Event-Id": event} {
		if value != "" {
			r.Header.Set(key, value)
		}
	}
	a, err := direct.RoundTrip(r)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// status is the status of a request whose body does not matter.
func (p *person) status(method string, n *Node, session, event, text string) int {
	p.t.Helper()
	a := p.send(method, n, session, event, text)
	a.Body.Close()
	return a.StatusCode
}

func body(t *testing.T, a *http.Response) string {
	t.Helper()
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, maxForwarded))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const (
	ping     = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	slowCall = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"slow","arguments":{"steps":2,"delay_ms":20},"_meta":{"progressToken":"p"}}}`
	confirm  = `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"confirm","arguments":{"question":"whose?"}}}`
)

var eventID = regexp.MustCompile(`(?m)^id: ?(\S+)$`)

// TestTwoPrincipalsNeverSeeEachOther lets one use all that the other was given:
// its session, its event ids, the id of a question it was asked; and what was
// never given to anybody.
func TestTwoPrincipalsNeverSeeEachOther(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	if out, talk, code := c.Run("upstreams", "add", "demo", startCounted(t).URL+"/mcp"); code != 0 {
		t.Fatalf("adding the upstream: %d\n%s%s", code, out, talk)
	}
	for i := range c.nodes {
		c.Ready(i)
	}
	alice, bob := newPerson(t, c, "alice"), newPerson(t, c, "bob")

	streamed := body(t, alice.send(http.MethodPost, c.nodes[0], alice.session, "", slowCall))
	ids := eventID.FindAllStringSubmatch(streamed, -1)
	if len(ids) < 2 {
		t.Fatalf("the call has no events to resume from:\n%s", streamed)
	}
	event := ids[0][1]
	for _, n := range c.nodes {
		if status := alice.status(http.MethodPost, n, alice.session, "", ping); status != http.StatusOK {
			t.Errorf("%s: Alice's own session answers %d", n.id, status)
		}
		if text := body(t, alice.send(http.MethodGet, n, alice.session, event, "")); !strings.Contains(text, `"result"`) {
			t.Errorf("%s: Alice's own event does not bring the answer again: %s", n.id, text)
		}
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
			for whose, session := range map[string]string{"Alice's": alice.session, "a forged": altered(alice.session), "an altered own": altered(bob.session), "an invented": "0123456789abcdef"} {
				if status := bob.status(method, n, session, "", ping); status != http.StatusNotFound {
					t.Errorf("%s: Bob's %s in %s session answers %d, want 404", n.id, method, whose, status)
				}
			}
		}
		for whose, id := range map[string]string{"Alice's": event, "a forged": altered(event), "an invented": "7"} {
			a := bob.send(http.MethodGet, n, bob.session, id, "")
			if text := body(t, a); a.StatusCode < 400 || a.StatusCode >= 500 || strings.Contains(text, "result") {
				t.Errorf("%s: Bob resumes behind %s event: %d %s", n.id, whose, a.StatusCode, text)
			}
		}
		if status := bob.status(http.MethodGet, n, alice.session, event, ""); status != http.StatusNotFound {
			t.Errorf("%s: Bob resumes in Alice's session: %d", n.id, status)
		}
	}

	asked := alice.send(http.MethodPost, c.nodes[0], alice.session, "", confirm)
	defer asked.Body.Close()
	events := bufio.NewScanner(asked.Body)
	question := nextMessage(t, events)
	if question.Method != "elicitation/create" {
		t.Fatalf("Alice is told %+v", question)
	}
	for _, n := range c.nodes { // whatever they answer, nothing must come of it
		bob.status(http.MethodPost, n, bob.session, "", accept(question.ID, false))
		bob.status(http.MethodPost, n, alice.session, "", accept(question.ID, false))
	}
	if status := alice.status(http.MethodPost, c.nodes[2], alice.session, "", accept(question.ID, true)); status != http.StatusAccepted {
		t.Errorf("Alice's answer: %d", status)
	}
	if answer := nextMessage(t, events); string(answer.ID) != "3" || !strings.Contains(string(answer.Result), "said yes") {
		t.Errorf("the call that asked Alice is answered %s", answer.Result)
	}

	if _, talk, code := mcpraft(t, c.dir, "--addr", c.nodes[0].admin, "--token", bob.token, "sessions", "ls"); code == 0 || !strings.Contains(talk, "admin") {
		t.Errorf("Bob lists sessions: %d %s", code, talk)
	}
	for _, n := range c.nodes {
		if status := alice.status(http.MethodPost, n, alice.session, "", ping); status != http.StatusOK {
			t.Errorf("%s: Alice's session answers %d after all that", n.id, status)
		}
	}
}

// altered is an id with another last character but one: the last may hold bits
// that mean nothing.
func altered(id string) string {
	i := len(id) - 2
	other := byte('A')
	if id[i] == other {
		other = 'B'
	}
	return id[:i] + string(other) + id[i+1:]
}

func accept(id json.RawMessage, ok bool) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{"ok":%t}}}`, id, ok)
}

// A message is what an event carries.
type message struct {
	ID     json.RawMessage
	Method string
	Result json.RawMessage
}

// nextMessage reads events up to the next that carries a request or an answer.
func nextMessage(t *testing.T, events *bufio.Scanner) message {
	t.Helper()
	for events.Scan() {
		data, ok := strings.CutPrefix(events.Text(), "data:")
		if !ok || strings.TrimSpace(data) == "" {
			continue
		}
		var m message
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		if len(m.ID) > 0 {
			return m
		}
	}
	t.Fatalf("the stream ends: %v", events.Err())
	return message{}
}
