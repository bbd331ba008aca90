package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/process"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// Defaults of stdio upstreams.
const (
	DefaultSharedChildren   = 1  // processes of an upstream that all callers share
	DefaultIsolatedChildren = 64 // processes of an upstream whose callers have their own, in the cluster

	// DefaultFailover is how long a call waits for a process whose node is lost, or
	// that is being moved.
	DefaultFailover = 15 * time.Second
)

const (
	firstRestart   = 250 * time.Millisecond // pause after the first failure in a row
	longestRestart = 30 * time.Second
	provenAfter    = 10 * time.Second // a process that has lived so long has not failed to start
	endGrace       = time.Second      // from the end of the output of a process to its own
	maxGarbage     = 100              // lines in a row that are no messages, after which a process is ended
)

// Claims say which node runs which child process, and whether it is this one at
// this moment.
type Claims interface {
	Find(ctx context.Context, name, command string, limit int) (record.Claim, error)
	Known(name string) (record.Claim, error) // in this node's replica; NotFound: nobody's
	Held(name string) (token uint64, ok bool)
	Own() ([]record.Claim, error)
	Release(ctx context.Context, name string, token uint64) error
	Move(ctx context.Context, name string, token uint64, command string) error
}

// Children are what the stdio upstreams of a node run on.
type Children struct {
	Self    string // name of this node
	Claims  Claims
	Changes <-chan struct{} // brings something after claims, or this node's lease, have changed
	Peers   Peers
	Runner  *process.Runner
	Command func(name string) (process.Command, bool) // from the node's configuration
}

func (up *upstream) stdio() bool { return up.rec.Transport == record.TransportStdio }

// childKey says who shares a process with c.
func (up *upstream) childKey(c *Caller) key {
	switch {
	case up.rec.SessionMode == modePerSession && c.Session != "":
		return key{mode: modePerSession, session: c.Session}
	case up.rec.SessionMode == modePerSession, up.rec.SessionMode == modePerPrincipal:
		return key{mode: modePerPrincipal, principal: c.Principal, capabilities: profile(c)}
	}
	k := key{mode: modeShared}
	if n := up.mostChildren(); n > 1 { // a caller stays with one of them, from whichever node it comes
		h := fnv.New32a()
		for _, part := range []string{c.Session, c.Principal.Issuer, c.Principal.Subject} {
			_, _ = io.WriteString(h, part+"\x00") // never fails
			if c.Session != "" {
				break
			}
		}
		k.slot = h.Sum32() % uint32(n)
	}
	return k
}

// mostChildren is how many processes the upstream may have in the cluster.
func (up *upstream) mostChildren() int {
	n := int(up.rec.Pool.Size)
	shared := up.rec.SessionMode == "" || up.rec.SessionMode == modeShared
	switch {
	case n == 0 && shared:
		n = DefaultSharedChildren
	case n == 0:
		n = DefaultIsolatedChildren
	}
	if !shared {
		n += int(up.rec.Pool.MaxOverflow)
	}
	return n
}

// claim is the name of the claim on the process of k.
func (up *upstream) claim(k key) string { return record.ChildClaim(up.rec.Alias, k.childSlot()) }

func (k key) childSlot() string {
	digest := func(parts ...string) string {
		h := sha256.New()
		for _, part := range parts {
			fmt.Fprintf(h, "%d:%s", len(part), part)
		}
		return hex.EncodeToString(h.Sum(nil)[:12])
	}
	switch k.mode {
	case modePerSession:
		return "s" + digest(k.session)
	case modePerPrincipal:
		return "p" + digest(k.principal.Issuer, k.principal.Subject, string(k.capabilities[:]))
	default:
		return strconv.FormatUint(uint64(k.slot), 10)
	}
}

// errNotHeld says that this node must not run a process (any more), and that
// nothing was done.
func errNotHeld(name string) *fault.Error {
	return fault.New(fault.Fenced, "this node does not hold the claim %s", name).WithDetail(detailClaim, name).After(time.Second)
}

// detailClaim marks an errNotHeld, also on its way between nodes.
const detailClaim = "claim"

// A child is one process.
type child struct {
	slot   *slot
	token  uint64 // of the claim that it runs under
	proc   *process.Process
	ending atomic.Bool // because we wanted it to
}

// A slot is what this node knows of the process of one claim, across its
// restarts.
type slot struct {
	name string // of the claim
	log  process.Log

	mu       sync.Mutex
	child    *child // runs, or is ending; nil: none
	starts   uint64
	failures int       // in a row
	after    time.Time // nothing is started before
	begun    time.Time // of child
	ended    string    // how the last one ended
	barred   bool      // nothing is started: its claim is on its way to another node
}

