package upstream

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// handshakeLimit bounds initialize where the upstream's own timeout is longer.
const handshakeLimit = 30 * time.Second

// handshake opens a legacy session: initialize, then the notification that ends
// it. What answers initialize by "no such thing" may be a server of HTTP+SSE.
func (up *upstream) handshake(ctx context.Context, c *Caller) (*state, error) {
	if e := up.era.Load(); e != nil && e.connected {
		return up.handshakeOver(ctx, c)
	}
	st, err := up.initialize(ctx, c, nil)
	r, ok := errors.AsType[*refusal](err)
	if !ok || !r.mayBeSSE() {
		return st, err
	}
	st, sseErr := up.handshakeOver(ctx, c)
	if sseErr != nil {
		return nil, err // what the upstream said to the more likely guess
	}
	up.learn(&era{connected: true, found: time.Now()})
	return st, nil
}

// handshakeOver opens a session that is a connection of its own.
func (up *upstream) handshakeOver(ctx context.Context, c *Caller) (*state, error) {
	ch, err := up.openChannel(ctx)
	if err != nil {
		return nil, err
	}
	st, err := up.initialize(ctx, c, ch)
	if err != nil {
		ch.close()
		return nil, err
	}
	return st, nil
}

// mayBeSSE reports whether a refusal of initialize is one that a server gives
// which takes no POST at that URL.
func (r *refusal) mayBeSSE() bool {
	if r.modernWord() {
		return false
	}
	switch r.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType, http.StatusNotImplemented:
		return true
	}
	return false
}

// initialize opens a session, over the channel if there is one. The revision is
// what the caller speaks if the session is its own, so that what the upstream
// sends can be relayed as it is.
func (up *upstream) initialize(ctx context.Context, c *Caller, ch *channel) (*state, error) {
	offer := mcp.NewestLegacy
	if k, shared := up.keyFor(c); (!shared || k.own()) && slices.Contains(mcp.LegacyVersions(), c.Version) {
		offer = c.Version
	}
	st, err := up.initializeAs(ctx, c, ch, offer)
	if r, ok := errors.AsType[*refusal](err); ok {
		// Instead of answering with its own revision it names those that it takes.
		if other := newestLegacy(r.supported()); other != "" && other != offer {
			return up.initializeAs(ctx, c, ch, other)
		}
	}
	return st, err
}

func newestLegacy(list []mcp.Version) mcp.Version {
	var newest mcp.Version
	for _, v := range list {
		if v.Known() && !v.Modern() && v > newest {
			newest = v
		}
	}
	return newest
}

func (up *upstream) initializeAs(ctx context.Context, c *Caller, ch *channel, offer mcp.Version) (*state, error) {
	fresh := &state{channel: ch}
	p := &path{up: up, era: &era{connected: ch != nil}, session: newSession(up, key{}), state: fresh}
	m := mcp.Request(mcp.NumberID(0), mcp.Initialize, up.initializeParams(c, offer))
	out, answer, err := p.greet(ctx, c, m, min(up.timeout, handshakeLimit))
	if err != nil {
		return nil, err
	}
	if answer.Kind() == mcp.KindFailure {
		return nil, &refusal{status: http.StatusOK, failure: answer}
	}
	st := &state{result: answer.Result(), id: out.opened, channel: ch}
	if err := st.accept(up.rec.Alias); err != nil {
		return nil, err
	}
	if st.id == "" && ch == nil {
		up.noSessions.Store(true)
	}
	return st, up.initialized(ctx, st)
}

func (up *upstream) initializeParams(c *Caller, offer mcp.Version) []byte {
	capabilities, info := c.Capabilities, up.ups.info
	if len(capabilities) == 0 {
		capabilities = []byte("{}")
	}
	if k, shared := up.keyFor(c); (!shared || k.own()) && len(c.ClientInfo) > 0 {
		info = c.ClientInfo
	}
	params := mcp.WithField(nil, mcp.Quote(string(offer)), "protocolVersion")
	params = mcp.WithField(params, capabilities, "capabilities")
	return mcp.WithField(params, info, "clientInfo")
}

// accept reads what initialize gave. Any legacy revision that is known will do,
// whatever was offered.
func (st *state) accept(alias string) error {
	name, _ := mcp.Text(mcp.Field(st.result, "protocolVersion"))
	st.version = mcp.Version(name)
	if !st.version.Known() || st.version.Modern() {
		return fault.New(fault.Unsupported, "upstream %q speaks revision %q of MCP, which this gateway does not", alias, clean(name)).
			WithDetail("upstream", alias)
	}
	if len(st.id) > maxSessionID || !printable(st.id) {
		return fault.New(fault.Unreachable, "upstream %q gave a session id that no header can hold", alias).WithDetail("upstream", alias)
	}
	return nil
}

// initialized ends the handshake. Servers that do not know the notification are
// taken as they are; one that does not know the session it just opened is not.
func (up *upstream) initialized(ctx context.Context, st *state) error {
	err := up.notifyIn(ctx, st, mcp.Notification(mcp.Initialized, nil))
	r, ok := errors.AsType[*refusal](err)
	if ok && !r.lostSession(st.id != "") && !r.inconclusive() {
		up.log.Warn("upstream refuses notifications/initialized", "status", r.status)
		return nil
	}
	return err
}
