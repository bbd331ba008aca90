package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/test/model"
)

// Settings of all sessions, small enough for a run to see them expire.
const (
	sessionTTL   = 2 * time.Second
	tombstoneTTL = 3 * time.Second
	perPrincipal = 2
	principals   = 2
)

const tallyKey = "tally" // an entry that counts how often it was replaced

// A client works on the entries and sessions that all clients share, one request
// after the other, on whatever node it likes.
type client struct {
	*cluster
	name     string
	rng      *rand.Rand
	haste    time.Duration // shortest deadline
	patience time.Duration // longest
	home     *host         // asked mostly

	last     uint64            // index of its newest write: it reads its writes
	revision map[string]uint64 // of entries as it saw them last
	active   map[string]record.LogTime
	requests int
	tallied  tally
}

// tally is what a client knows of the counter.
type tally struct{ accepted, unknown int }

func newClient(c *cluster, i int) *client {
	name := fmt.Sprintf("c%d", i+1)
	return &client{
		cluster: c, name: name, rng: generator(c.plan.seed, name), haste: 20 * time.Millisecond, patience: c.plan.patience,
		revision: make(map[string]uint64), active: make(map[string]record.LogTime),
	}
}

// work sends requests until ctx ends. A request that is under way then is waited
// for.
func (c *client) work(ctx context.Context) {
	for ctx.Err() == nil {
		c.request(c.choose())
		t := time.NewTimer(between(c.rng, 0, 2*c.plan.pause))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// choose is the host to ask, which may be down.
func (c *client) choose() *host {
	if c.home == nil || c.rng.IntN(20) == 0 {
		c.home = c.hosts[pick(c.rng, c.names...)]
	}
	if c.rng.IntN(4) == 0 {
		return c.hosts[pick(c.rng, c.names...)]
	}
	return c.home
}

func (c *client) request(h *host) {
	key, id := pick(c.rng, c.keys()[1:]...), pick(c.rng, c.ids()...)
	switch n := c.rng.IntN(100); {
	case n < 12:
		c.register(h, key, 0)
	case n < 26:
		c.register(h, key, max(1, c.revision[key]))
	case n < 30:
		c.unregister(h, key, 0)
	case n < 34:
		c.unregister(h, key, c.revision[key])
	case n < 52:
		c.find(h, key, raftnode.ReadOptions{Mode: raftnode.Linearizable})
	case n < 62:
		c.find(h, key, c.weak())
	case n < 72:
		c.count(h)
	case n < 78:
		c.create(h, id)
	case n < 84:
		c.touch(h, id)
	case n < 89:
		c.move(h, id, pick(c.rng, record.Active, record.Suspended, record.Suspended, record.Terminating, record.Dead))
	case n < 93:
		c.expire(h, id)
	default:
		c.look(h, id, pick(c.rng, raftnode.ReadOptions{Mode: raftnode.Linearizable}, c.weak()))
	}
}

// keys are the entries that clients work on.
func (c *client) keys() []string {
	keys := []string{tallyKey}
	for i := range c.plan.entries {
		keys = append(keys, fmt.Sprintf("e%d", i))
	}
	return keys
}

// ids are the sessions that they work on.
func (c *client) ids() []string {
	var ids []string
	for i := range c.plan.sessions {
		ids = append(ids, fmt.Sprintf("s%d", i))
	}
	return ids
}

// weak is a read that may be stale.
func (c *client) weak() raftnode.ReadOptions {
	o := raftnode.ReadOptions{Mode: pick(c.rng, raftnode.Bounded, raftnode.Any)}
	if c.rng.IntN(2) == 0 {
		o.MinIndex = c.last
	}
	if o.Mode == raftnode.Bounded {
		o.MaxStaleness = pick(c.rng, 300*time.Millisecond, 2*time.Second)
	}
	return o
}

// deadline is how long the client waits for one request.
func (c *client) deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), between(c.rng, c.haste, c.patience))
}

// result is what became of a proposal.
type result struct {
	receipt raftnode.Receipt
	unknown bool
	refused bool // certainly not applied, and never will be
}