// children are the processes of this node and the carrier that leads to them.
type children struct {
	ups  *Upstreams
	kick chan struct{} // holds one: look at the claims

	leaving atomic.Bool // nothing is started any more

	mu     sync.Mutex
	slots  map[string]*slot // by claim
	byID   map[string]*child
	kept   map[string]bool // claims that have a keeper
	lastID uint64
}

func newChildren(u *Upstreams) *children {
	return &children{
		ups: u, kick: make(chan struct{}, 1),
		slots: make(map[string]*slot), byID: make(map[string]*child), kept: make(map[string]bool),
	}
}

func (cs *children) slot(name string) *slot {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	sl := cs.slots[name]
	if sl == nil {
		sl = &slot{name: name}
		cs.slots[name] = sl
	}
	return sl
}

// send writes one message to a process: it is the carrier of stdio upstreams,
// whose URLs name processes. Nothing is written without the claim.
func (cs *children) send(ctx context.Context, r *request) (*response, error) {
	cs.mu.Lock()
	c := cs.byID[r.url.Opaque]
	cs.mu.Unlock()
	if c == nil {
		return nil, &notSentError{process.ErrEnded}
	}
	if token, ok := cs.ups.o.Children.Claims.Held(c.slot.name); !ok || token != c.token {
		c.proc.Kill("this node has lost its claim")
		return nil, &notSentError{errNotHeld(c.slot.name)}
	}
	if err := c.proc.Send(ctx, r.body); err != nil {
		if process.NotSent(err) {
			return nil, &notSentError{err}
		}
		return nil, err
	}
	return &response{status: http.StatusAccepted, body: http.NoBody}, nil
}

// handshakeChild starts the process of k and opens a session with it. A process
// that callers share declares no capabilities of any of them.
func (up *upstream) handshakeChild(ctx context.Context, k key, c *Caller) (*state, error) {
	if k.mode == modeShared {
		c = new(Caller)
	}
	ch, sl, err := up.startChild(ctx, k)
	if err != nil {
		return nil, err
	}
	st, err := up.initialize(ctx, c, ch)
	if err == nil {
		return st, nil
	}
	ended := ch.broken()
	if ended {
		err = up.childFault("ended before it could be used (" + sl.lastEnd() + ")")
	}
	ch.close()
	if !ended && ctx.Err() == nil {
		sl.failed()
	}
	return nil, err
}

// childFault says what is wrong with a process, without what only its log may
// say.
func (up *upstream) childFault(what string) *fault.Error {
	return fault.New(fault.Unavailable, "the process of upstream %q on node %s %s", up.rec.Alias, up.ups.o.Children.Self, what).
		WithHint("mcpraft upstreams logs %s", up.rec.Alias).WithDetail("upstream", up.rec.Alias).After(time.Second)
}

// startChild starts the process of k, after the pause that its last failure asks
// for.
func (up *upstream) startChild(ctx context.Context, k key) (*channel, *slot, error) {
	name, o := up.claim(k), &up.ups.o.Children
	sl := up.ups.children.slot(name)
	if err := sl.clear(ctx); err != nil {
		return nil, nil, err
	}
	token, held := o.Claims.Held(name)
	if !held || up.ups.children.leaving.Load() {
		return nil, nil, errNotHeld(name)
	}
	command, ok := o.Command(up.rec.Command)
	if !ok {
		sl.failed()
		return nil, nil, up.childFault(fmt.Sprintf("cannot be started: the node has no command %q", up.rec.Command))
	}
	proc, err := o.Runner.Start(command, &sl.log)
	if err != nil {
		sl.log.Say("mcpraft: not started: " + err.Error())
		sl.failed()
		return nil, nil, up.childFault("cannot be started")
	}
	c := &child{slot: sl, token: token, proc: proc}
	ch := up.ups.children.adopt(up, c)
	if ch == nil { // the claim is being given away: this process has seen nothing
		proc.Kill("its claim is given away")
		<-proc.Done()
		proc.Close()
		return nil, nil, errNotHeld(name)
	}
	ch.shared = k.mode == modeShared
	living, stop := context.WithCancel(context.Background())
	ch.stop = func() { c.ending.Store(true); stop() }
	context.AfterFunc(living, proc.Stop)
	if !up.ups.own(func() { ch.runChild(living, c) }) {
		stop()
		<-proc.Done()
		proc.Close()
		return nil, nil, fault.New(fault.Unavailable, "this node is stopping")
	}
	up.log.Info("process started", "claim", name, "pid", proc.PID(), "token", token)
	return ch, sl, nil
}

