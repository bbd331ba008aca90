package upstream

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A path is how the requests of one caller get to an upstream at one moment.
type path struct {
	up      *upstream
	era     *era
	session *session // nil: modern
	state   *state   // nil: modern
	alone   bool     // the session is for one call and ends with it

	shown *credential // that the newest request carried; nil: none
}

// reach finds the path for c, with whatever has to be done for it: probing,
// a handshake, or taking up what another node has begun. After nil the caller
// must leave the path. If announce is set, a session that the gateway's session
// now has to itself is told to Rebound; Open gives it back instead.
func (up *upstream) reach(ctx context.Context, c *Caller, announce bool) (*path, error) {
	for range 2 {
		e, err := up.eraFor(ctx, c)
		if err != nil {
			return nil, err
		}
		if e != nil && e.modern {
			return &path{up: up, era: e}, nil
		}
		p, err := up.reachLegacy(ctx, c, e, announce)
		if err == nil {
			return p, nil
		}
		if !handshakeDoubts(err) || !up.changed(ctx, e) {
			return nil, err
		}
	}
	return nil, fault.New(fault.Unreachable, "upstream %q changes its era again and again", up.rec.Alias)
}

// eraFor is the era to speak with c. What is known of the caller's session needs
// no probe: any node goes on with it at once.
func (up *upstream) eraFor(ctx context.Context, c *Caller) (*era, error) {
	if e := up.era.Load(); e != nil {
		return e.spokenBy(c), nil
	}
	if b := c.Binding; b != nil && len(b.Session) > 0 && mcp.Version(b.Protocol).Known() && up.rec.Transport != transportSSE && !up.stdio() {
		return nil, nil
	}
	e, err := up.currentEra(ctx)
	return e.spokenBy(c), err
}

func (up *upstream) reachLegacy(ctx context.Context, c *Caller, e *era, announce bool) (*path, error) {
	k, shared := up.keyFor(c)
	if !shared {
		st, err := up.handshake(ctx, c)
		if err != nil {
			return nil, err
		}
		up.metrics.opened(false)
		return &path{up: up, era: e, session: newSession(up, key{mode: modePerCall}), state: st, alone: true}, nil
	}
	s := up.session(k)
	st, err := s.current(ctx, c, announce)
	if err != nil {
		s.leave()
		return nil, err
	}
	return &path{up: up, era: e, session: s, state: st}, nil
}

// leave must be called once for each path.
func (p *path) leave(ctx context.Context) {
	if p.session == nil {
		return
	}
	if !p.alone {
		p.session.leave()
		return
	}
	if p.state.channel != nil {
		p.state.channel.close()
	}
	p.up.bye(context.WithoutCancel(ctx), p.state)
}

// handshakeDoubts reports whether a handshake failed in a way that a server of
// another era would make it fail.
func handshakeDoubts(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && !r.inconclusive()
}

// call sends m and gives its answer under its own id.
func (up *upstream) call(ctx context.Context, c *Caller, m *mcp.Message, sink Sink) (*mcp.Message, error) {
	var err error
	for range maxTries {
		var p *path
		p, err = up.reach(ctx, c, true)
		if err != nil {
			return answered(err, m.ID())
		}
		var answer *mcp.Message
		var again bool
		answer, again, err = p.try(ctx, c, m, sink)
		p.leave(ctx)
		if !again {
			if err != nil {
				return answered(err, m.ID())
			}
			return answer, nil
		}
	}
	return answered(err, m.ID())
}

// answered turns a refusal that holds a JSON-RPC error into the answer that it
// is.
func answered(err error, id mcp.ID) (*mcp.Message, error) {
	if r, ok := errors.AsType[*refusal](err); ok && r.failure != nil && r.status != http.StatusUnauthorized && r.status != http.StatusForbidden {
		return r.failure.WithID(id), nil
	}
	return nil, err
}

// try sends m once. Again is set if the upstream did not look at it and there is
// a reason to believe that it will next time; err is then what it said.
func (p *path) try(ctx context.Context, c *Caller, m *mcp.Message, sink Sink) (answer *mcp.Message, again bool, err error) {
	p.raiseLevel(ctx, c, m)
	if p.session == nil && m.Method() == mcp.ToolsCall {
		name, _ := mcp.Text(mcp.Field(m.Params(), "name"))
		p.up.tools.prepare(ctx, p, c, name)
	}
	out, err := p.newCall(ctx, c, m, sink)
	if err != nil {
		return nil, false, err
	}
	answer, err = out.do(ctx)
	if err == nil && answer.Kind() == mcp.KindFailure && p.era != nil {
		// Errors of the protocol itself also come with status 200.
		if code := answer.Err().Code; code == mcp.CodeUnsupportedVersion || code == mcp.CodeHeaderMismatch {
			err = &refusal{status: http.StatusOK, failure: answer}
		}
	}
	if err == nil {
		if answer.Kind() == mcp.KindResult {
			answer = p.learn(m, answer)
		}
		return answer.WithID(m.ID()), false, nil
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return nil, p.recover(ctx, c, m, r), err
	}
	if _, unsent := errors.AsType[*notSentError](err); unsent && p.up.stdio() && ctx.Err() == nil {
		p.session.forget(p.state) // its process ended just now: another will have it
		return nil, true, err
	}
	return nil, false, err
}