// propose sends a command through h. The answer of a process that was crashed
// meanwhile never reached anybody.
func (c *client) propose(h *host, actor record.Principal, command fsm.Command) result {
	l := h.life.Load()
	if l == nil {
		return result{refused: true}
	}
	ctx, cancel := c.deadline()
	defer cancel()
	receipt, err := l.node.Propose(ctx, raftnode.Request{Actor: actor, Command: command})
	switch kind := fault.Of(err); {
	case l.crashed.Load(), kind == fault.OutcomeUnknown, err == nil && receipt.Outcome.Kind == fault.OutcomeUnknown:
		return result{unknown: true}
	case err == nil:
		return result{receipt: receipt}
	case model.FateOf(kind) == model.Refused:
		return result{refused: true} // as Propose promises
	default:
		c.failf("%s: %T through %s: %v", c.name, command, h.name, err)
		return result{unknown: true}
	}
}

// call begins an operation in a history.
func call[In, Out any](c *client, h *host, key string, in In) model.Operation[In, Out] {
	return model.Operation[In, Out]{Client: c.name, Node: h.name, Key: key, In: in, Call: c.tick(), Began: c.since(), Return: model.Never}
}

// answered ends it, unless its outcome is unknown.
func answered[In, Out any](c *client, o *model.Operation[In, Out]) {
	o.Return, o.Ended = c.tick(), c.since()
}

func (c *client) value() string {
	c.requests++
	return fmt.Sprintf("%s-%d", c.name, c.requests)
}

func (c *client) principal() record.Principal {
	return record.Principal{Issuer: "sim", Subject: c.name}
}

// register creates key, or replaces its entry of that revision.
func (c *client) register(h *host, key string, revision uint64) {
	c.put(h, key, model.EntryIn{Op: model.Register, Value: c.value(), IfRevision: revision})
}

func (c *client) unregister(h *host, key string, revision uint64) {
	c.put(h, key, model.EntryIn{Op: model.Unregister, IfRevision: revision})
}

// put sends a change of an entry.
func (c *client) put(h *host, key string, in model.EntryIn) result {
	var command fsm.Command = &fsm.UnregisterEntry{Type: record.TypeTool, Key: key, IfRevision: in.IfRevision}
	if in.Op == model.Register {
		command = &fsm.RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: key, Location: in.Value}, IfRevision: in.IfRevision}
	}
	o := call[model.EntryIn, model.EntryOut](c, h, key, in)
	r := c.propose(h, c.principal(), command)
	if r.refused {
		c.refuse(in.Value)
		return r
	}
	o.Out.Unknown = r.unknown
	if !r.unknown {
		answered(c, &o)
		o.Out.Kind, o.Out.Revision = r.receipt.Outcome.Kind, r.receipt.Outcome.Revision
		c.note(h, key, in.Value, o.Began, r.receipt)
		if o.Out.Kind == 0 {
			c.revision[key] = o.Out.Revision
		}
	}
	c.entries.Add(o)
	return r
}

// note records what an answer tells beside its operation.
func (c *client) note(h *host, key, value string, began time.Duration, r raftnode.Receipt) {
	if r.Outcome.Kind != 0 {
		c.refuse(value)
		return
	}
	c.last = max(c.last, r.Index)
	c.addWrite(model.Write{
		Client: c.name, Node: h.name, Key: key, Value: value, Ended: c.since(), Returned: c.tick(),
		Index: r.Index, Replayed: r.Outcome.Replayed, Revision: r.Outcome.Revision, Time: uint64(r.Outcome.Time), Timeline: r.Timeline.String(),
	})
	low, high := c.trace.start.Add(began-2*time.Millisecond), time.Now().Add(c.plan.skew+2*time.Millisecond)
	if at := r.Outcome.Time.Time(); at.Before(low) || at.After(high) {
		c.failf("%s: log time %v of revision %d is outside %v to %v, when the change was asked for and answered", c.name, at, r.Outcome.Revision, low, high)
	}
}

