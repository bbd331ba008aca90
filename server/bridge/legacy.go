package bridge

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/mcpclient"
)

// maxSubscriptions is how many subscriptions of a client are remembered.
const maxSubscriptions = 1024

// legacy is the session of the client, and what it takes to open it again.
type legacy struct {
	bridge *Bridge
	once   sync.Once  // begins to listen
	opens  sync.Mutex // held while a session is opened

	mu         sync.Mutex
	hello      []byte // params of initialize; nil: the client has not said it
	session    string
	version    string // negotiated
	generation int    // counts sessions
	changes    []string
	subscribed map[string][]byte // params of resources/subscribe, by URI
	level      []byte            // params of logging/setLevel; nil: none
}

func (l *legacy) header(m *mcp.Message) (http.Header, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := make(http.Header)
	if m != nil && m.Method() == mcp.Initialize {
		return h, l.generation
	}
	if l.session != "" {
		h.Set(mcp.HeaderSession, l.session)
	}
	if l.version != "" {
		h.Set(mcp.HeaderVersion, l.version)
	}
	return h, l.generation
}

func (l *legacy) resumes() bool { return true }

// mend opens the session again when it is gone.
func (l *legacy) mend(ctx context.Context, m *mcp.Message, refusal *mcpclient.Refusal, state int) (bool, error) {
	l.mu.Lock()
	had := l.session != ""
	l.mu.Unlock()
	if refusal.Status != http.StatusNotFound || !had || m != nil && m.Method() == mcp.Initialize {
		return false, nil
	}
	return true, l.renew(ctx, state)
}

// carry carries a request of the client, and remembers what a new session would
// have to be told.
func (l *legacy) carry(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
	if m.Method() == mcp.Initialize {
		l.opens.Lock()
		defer l.opens.Unlock()
		l.end(ctx) // a client that begins anew
		return l.open(ctx, m)
	}
	answer, err := l.bridge.carry(ctx, m, l, l.bridge.out.send)
	if err == nil && answer.Err() == nil {
		l.remember(m)
	}
	return answer, err
}

func (l *legacy) remember(m *mcp.Message) {
	uri, _ := mcp.Text(mcp.Field(m.Params(), "uri"))
	l.mu.Lock()
	defer l.mu.Unlock()
	switch m.Method() {
	case mcp.SetLevel:
		l.level = m.Params()
	case mcp.ResourcesUnsub:
		delete(l.subscribed, uri)
	case mcp.ResourcesSub:
		if l.subscribed == nil {
			l.subscribed = make(map[string][]byte)
		}
		if len(l.subscribed) < maxSubscriptions {
			l.subscribed[uri] = m.Params()
		}
	}
}

// open begins a session. It is called with opens held.
func (l *legacy) open(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
	s := l.bridge.places.sending()
	for {
		header, _ := l.header(m)
		resp, err := s.send(ctx, http.MethodPost, header, m.Bytes())
		var answer *mcp.Message
		if err == nil {
			session := resp.Header.Get(mcp.HeaderSession)
			if answer, err = l.bridge.follow(ctx, l, m, resp, l.bridge.out.send); err == nil {
				l.adopt(m, answer, session)
				return answer, nil
			}
		}
		if !lost(err) || !s.pause(ctx) { // a session that nobody knows expires
			return nil, orEnded(ctx, err)
		}
	}
}

// adopt makes session the one of the client.
func (l *legacy) adopt(m, answer *mcp.Message, session string) {
	if answer.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hello, l.session = m.Params(), session
	l.version, _ = mcp.Text(mcp.Field(answer.Result(), "protocolVersion"))
	l.generation++
	l.changes = nil
	for _, c := range []struct{ capability, notification string }{
		{"tools", mcp.ToolsListChanged}, {"resources", mcp.ResourcesListChanged}, {"prompts", mcp.PromptsListChanged},
	} {
		if string(mcp.Field(answer.Result(), "capabilities", c.capability, "listChanged")) == "true" {
			l.changes = append(l.changes, c.notification)
		}
	}
}

// renew opens the session again, unless that was done since state: with what the
// client had said when it opened it, and what it had subscribed to.
func (l *legacy) renew(ctx context.Context, state int) error {
	l.opens.Lock()
	defer l.opens.Unlock()
	l.mu.Lock()
	done, hello, version := l.generation != state, l.hello, l.version
	l.mu.Unlock()
	if done {
		return nil
	}
	l.bridge.log.Info("the session is gone, and opened again")
	answer, err := l.open(ctx, mcp.Request(mcp.TextID("mcpraft-initialize"), mcp.Initialize, hello))
	if err != nil {
		return err
	}
	if e := answer.Err(); e != nil {
		return e
	}
	if now, _ := mcp.Text(mcp.Field(answer.Result(), "protocolVersion")); now != version {
		return fault.New(fault.Unsupported, "the session is gone, and the cluster now speaks revision %s where it spoke %s", now, version).
			WithHint("start the MCP client again")
	}
	l.restore(ctx)
	return nil
}

