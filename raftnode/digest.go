package raftnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

const (
	scrubInterval  = 24 * time.Hour
	compareTimeout = 5 * time.Second
	hintReseed     = "stop the node, move its data directory away and start it again: it joins with an empty one and gets the state from the others"
)

// health is what keeps a node from serving although it runs.
type health struct {
	failed   atomic.Pointer[error] // the process must end
	wrong    atomic.Pointer[error] // the state of this node is wrong
	readOnly atomic.Bool           // digests differ and no majority agrees
	changed  signal                // failed was set
}

func (h *health) diverged() error { return load(&h.wrong) }

func load(p *atomic.Pointer[error]) error {
	if err := p.Load(); err != nil {
		return *err
	}
	return nil
}

// divergence is diverged.json: a restart does not make a wrong state right.
type divergence struct {
	Index  uint64    `json:"index"`
	Reason string    `json:"reason"`
	Found  time.Time `json:"found"`
}

// diverge takes this node out of service for good; watchDisk gives leadership
// away if it has it.
func (n *Node) diverge(index uint64, reason string) {
	d := divergence{Index: index, Reason: reason, Found: time.Now().UTC()}
	if !n.health.wrong.CompareAndSwap(nil, new(d.err(n.cfg.Node))) {
		return
	}
	if err := writeJSON(n.cfg.FS, n.cfg.Dir, divergedFile, d); err != nil {
		n.log.Error("the divergence could not be recorded", "error", err)
	}
	n.alarms.raise(AlarmDiverged, "%s; %s", reason, hintReseed)
}

func (d divergence) err(node string) error {
	return fault.New(fault.Integrity, "node %s does not serve: %s", node, d.Reason).WithHint(hintReseed)
}

// readDivergence restores what an earlier process found.
func (n *Node) readDivergence() error {
	var d divergence
	err := readJSON(n.cfg.FS, n.cfg.FS.PathJoin(n.cfg.Dir, divergedFile), &d)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n.health.wrong.Store(new(d.err(n.cfg.Node)))
	n.alarms.raise(AlarmDiverged, "%s; %s", d.Reason, hintReseed)
	return nil
}

// digestDuty logs a check of the digest when real commands were applied since
// the last one, and compares the members.
func (n *Node) digestDuty(ctx context.Context, term Term) error {
	for sleep(ctx, n.cfg.DigestInterval) == nil {
		if n.fsm.Meta().SinceCheck > 0 {
			c := &fsm.DigestCheck{}
			if own := n.fsm.Checks(); len(own) > 0 {
				last := own[len(own)-1]
				c.At, c.Digest = last.Index, last.Digest
			}
			if _, err := n.proposeOwn(ctx, term, c); err != nil {
				return err
			}
		}
		n.compareDigests(ctx)
	}
	return nil
}

// compareDigests asks every member for its checks and tells each what they show.
func (n *Node) compareDigests(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	servers := n.servers()
	checks := make([]map[uint64]record.Digest, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { checks[i] = n.checksOf(ctx, s.ID) })
	}
	wg.Wait()
	v, ok := judge(servers, checks, n.fsm.Checks())
	if !ok {
		return // nothing in common yet
	}
	if v.readOnly {
		n.alarms.raise(AlarmDigest, "the digests of the nodes differ at index %d and no majority agrees: the cluster is read-only", v.index)
	} else if len(v.minority) > 0 {
		n.alarms.raise(AlarmDigest, "the state of %v differs from the majority's at index %d", v.minority, v.index)
	} else {
		n.alarms.clear(AlarmDigest)
	}
	for _, s := range servers {
		wg.Go(func() { n.tellVerdict(ctx, s.ID, v) })
	}
	wg.Wait()
}

// verdict is what comparing digests at one index shows.
type verdict struct {
	index    uint64
	minority []raft.ServerID // differ from a strict majority of the voters
	readOnly bool            // no digest has a strict majority, and they differ
}