// recover does what a refusal asks for and reports whether the request is worth
// sending again.
func (p *path) recover(ctx context.Context, c *Caller, m *mcp.Message, r *refusal) bool {
	switch {
	case r.status == http.StatusUnauthorized:
		return p.refusedCredential()
	case p.state != nil && r.lostSession(p.state.id != ""):
		p.up.metrics.lost()
		p.session.lose(p.state)
		return true
	case p.era != nil && p.era.modern && r.code() == mcp.CodeHeaderMismatch && m.Method() == mcp.ToolsCall:
		return p.up.tools.refresh(ctx, p, c) == nil
	case p.doubts(r):
		return p.up.changed(ctx, p.era)
	}
	return false
}

func (p *path) doubts(r *refusal) bool {
	if p.era == nil {
		return r.code() == mcp.CodeUnsupportedVersion
	}
	return p.era.doubts(r)
}

// learn keeps what a result tells: tools and their headers, what is set in the
// session. It gives the answer as it may leave this package.
func (p *path) learn(m, answer *mcp.Message) *mcp.Message {
	if p.session != nil {
		p.session.noted(m)
		return answer
	}
	if m.Method() == mcp.ToolsList {
		first := mcp.Field(m.Params(), "cursor") == nil
		return answer.WithResult(p.up.tools.listed(p.up, answer.Result(), first))
	}
	return answer
}

// severities orders the log levels, the most talkative first.
var severities = map[string]int{
	"debug": 1, "info": 2, "notice": 3, "warning": 4, "error": 5, "critical": 6, "alert": 7, "emergency": 8,
}

// raiseLevel makes an upstream session as talkative as its most curious caller
// wants it. A modern caller says so in each request, a legacy session has one
// level.
func (p *path) raiseLevel(ctx context.Context, c *Caller, m *mcp.Message) {
	if p.session == nil || c.LogLevel == "" || m.Method() == mcp.SetLevel || !declares(p.state.result, "logging") {
		return
	}
	wanted := severities[c.LogLevel]
	p.session.mu.Lock()
	set := severities[p.session.level]
	raise := wanted != 0 && (set == 0 || wanted < set)
	if raise {
		p.session.level = c.LogLevel
	}
	p.session.mu.Unlock()
	if raise {
		p.tell(ctx, c, mcp.SetLevel, "level", c.LogLevel)
	}
}

// tell sends a request of ours with one parameter; whether it succeeds is only
// logged.
func (p *path) tell(ctx context.Context, c *Caller, method, name, value string) {
	m := mcp.Request(mcp.NumberID(0), method, mcp.WithField(nil, mcp.Quote(value), name))
	answer, err := p.ask(ctx, c, m)
	if err == nil && answer.Kind() == mcp.KindFailure {
		err = answer.Err()
	}
	if err != nil {
		p.up.log.Warn("upstream session not restored", "method", method, "error", clean(err.Error()))
	}
}

// greet sends a request of ours that opens the way to an upstream, once more if
// there is another credential than the one that was refused.
func (p *path) greet(ctx context.Context, c *Caller, m *mcp.Message, timeout time.Duration) (*call, *mcp.Message, error) {
	for try := 1; ; try++ {
		out, err := p.newCall(ctx, c, m, nil)
		if err != nil {
			return nil, nil, err
		}
		out.timeout = timeout
		answer, err := out.do(ctx)
		if r, ok := errors.AsType[*refusal](err); ok && r.status == http.StatusUnauthorized && p.refusedCredential() && try < maxTries {
			continue
		}
		return out, answer, err
	}
}

// ask sends a request of ours over this path.
func (p *path) ask(ctx context.Context, c *Caller, m *mcp.Message) (*mcp.Message, error) {
	out, err := p.newCall(ctx, c, m, nil)
	if err != nil {
		return nil, err
	}
	return out.do(ctx)
}

