package front

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/requestid"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A Front is the http.Handler of the MCP port. A server of one's own must have no
// WriteTimeout and no ReadTimeout: the Front sets deadlines of its own.
type Front struct {
	c       Config
	log     *slog.Logger
	origins *origins
	ids     *requestid.Source
	slots   chan struct{} // one for each POST or DELETE that runs
	streams *streams
	metrics *metrics
	epoch   atomic.Uint64 // counts changes of what credentials are good
	recheck chan struct{} // capacity 1: there was one

	lettingGo atomic.Bool
}

// New checks c.
func New(c Config) (*Front, error) {
	if err := c.Validate(); err != nil {
		return nil, fault.New(fault.Invalid, "mcp: %w", err)
	}
	c = c.withDefaults()
	f := &Front{
		c:       c,
		log:     c.Logger,
		origins: newOrigins(c.Loopback, c.Origins),
		ids:     requestid.NewSource(),
		slots:   make(chan struct{}, c.Requests),
		streams: newStreams(c.Streams, c.StreamsPerPrincipal),
		recheck: make(chan struct{}, 1),
	}
	f.metrics = newMetrics(c.Registerer, f)
	return f, nil
}

// EndStreams ends the context of every open stream, and of every one that opens
// later: the node stops. It does not wait for them; http.Server.Shutdown does.
func (f *Front) EndStreams() { f.streams.end(errStopping) }

// LetGo makes every answer from now on the last one of its connection: the node
// stops, and what its clients ask next is for another one.
func (f *Front) LetGo() { f.lettingGo.Store(true) }

// RecentMessages is how many messages of clients were done with in the last ten
// whole seconds; a batch is one.
func (f *Front) RecentMessages() uint64 { return f.metrics.messages.recent(time.Now()) }

// ServeHTTP admits a request and carries it to the handler and back.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &visit{
		f: f, w: w, r: r, rc: http.NewResponseController(w),
		id: f.ids.Of(r.Header.Get(HeaderRequestID)), began: time.Now(), label: r.Method,
	}
	limitBody(r, v.rc)
	h := w.Header()
	h[HeaderRequestID] = []string{v.id}
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	if f.lettingGo.Load() {
		h["Connection"] = lastAnswer
	}
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler {
			f.panicked(v, p)
		}
		v.end()
		f.note(v)
		if p == http.ErrAbortHandler {
			panic(p)
		}
	}()
	if err := v.serve(); err != nil {
		v.refuse(err)
	}
}

var (
	noStore = []string{"no-store"}
	noSniff = []string{"nosniff"}

	lastAnswer = []string{"close"}
)

// serve is the order of admission; see the package comment.
func (v *visit) serve() error {
	r := v.r
	v.place, v.alias = placeOf(r.URL.Path)
	if err := checkSize(r); err != nil {
		return err
	}
	if err := v.f.origins.check(r); err != nil {
		return err
	}
	share(v.w.Header(), r)
	switch {
	case r.Method == http.MethodOptions:
		v.deadline(answerTimeout)
		preflight(v.w, r)
		v.status = http.StatusNoContent
		return nil
	case v.place == discovery && v.f.c.Metadata != nil:
		v.discover()
		return nil
	case v.place != endpoint:
		return noSuchPlace(r.URL.EscapedPath())
	}
	if err := checkMethod(r.Method); err != nil {
		return err
	}
	caller, err := v.authenticate()
	if err != nil {
		return err
	}
	v.request = requestOf(r, v.id, v.alias, caller)
	switch r.Method {
	case http.MethodGet:
		return v.listen()
	case http.MethodDelete:
		return v.endSession()
	default:
		return v.post()
	}
}

// discover lets the metadata's own handler answer.
func (v *visit) discover() {
	v.deadline(answerTimeout)
	v.w.Header().Del("Cache-Control")
	recorded := &recorder{ResponseWriter: v.w, status: http.StatusOK}
	v.f.c.Metadata.ServeHTTP(recorded, v.r)
	v.status = recorded.status
}

// authenticate says who sent the request.
func (v *visit) authenticate() (exchange.Caller, error) {
	if len(v.r.Header["Authorization"]) == 0 {
		return exchange.Caller{}, fault.New(fault.Unauthenticated, "the request has no Authorization header").
			WithHint("send Authorization: Bearer TOKEN; mcpraft token create makes one, and mcpraft token show prints the one that the commands use")
	}
	token, ok := bearer(v.r.Header)
	if !ok {
		return exchange.Caller{}, fault.New(fault.Unauthenticated, "the Authorization header is not one bearer token").
			WithHint("send Authorization: Bearer TOKEN")
	}
	v.token, v.epoch = token, v.f.epoch.Load()
	return v.f.c.Authenticator.Authenticate(v.r.Context(), "", token)
}