// read opens a view on h; nil when h is down or cannot answer.
func (c *client) read(h *host, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, *life) {
	l := h.life.Load()
	if l == nil {
		return nil, raftnode.ReadInfo{}, nil
	}
	ctx, cancel := c.deadline()
	defer cancel()
	v, info, err := l.node.Read(ctx, o)
	if err == nil {
		return v, info, l
	}
	switch fault.Of(err) {
	case fault.NoLeader, fault.Stale, fault.Unavailable, fault.Timeout:
	default:
		if !l.crashed.Load() {
			c.failf("%s: %v read on %s: %v", c.name, o.Mode, h.name, err)
		}
	}
	return nil, info, nil
}

// find reads an entry.
func (c *client) find(h *host, key string, o raftnode.ReadOptions) (found record.Entry, ok bool) {
	op := call[model.EntryIn, model.EntryOut](c, h, key, model.EntryIn{Op: model.Find})
	view, info, l := c.read(h, o)
	if view == nil {
		return found, false
	}
	found, err := view.WhereIs(0, record.TypeTool, key)
	view.Close()
	answered(c, &op)
	if l.crashed.Load() {
		return found, false
	}
	if err != nil && fault.Of(err) != fault.NotFound {
		c.failf("%s: %s on %s: %v", c.name, key, h.name, err)
		return found, false
	}
	op.Out.Kind, op.Out.Value, op.Out.Revision = fault.Of(err), found.Location, found.Revision
	if o.Mode == raftnode.Linearizable {
		c.entries.Add(op)
	}
	c.addView(c.viewOf(h, key, op.Call, op.Began, o, info, found))
	if err == nil {
		c.revision[key] = found.Revision
	}
	return found, true
}

func (c *client) viewOf(h *host, key string, call int64, began time.Duration, o raftnode.ReadOptions, info raftnode.ReadInfo, e record.Entry) model.View {
	return model.View{
		Client: c.name, Node: h.name, Key: key, Call: call, Began: began,
		MinIndex: o.MinIndex, Limit: o.MaxStaleness, Linearizable: info.Mode == raftnode.Linearizable,
		Index: info.Index, Staleness: info.Staleness,
		Found: e.Revision != 0, Value: e.Location, Revision: e.Revision,
	}
}

// count raises the tally by one: it reads it, in any mode, and replaces what it
// read. The value is the number and what makes it unlike all others.
func (c *client) count(h *host) {
	e, ok := c.find(h, tallyKey, pick(c.rng, raftnode.ReadOptions{Mode: raftnode.Linearizable}, c.weak()))
	if !ok {
		return
	}
	number, _, _ := strings.Cut(e.Location, ":")
	n, err := strconv.Atoi(number)
	if err != nil && e.Revision != 0 {
		c.failf("%s: the tally is %q", c.name, e.Location)
	}
	r := c.put(h, tallyKey, model.EntryIn{Op: model.Register, Value: fmt.Sprintf("%d:%s", n+1, c.value()), IfRevision: e.Revision})
	switch {
	case r.unknown:
		c.tallied.unknown++
	case !r.refused && r.receipt.Outcome.Kind == 0:
		c.tallied.accepted++
	}
}

// owner is whose session id is.
func owner(id string) record.Principal {
	return record.Principal{Issuer: "sim", Subject: fmt.Sprintf("user-%d", int(id[len(id)-1])%principals)}
}

func (c *client) create(h *host, id string) {
	c.change(h, id, model.SessionIn{Op: model.Create}, &fsm.CreateSession{
		Session: record.Session{ID: id, Principal: owner(id), State: record.Active, OwnerNode: h.name},
	})
}

func (c *client) move(h *host, id string, to record.SessionState) {
	c.change(h, id, model.SessionIn{Op: model.Move, State: to}, &fsm.MoveSession{ID: id, To: to})
}

func (c *client) touch(h *host, id string) {
	c.change(h, id, model.SessionIn{Op: model.Touch}, &fsm.TouchSessions{Touches: []fsm.Touch{{ID: id, LastActive: math.MaxUint64}}})
}