// notify sends a notification if there is a session to send it in.
func (up *upstream) notify(ctx context.Context, c *Caller, m *mcp.Message) error {
	k, ok := up.keyFor(c)
	if e := up.era.Load().spokenBy(c); !ok || e != nil && e.modern {
		return nil
	}
	s := up.session(k)
	defer s.leave()
	st := s.live(c.Binding)
	if st == nil || m.Method() == mcp.Initialized {
		return nil // the handshake said it
	}
	err := up.notifyIn(ctx, st, m)
	if r, ok := errors.AsType[*refusal](err); ok && r.lostSession(st.id != "") {
		s.lose(st) // a new session has not been told anything that this could change
		return nil
	}
	return err
}

func (up *upstream) notifyIn(ctx context.Context, st *state, m *mcp.Message) error {
	to, headers, err := up.address(ctx, st)
	if err != nil {
		return err
	}
	return up.post(ctx, to, headers.post, m.Bytes())
}

// address is where messages of a session are posted, and with which headers.
func (up *upstream) address(ctx context.Context, st *state) (*url.URL, *headerSet, error) {
	headers, err := up.headers(ctx, st)
	if st.channel != nil {
		return st.channel.endpoint, headers, err
	}
	return up.url, headers, err
}

// openFor is Open behind the gate.
func (up *upstream) openFor(ctx context.Context, c *Caller) (Opened, error) {
	p, err := up.reach(ctx, c, false)
	if err != nil {
		return Opened{}, err
	}
	defer p.leave(ctx)
	if p.session == nil {
		return up.openedModern(ctx, p.era), nil
	}
	st := p.state
	if st.result == nil {
		// A session that another node has begun: what the upstream says of itself
		// is not in it, so that Open begins another.
		p.session.lose(st)
		if st, err = p.session.current(ctx, &Caller{Principal: c.Principal, Session: c.Session, Capabilities: c.Capabilities, ClientInfo: c.ClientInfo, Version: c.Version}, false); err != nil {
			return Opened{}, err
		}
	}
	opened := Opened{Initialize: st.result, Version: st.version}
	if p.session.key.own() {
		opened.Session = st.id
	}
	return opened, nil
}

// openedModern gives what discover said, asked again if that was long ago.
func (up *upstream) openedModern(ctx context.Context, e *era) Opened {
	if e.discover == nil || time.Since(e.found) > discoverFor {
		if fresh, err := up.probing.do(ctx, func() (*era, error) { return up.probe(ctx) }); err == nil && fresh != nil && fresh.modern {
			up.learn(fresh)
			e = fresh
		}
	}
	result := mcp.WithField(nil, mcp.Quote(string(e.version)), "protocolVersion")
	for _, name := range []string{"capabilities", "serverInfo", "instructions"} {
		value := mcp.Field(e.discover, name)
		switch {
		case name == "capabilities" && value == nil:
			value = []byte("{}")
		case name == "serverInfo" && value == nil:
			value = mcp.Meta(e.discover, mcp.MetaServerInfo)
		}
		if name == "serverInfo" && value == nil {
			value = mcp.WithField(mcp.WithField(nil, mcp.Quote(up.rec.Alias), "name"), mcp.Quote("0"), "version")
		}
		if value != nil {
			result = mcp.WithField(result, value, name)
		}
	}
	return Opened{Initialize: result, Discover: e.discover, Modern: true, Version: e.version}
}

// A headerSet holds the headers of a session's requests, made once. The maps are
// shared between requests and never changed.
type headerSet struct {
	credential *credential
	post, get  http.Header
}

var (
	jsonType   = []string{"application/json"}
	bothTypes  = []string{"application/json, text/event-stream"}
	streamType = []string{"text/event-stream"}
)

// headers are those of a session's requests. Before there is one (st is nil) they
// name no version.
func (up *upstream) headers(ctx context.Context, st *state) (*headerSet, error) {
	cred, err := up.credential(ctx)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return up.newHeaders(cred, "", ""), nil
	}
	if h := st.cached.Load(); h != nil && h.credential.equal(cred) {
		return h, nil
	}
	h := up.newHeaders(cred, st.version, st.id)
	st.cached.Store(h)
	return h, nil
}

func (up *upstream) newHeaders(cred *credential, version mcp.Version, session string) *headerSet {
	post := http.Header{
		"User-Agent":   {up.ups.o.Name + "/" + up.ups.o.Version},
		"Content-Type": jsonType,
		"Accept":       bothTypes,
	}
	if version.AtLeast(mcp.V20250618) {
		post[mcp.HeaderVersion] = []string{string(version)}
	}
	if session != "" {
		post[mcp.HeaderSession] = []string{session}
	}
	if cred != nil {
		post[cred.header] = []string{cred.value}
	}
	get := maps.Clone(post)
	delete(get, "Content-Type")
	get["Accept"] = streamType
	return &headerSet{credential: cred, post: post, get: get}
}