// post carries one message, or a batch, to the handler.
func (v *visit) post() error {
	if err := checkType(v.r.Header); err != nil {
		return err
	}
	if err := v.f.enter(); err != nil {
		return err
	}
	defer v.f.leave()
	v.expectContinue()
	b := body{budget: v.f.c.Budget}
	defer b.release()
	if err := b.read(v.r, v.rc); err != nil {
		return err
	}
	v.received = len(b.data)
	list, batch, err := mcp.ParseAny(b.data, mcp.Inbound)
	if err != nil {
		return v.malformed(err)
	}
	if batch {
		v.label = labelBatch
		ctx, cancel := v.context()
		defer cancel(nil)
		answers, err := v.f.c.Handler.Batch(ctx, v.request, list, v)
		if err != nil {
			return err
		}
		return v.answerBatch(answers)
	}
	return v.message(list[0])
}

// message carries m to the handler and its answer back.
func (v *visit) message(m *mcp.Message) error {
	v.label = labelOf(m)
	if m.Kind() == mcp.KindRequest {
		v.rpc = m.ID()
	}
	if v.label == mcp.SubscriptionsListen {
		leave, err := v.f.streams.enter(v.request.Caller.Principal)
		if err != nil {
			return err
		}
		defer leave()
	}
	ctx, cancel := v.context()
	defer cancel(nil)
	answer, err := v.f.c.Handler.Post(ctx, v.request, m, v)
	if err != nil {
		return err
	}
	return v.answer(answer)
}

// listen opens the stream of a session.
func (v *visit) listen() error {
	if !v.request.HasSession {
		return noMethod(http.MethodGet, "only a session has a stream to GET: send its Mcp-Session-Id, or POST a message")
	}
	leave, err := v.f.streams.enter(v.request.Caller.Principal)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := v.context()
	defer cancel(nil)
	if err := v.f.c.Handler.Listen(ctx, v.request, v); err != nil {
		return err
	}
	return v.open()
}

// endSession ends a session.
func (v *visit) endSession() error {
	if !v.request.HasSession {
		return fault.New(fault.Invalid, "DELETE ends a session, and the request names none").
			WithHint("send the Mcp-Session-Id that initialize answered")
	}
	if err := v.f.enter(); err != nil {
		return err
	}
	defer v.f.leave()
	if err := v.f.c.Handler.End(v.r.Context(), v.request); err != nil {
		return err
	}
	v.bare(http.StatusNoContent)
	return nil
}

// enter takes the slot of a request, or refuses: a queue in front of a full node
// would only make its answers late.
func (f *Front) enter() error {
	select {
	case f.slots <- struct{}{}:
		return nil
	default:
		return fault.New(fault.Overloaded, "this node works on %d requests, which is its limit", cap(f.slots)).
			WithHint("try again in a moment, or another node").After(time.Second)
	}
}

func (f *Front) leave() { <-f.slots }

// panicked answers for a handler that broke. Whoever asked learns that, and
// nothing more; the stack is in the log.
func (f *Front) panicked(v *visit, p any) {
	f.log.Error("panic", "request_id", v.id, "method", v.label, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	v.refuse(fault.New(fault.Internal, "internal error").WithHint("the node's log has the details under this request id"))
}

// note counts and logs what became of v.
func (f *Front) note(v *visit) {
	f.metrics.count(v)
	if v.err != nil && fault.Of(v.err) == fault.Internal {
		f.log.Error("mcp request failed", "request_id", v.id, "method", v.label, "upstream", v.alias, "err", v.err)
	}
	if !f.log.Enabled(v.r.Context(), slog.LevelDebug) {
		return
	}
	f.log.Debug("mcp request",
		"request_id", v.id, "method", v.label, "upstream", v.alias, "remote", v.r.RemoteAddr,
		"status", v.status, "stream", v.streamed, "took", time.Since(v.began), "err", v.err)
}

var (
	errStopping = errors.New("this node is stopping")
	errExpired  = errors.New("the credentials have expired")
)

// A recorder notes the status that somebody else's handler answers with.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}