// restore tells a new session what the client had told the one before, and the
// client what it may have missed.
func (l *legacy) restore(ctx context.Context) {
	l.mu.Lock()
	subscribed, level, changes := maps.Clone(l.subscribed), l.level, slices.Clone(l.changes)
	l.mu.Unlock()
	l.send(ctx, mcp.Notification(mcp.Initialized, nil))
	if level != nil {
		l.tell(ctx, mcp.SetLevel, level)
	}
	for _, params := range subscribed {
		l.tell(ctx, mcp.ResourcesSub, params)
	}
	for _, method := range changes {
		l.bridge.out.send(mcp.Notification(method, nil))
	}
	for uri := range subscribed {
		params := mcp.WithField([]byte("{}"), mcp.Quote(uri), "uri")
		l.bridge.out.send(mcp.Notification(mcp.ResourceUpdated, params))
	}
}

// tell makes a request of the bridge's own, whose result says nothing.
func (l *legacy) tell(ctx context.Context, method string, params []byte) {
	m := mcp.Request(mcp.TextID("mcpraft-restore"), method, params)
	header, _ := l.header(m)
	resp, err := l.bridge.places.sending().send(ctx, http.MethodPost, header, m.Bytes())
	if err == nil {
		var answer *mcp.Message
		if answer, err = l.bridge.follow(ctx, l, m, resp, l.bridge.out.send); err == nil && answer.Err() != nil {
			err = answer.Err()
		}
	}
	if err != nil {
		l.bridge.log.Warn("the new session lacks what the one before had", "method", method, "err", err)
	}
}

// post sends a message of the client that gets no answer.
func (l *legacy) post(ctx context.Context, m *mcp.Message) {
	l.mu.Lock()
	opened, state := l.hello != nil, l.generation
	l.mu.Unlock()
	if !opened {
		return // the modern era has none
	}
	refusal := l.send(ctx, m)
	if refusal != nil && m.Kind() == mcp.KindNotification {
		if mended, err := l.mend(ctx, m, refusal, state); mended && err == nil && m.Method() != mcp.Initialized {
			l.send(ctx, m)
		}
	}
	if m.Method() == mcp.Initialized {
		l.once.Do(func() { l.bridge.group.Go(func() { l.listen(ctx) }) })
	}
}

// send posts a message that gets no answer. That it could not be posted is logged;
// the refusal of a node is given.
func (l *legacy) send(ctx context.Context, m *mcp.Message) *mcpclient.Refusal {
	header, _ := l.header(m)
	resp, err := l.bridge.places.sending().send(ctx, http.MethodPost, header, m.Bytes())
	if err == nil {
		resp.Body.Close()
		return nil
	}
	l.bridge.log.Warn("a message of the client was not taken", "kind", m.Kind(), "method", m.Method(), "err", err)
	return refusalOf(err)
}

// listen gives the client what belongs to none of its requests, until ctx ends or
// the gateway says that there is no such thing.
func (l *legacy) listen(ctx context.Context) {
	r := &reading{bridge: l.bridge, each: l.bridge.out.send}
	of := 0
	for {
		header, state := l.header(nil)
		if state != of {
			r.event, of = "", state
		}
		if r.event != "" {
			header.Set(mcp.HeaderLastEventID, r.event)
		}
		resp, err := l.bridge.places.sending().send(ctx, http.MethodGet, header, nil)
		if err == nil {
			_, _ = r.read(ctx, resp)
		} else if refusal := refusalOf(err); refusal != nil {
			if refusal.Status == http.StatusMethodNotAllowed && r.event == "" {
				return
			}
			r.event = ""
			if _, err := l.mend(ctx, nil, refusal, state); err != nil {
				l.bridge.log.Warn("the session could not be opened again", "err", err)
			}
		}
		if !sleep(ctx, max(r.retry, firstWait)) {
			return
		}
	}
}

// end ends the session. That it could not be told is no error: it expires.
func (l *legacy) end(ctx context.Context) {
	l.mu.Lock()
	session, version := l.session, l.version
	l.session, l.version, l.subscribed, l.level = "", "", nil, nil
	l.mu.Unlock()
	if session == "" {
		return
	}
	endpoint, err := l.bridge.places.at(ctx)
	if err != nil {
		return
	}
	header := make(http.Header)
	header.Set(mcp.HeaderSession, session)
	if version != "" {
		header.Set(mcp.HeaderVersion, version)
	}
	if resp, err := endpoint.Send(ctx, http.MethodDelete, header, nil); err == nil {
		resp.Body.Close()
	}
}