// expire asks for the end of a session that may have been used since the client
// saw it last.
func (c *client) expire(h *host, id string) {
	seen := c.active[id]
	c.change(h, id, model.SessionIn{Op: model.Expire, Seen: seen}, &fsm.ExpireSessions{Candidates: []fsm.Expiry{{ID: id, SeenLastActive: seen}}})
}

// change sends a change of a session.
func (c *client) change(h *host, id string, in model.SessionIn, command fsm.Command) {
	o := call[model.SessionIn, model.SessionOut](c, h, id, in)
	o.Out.Latest = math.MaxUint64
	r := c.propose(h, owner(id), command)
	if r.refused {
		return
	}
	o.Out.Unknown = r.unknown
	if !r.unknown {
		answered(c, &o)
		if err := c.fill(&o.Out, in.Op, r.receipt.Outcome); err != nil {
			c.failf("%s: the outcome of %v does not decode: %v", c.name, in, err)
		}
		c.note(h, "", "", o.Began, r.receipt)
	}
	c.sessions.Add(o)
}

// fill makes an answer out of an outcome.
func (c *client) fill(out *model.SessionOut, op model.SessionOp, o fsm.Outcome) error {
	out.Latest = c.latest()
	out.Kind, out.Time, out.Revision = o.Kind, o.Time, o.Revision
	if o.Kind != 0 {
		out.Revision = 0
		return nil
	}
	if op != model.Touch && op != model.Expire {
		return nil
	}
	counts, err := o.Counts()
	out.Changed = counts.Changed == 1
	if op == model.Touch || !out.Changed {
		out.Revision = 0
	}
	return err
}

// latest is a bound of log time now.
func (c *client) latest() record.LogTime {
	return record.LogTimeAt(time.Now().Add(c.plan.skew + 2*time.Millisecond))
}

// look reads a session, and counts the sessions of its owner.
func (c *client) look(h *host, id string, o raftnode.ReadOptions) {
	op := call[model.SessionIn, model.SessionOut](c, h, id, model.SessionIn{Op: model.Look})
	view, info, l := c.read(h, o)
	if view == nil {
		return
	}
	s, err := view.Session(0, id)
	counted := countSessions(view, owner(id))
	view.Close()
	answered(c, &op)
	if l.crashed.Load() {
		return
	}
	if counted != nil {
		c.failf("%s: on %s at index %d: %v", c.name, h.name, info.Index, counted)
	}
	if err != nil && fault.Of(err) != fault.NotFound {
		c.failf("%s: %s on %s: %v", c.name, id, h.name, err)
		return
	}
	c.active[id] = s.LastActive
	op.Out = model.SessionOut{
		Kind: fault.Of(err), Latest: c.latest(), Revision: s.Revision,
		State: s.State, LastActive: s.LastActive, Ended: s.Ended, Reason: s.Reason,
	}
	if o.Mode == raftnode.Linearizable {
		c.sessions.Add(op)
	}
	c.addView(c.viewOf(h, "", op.Call, op.Began, o, info, record.Entry{}))
}

// countSessions compares the counters of live sessions with the sessions.
func countSessions(v *fsm.View, p record.Principal) error {
	var all, own, listed uint64
	for s, err := range v.Sessions(0, "") {
		if err != nil {
			return err
		}
		if s.State.Live() {
			all++
		}
	}
	for s, err := range v.SessionsByUser(0, p, "") {
		if err != nil {
			return err
		}
		if s.State.Live() {
			own++
		}
	}
	for _, err := range v.Entries(0, record.TypeSession, "", "") {
		if err != nil {
			return err
		}
		listed++
	}
	count, err := v.SessionCount(0)
	of, errOf := v.SessionCountOf(0, p)
	if err := errors.Join(err, errOf); err != nil {
		return err
	}
	if count != all || listed != all || of != own || own > perPrincipal {
		return fmt.Errorf("%d sessions live, counter %d, registry lists %d; %d of %v, counter %d, limit %d", all, count, listed, own, p, of, perPrincipal)
	}
	return nil
}