// adopt makes a process that was just started the one of its slot and gives it a
// name for its carrier. It is nil if the slot was barred meanwhile.
func (cs *children) adopt(up *upstream, c *child) *channel {
	sl := c.slot
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.barred {
		return nil
	}
	sl.child, sl.begun = c, time.Now()
	if sl.starts++; sl.starts > 1 {
		up.metrics.restarted()
	}
	cs.mu.Lock()
	cs.lastID++
	id := strconv.FormatUint(cs.lastID, 10)
	cs.byID[id] = c
	cs.mu.Unlock()
	ch := newChannel(up, &url.URL{Scheme: record.TransportStdio, Opaque: id})
	ch.asks = newAsks(up, nil, func(ctx context.Context, m *mcp.Message) error { return up.post(ctx, ch.endpoint, nil, m.Bytes()) }, nil)
	return ch
}

// bar has nothing started in the slot, or allows it again. It gives the process
// that runs.
func (sl *slot) bar(on bool) *child {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.barred = on
	return sl.child
}

// clear waits until a former process of the slot is gone, which is ended if it is
// not: it belongs to an older record. Then it waits for the pause after failures.
func (sl *slot) clear(ctx context.Context) error {
	for {
		sl.mu.Lock()
		c, pause, barred := sl.child, time.Until(sl.after), sl.barred
		sl.mu.Unlock()
		switch {
		case barred:
			return errNotHeld(sl.name)
		case c != nil:
			c.ending.Store(true)
			c.proc.Stop()
			sl.gone(c)
		case pause > 0:
			if err := sleep(ctx, pause); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// gone notes that a process has ended.
func (sl *slot) gone(c *child) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.child != c {
		return
	}
	sl.child, sl.ended = nil, c.proc.Err().Error()
	if c.ending.Load() {
		return
	}
	if time.Since(sl.begun) > provenAfter {
		sl.failures = 0
	}
	sl.fail()
}

// failed notes that a process could not be started or used.
func (sl *slot) failed() {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.fail()
}

// fail is called with sl.mu held.
func (sl *slot) fail() {
	sl.failures++
	sl.after = time.Now().Add(min(firstRestart<<min(sl.failures-1, 10), longestRestart))
}

func (sl *slot) lastEnd() string {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	return sl.ended
}

// runChild reads what the process writes until it ends.
func (ch *channel) runChild(ctx context.Context, c *child) {
	defer close(ch.done)
	defer ch.asks.end()
	m := &meter{budget: ch.up.ups.o.Budget}
	defer m.giveBack()
	metered := &meteredReader{ctx: ctx, from: c.proc, meter: m}
	err := ch.readChild(process.NewLines(metered, MaxMessage), metered, c)
	if err != io.EOF && !c.ending.Load() {
		c.proc.Kill(err.Error())
	}
	select {
	case <-c.proc.Done():
	case <-time.After(endGrace): // it has only closed its output
		c.proc.Stop()
	}
	c.proc.Close()
	ch.up.ups.children.ended(ch, c)
}

func (ch *channel) readChild(lines *process.Lines, metered *meteredReader, c *child) error {
	for garbage := 0; ; {
		line, err := lines.Next()
		if err != nil {
			return err
		}
		garbage++
		if err := ch.take(line); err == nil {
			garbage = 0
		} else {
			ch.up.metrics.garbage()
			c.slot.log.Say("mcpraft: no message of MCP on its standard output: " + clean(string(line)))
		}
		if garbage == maxGarbage {
			return fmt.Errorf("it wrote %d lines to its standard output that are no messages", maxGarbage)
		}
		metered.settle()
	}
}

// ended is called by the goroutine of a process that is gone.
func (cs *children) ended(ch *channel, c *child) {
	c.slot.gone(c)
	cs.mu.Lock()
	delete(cs.byID, ch.endpoint.Opaque)
	cs.mu.Unlock()
	log := ch.up.log.Info
	if !c.ending.Load() {
		log = ch.up.log.Warn
		ch.up.metrics.crashed()
	}
	log("process ended", "claim", c.slot.name, "how", c.proc.Err().Error())
}

// killFenced kills what runs without a claim.
func (cs *children) killFenced() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.byID {
		if token, ok := cs.ups.o.Children.Claims.Held(c.slot.name); !ok || token != c.token {
			c.ending.Store(true)
			c.proc.Kill("this node has lost its claim")
		}
	}
}

// sharedKey is the reverse of childSlot for processes that callers share.
func sharedKey(slot string) (key, bool) {
	n, err := strconv.ParseUint(slot, 10, 32)
	return key{mode: modeShared, slot: uint32(n)}, err == nil
}