// judge finds the newest index at which a majority of the voters has a check and
// compares there. It never guesses: without a strict majority for one digest
// nobody is called wrong.
func judge(servers []raft.Server, checks []map[uint64]record.Digest, own []fsm.Check) (verdict, bool) {
	voters := 0
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	for i := len(own) - 1; i >= 0; i-- {
		index := own[i].Index
		votes, total := make(map[record.Digest]int), 0
		differ := false
		for j, s := range servers {
			d, ok := checks[j][index]
			if !ok {
				continue
			}
			differ = differ || d != own[i].Digest
			if s.Suffrage == raft.Voter {
				votes[d]++
				total++
			}
		}
		if total <= voters/2 {
			continue
		}
		v := verdict{index: index}
		if !differ {
			return v, true
		}
		right, found := majority(votes, voters)
		if !found {
			v.readOnly = true
			return v, true
		}
		for j, s := range servers {
			if d, ok := checks[j][index]; ok && d != right {
				v.minority = append(v.minority, s.ID)
			}
		}
		return v, true
	}
	return verdict{}, false
}

// majority is the digest that more than half of the voters have.
func majority(votes map[record.Digest]int, voters int) (record.Digest, bool) {
	for d, count := range votes {
		if count > voters/2 {
			return d, true
		}
	}
	return record.Digest{}, false
}

func (n *Node) checksOf(ctx context.Context, id raft.ServerID) map[uint64]record.Digest {
	list := n.ownChecks()
	if string(id) != n.ident.serverID() {
		a, err := askVoter[checksAnswer](ctx, n, id, opChecks)
		if err != nil {
			return nil
		}
		list = a.Checks
	}
	m := make(map[uint64]record.Digest, len(list))
	for _, c := range list {
		m[c.Index] = c.Digest
	}
	return m
}

func (n *Node) ownChecks() []checkAt {
	var list []checkAt
	for _, c := range n.fsm.Checks() {
		list = append(list, checkAt{Index: c.Index, Digest: c.Digest})
	}
	return list
}

func (n *Node) serveChecks(context.Context, peer.From, empty) (checksAnswer, error) {
	return checksAnswer{Checks: n.ownChecks()}, nil
}

func (n *Node) tellVerdict(ctx context.Context, id raft.ServerID, v verdict) {
	q := verdictRequest{Index: v.index, ReadOnly: v.readOnly}
	for _, m := range v.minority {
		q.Minority = q.Minority || m == id
	}
	if string(id) == n.ident.serverID() {
		n.takeVerdict(q)
		return
	}
	node, _, _ := splitServerID(string(id))
	if _, err := call[empty](ctx, n, node, opVerdict, q); err != nil {
		n.log.Debug("a node was not told of the digests", "server", id, "error", err)
	}
}

func (n *Node) serveVerdict(_ context.Context, from peer.From, q verdictRequest) (empty, error) {
	if leader, _, ok := n.Leader(); !ok || leader != from.Node {
		return empty{}, fault.New(fault.Fenced, "node %s does not lead", from.Node)
	}
	n.takeVerdict(q)
	return empty{}, nil
}

func (n *Node) takeVerdict(q verdictRequest) {
	n.health.readOnly.Store(q.ReadOnly)
	if q.Minority {
		n.diverge(q.Index, fmt.Sprintf("its state at index %d differs from the majority's", q.Index))
	}
}

// scrub reads the whole state once a day and compares it with its digest: the
// digest that is kept along the way cannot see a bit that rots on the disk.
func (n *Node) scrub(ctx context.Context) {
	for sleep(ctx, n.cfg.ScrubInterval) == nil {
		report, err := n.fsm.Scrub(ctx, n.paceScrub)
		switch {
		case ctx.Err() != nil:
			return
		case fault.Of(err) == fault.Integrity:
			n.damaged(err)
		case err == nil && report.Damaged():
			n.damaged(fmt.Errorf("%d pairs have digest %v, they were written with %v", report.Pairs, report.Digest, report.Want))
		case err != nil:
			n.log.Warn("scrub", "error", err)
		default:
			n.metrics.scrubs.Inc()
			n.log.Debug("scrubbed", "pairs", report.Pairs, "bytes", report.Bytes)
		}
	}
}

// paceScrub waits as long as reading bytes may take. The time that reading took
// is not counted, so the limit is never passed.
func (n *Node) paceScrub(ctx context.Context, bytes uint64) error {
	return sleep(ctx, time.Duration(float64(bytes)/float64(n.cfg.ScrubBytesPerSecond)*float64(time.Second)))
}

// damaged takes the node out of service: its disk holds something else than was
// written to it, which it knows without asking anyone.
func (n *Node) damaged(err error) {
	n.diverge(n.fsm.Meta().Index, fmt.Sprintf("its stored state is damaged: %v", err))
}
