package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// maxForwards is how many batches are on their way to the leader at once.
const maxForwards = 2

// A Node is one node of the cluster, from Start to Close. All its methods may be
// called from any goroutine.
type Node struct {
	cfg     Config
	log     *slog.Logger
	metrics *Metrics
	alarms  *alarms

	// What lies on the disk, in the order of opening.
	ident   *identity
	fsm     *fsm.Machine
	store   *logstore.Store
	snaps   *snapshots
	machine *machine
	disk    *disk

	// Links to other nodes, and raft on them.
	port      *peer.Port
	directory *directory
	forming   *forming
	instance  atomic.Pointer[instance]
	notify    chan bool             // raft's word that this node leads, or does no more; raft blocks on it
	observed  chan raft.Observation // that somebody else leads
	moved     signal                // either of them
	heal      chan struct{}         // capacity 1: raft must be restarted
	health    health

	// Commands and reads.
	epoch        atomic.Pointer[epoch] // nil: this node does not lead, or not yet
	transferring atomic.Bool
	stalled      atomic.Bool // the state machine waits for its disk
	producer     *producer
	queue        *queue
	batcher      *batcher
	envelopes    *flights // from the queue into the log
	forwards     *flights // from the queue to the leader
	confirm      *confirmer
	freshness    freshness
	duties       duties
	watchers     watchers
	changing     chan struct{} // one token: one change of the membership at a time

	// Life. closing ends first; tasks, the loops, end with it.
	closing  context.Context
	stop     context.CancelFunc
	tasks    sync.WaitGroup
	futures  group // waiting for raft
	stopPort context.CancelFunc
	portDone chan struct{}
	once     sync.Once
	closed   error
}

// instance is one start of raft. A node has one at a time.
type instance struct {
	raft      *raft.Raft
	transport *raft.NetworkTransport
	log       *sealable
	logger    *raftLogger
}

// raft is the current raft; when it is being restarted, the former one.
func (n *Node) raft() *raft.Raft { return n.instance.Load().raft }

// Start opens the data directory, checks it, and starts the node. ctx bounds the
// start only; the node runs until Close. It returns before the node is in a
// cluster: Ready waits for that. Errors of kind Conflict and Integrity say what
// is wrong with the data directory and what to do.
func Start(ctx context.Context, c Config) (*Node, error) {
	if err := c.Validate(); err != nil {
		return nil, fault.New(fault.Invalid, "node configuration: %w", err)
	}
	c = c.withDefaults()
	n := &Node{
		cfg: c, log: c.Logger, metrics: c.Metrics,
		alarms: newAlarms(c.Logger, c.Metrics), forming: newForming(c.Join),
		notify: make(chan bool, 16), observed: make(chan raft.Observation, 16), heal: make(chan struct{}, 1),
		producer: newProducer(), queue: newQueue(MaxQueued, MaxQueuedBytes),
		changing: make(chan struct{}, 1),
		disk:     &disk{fs: c.FS, dir: c.Dir, ballast: c.BallastBytes, free: c.FreeDisk},
	}
	n.envelopes, n.forwards = newFlights(maxEnvelopes, n.queue.ring), newFlights(maxForwards, n.queue.ring)
	n.closing, n.stop = context.WithCancel(context.Background())
	n.duties.failed = func(name string, term Term, err error) {
		n.log.Warn("duty failed and is tried again", "duty", name, "term", uint64(term), "error", err)
	}
	n.confirm = newConfirmer(func(ctx context.Context) (uint64, error) { return n.readIndex(ctx, false) })
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.closeStores())
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, n.closeStores())
	}
	if err := n.startLinks(); err != nil {
		return nil, errors.Join(err, n.closeStores())
	}
	n.startLoops()
	return n, nil
}

// open opens what lies on the disk and compares its parts.
func (n *Node) open() (err error) {
	c := &n.cfg
	if n.ident, err = openIdentity(c.FS, c.Dir, c.Node, c.Cluster, c.WallClock()); err != nil {
		return err
	}
	if n.fsm, err = fsm.Open(c.FS.PathJoin(c.Dir, stateDir), fsm.Options{
		FS: c.FS, CacheBytes: c.CacheBytes, MemTableBytes: c.MemTableBytes,
		Fatal:   n.fatal,
		Notice:  func(text string) { n.log.Warn("state machine", "notice", text) },
		Changed: n.watchers.tell,
	}); err != nil {
		return err
	}
	base, err := c.OpenLog(c.FS.PathJoin(c.Dir, logDir))
	if err != nil {
		return err
	}
	n.store = logstore.Chain(base, logstore.Options{
		Path: c.FS.PathJoin(c.Dir, logDir), Fatal: n.fatal, Floor: n.cutFloor, Metrics: n.metrics.log,
	})
	if err := checkStart(c.FS, c.Dir, n.store, n.fsm.Meta()); err != nil {
		return err
	}
	if err := n.checkIdentity(); err != nil {
		return err
	}
	if err := n.readDivergence(); err != nil {
		return err
	}
	if n.snaps, err = newSnapshots(c.FS, c.Dir, n.fsm, n.store, n.damaged); err != nil {
		return err
	}
	n.machine = &machine{
		fsm: n.fsm, snaps: n.snaps, metrics: n.metrics,
		onFault: n.fatal, onInstall: n.installed,
	}
	n.machine.waits.advance(n.fsm.Meta().Index)
	n.batcher = newBatcher(n.machine, n.metrics)
	return nil
}

// checkIdentity compares node.json with the state, and names a cluster that this
// node had bootstrapped just before it crashed.
func (n *Node) checkIdentity() error {
	meta, id := n.fsm.Meta(), n.ident.get()
	switch {
	case !meta.ClusterID.IsZero() && id.ClusterID.IsZero():
		return n.ident.adopt(meta.ClusterID, meta.Timeline)
	case !meta.ClusterID.IsZero() && (meta.ClusterID != id.ClusterID || meta.Timeline != id.Timeline):
		return fault.New(fault.Integrity, "%s is of cluster %s, timeline %s; the state is of %s, timeline %s", identityFile, id.ClusterID.Short(), id.Timeline, meta.ClusterID.Short(), meta.Timeline).
			WithHint("the data directory was put together from two: " + hintRejoin)
	case id.ClusterID.IsZero():
		if _, last, err := logRange(n.store); err != nil || last == 0 {
			return err
		}
		return n.nameCluster()
	}
	return nil
}

// startLinks starts raft and opens the peer port.
func (n *Node) startLinks() (err error) {
	n.directory = newDirectory(n.member)
	n.port, err = peer.New(peer.Config{
		Identity: n.ident.peer, Credentials: n.cfg.Credentials, Listener: n.cfg.Listener,
		Dial: n.cfg.Dial, Resolve: n.directory.resolve, Logger: n.log, Metrics: n.metrics.peer,
	})
	if err != nil {
		return err
	}
	n.serve()
	if err := n.startRaft(); err != nil {
		return errors.Join(err, n.dropPort())
	}
	return nil
}

// dropPort frees a port that never ran.
func (n *Node) dropPort() error {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return n.port.Run(ended)
}

// startRaft makes a new instance of raft on what the node has.
func (n *Node) startRaft() (err error) {
	defer func() {
		if r := recover(); r != nil { // raft panics when it cannot read its own log
			err = fault.New(fault.Integrity, "raft did not start: %v", r).WithHint(hintRejoin)
		}
	}()
	in := &instance{log: &sealable{Store: n.store}, logger: newRaftLogger(n.log)}
	in.transport = newTransport(n.port.RaftLayer(), in.logger)
	id := raft.ServerID(n.ident.serverID())
	in.raft, err = raft.NewRaft(raftConfig(&n.cfg, id, n.notify, in.logger), n.machine, in.log, n.store, n.snaps, in.transport)
	if err != nil {
		if failure := n.store.Err(); failure != nil {
			err = failure // raft repeats its words and drops what to do about it
		}
		return errors.Join(fmt.Errorf("raft: %w", err), in.transport.Close())
	}
	in.raft.RegisterObserver(raft.NewObserver(n.observed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	n.instance.Store(in)
	return nil
}

// stopRaft ends an instance. Raft forgets to answer commands that wait for the
// state machine when it is shut down, so it is made to step down first: the log
// takes no more entries, and the next one that raft tries to store ends its
// leadership. Then everything it had taken is answered.
func (n *Node) stopRaft(in *instance) {
	in.logger.quiet()
	in.log.sealed.Store(true)
	if in.raft.State() == raft.Leader {
		_ = in.raft.Apply(nil, time.Second).Error() // refused by the log, as it should be
	}
	n.batcher.wait()
	stopped := in.raft.Shutdown()
	_ = in.transport.Close() // ends raft's calls, which it waits for; has no error
	_ = stopped.Error()      // has none
}

// sealable is the log as one instance of raft sees it: it can be closed to new
// entries while it goes on to answer reads.
type sealable struct {
	*logstore.Store
	sealed atomic.Bool
}

var (
	_         raft.MonotonicLogStore = (*sealable)(nil)
	errSealed                        = errors.New("the log is closed: raft is being stopped")
)

func (s *sealable) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s *sealable) StoreLogs(logs []*raft.Log) error {
	if s.sealed.Load() {
		return errSealed
	}
	return s.Store.StoreLogs(logs)
}

// startLoops starts everything that runs until Close.
func (n *Node) startLoops() {
	n.Duty("cluster", n.clusterDuty)
	n.Duty("promote", n.promoteDuty)
	n.Duty("digest", n.digestDuty)
	n.Duty("sweep", n.sweepDuty)

	port, stopPort := context.WithCancel(context.Background())
	n.stopPort, n.portDone = stopPort, make(chan struct{})
	go func() { // waited for by Close through portDone
		defer close(n.portDone)
		if err := n.port.Run(port); err != nil {
			n.fatal(fault.New(fault.Unavailable, "peer port: %w", err))
		}
	}()
	for _, loop := range []func(context.Context){
		n.leadership, n.observe, n.guardian, n.settle, n.dispatch, n.confirm.run, n.keepFresh,
		n.announce, n.findCluster, n.watchDisk, n.compact, n.scrub,
	} {
		n.tasks.Go(func() { loop(n.closing) })
	}
}

// observe tells those who wait that the leader has changed.
func (n *Node) observe(ctx context.Context) {
	for {
		select {
		case <-n.observed:
			n.moved.fire()
		case <-ctx.Done():
			return
		}
	}
}

// settle ends the patience that raft starts with, when the node has caught up or
// nobody was there to catch up with.
func (n *Node) settle(ctx context.Context) {
	deadline := time.Now().Add(10 * bootPatience * n.cfg.Timing.Election)
	if n.isMember() && n.otherVoters() == 0 {
		deadline = time.Now() // there is nobody to disturb
	}
	for n.freshness.staleness(n.fsm.Meta().Index) > DefaultMaxStaleness && time.Now().Before(deadline) {
		if sleep(ctx, freshInterval) != nil {
			return
		}
	}
	if err := settle(n.raft(), n.cfg.Timing); err != nil {
		n.log.Error("raft's timing", "error", err)
	}
}

// installed is told that a snapshot has replaced the state, on raft's goroutine.
func (n *Node) installed(divergent bool) {
	n.log.Info("installed a snapshot", "index", n.fsm.Meta().Index, "divergent_log", divergent)
	if !divergent {
		return
	}
	select {
	case n.heal <- struct{}{}:
	default:
	}
}

// guardian restarts raft when its memory holds a log that a snapshot has
// replaced, and stops it when this process must not go on.
func (n *Node) guardian(ctx context.Context) {
	for {
		failed := n.health.changed.wait()
		if load(&n.health.failed) != nil {
			n.stopRaft(n.instance.Load())
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-failed:
		case <-n.heal:
			if err := n.restartRaft(); err != nil {
				n.fatal(err)
				continue
			}
			n.tasks.Go(func() { n.settle(ctx) })
		}
	}
}

// restartRaft starts raft again with an empty log on the installed state.
func (n *Node) restartRaft() error {
	n.log.Info("restarting raft with a clean log")
	n.stopRaft(n.instance.Load())
	if err := wipeLog(n.store); err != nil {
		return err
	}
	n.metrics.heals.Inc()
	return n.startRaft()
}

// fatal is told of a failure after which this process must not go on. It may be
// called from any goroutine, raft's included, and waits for nobody.
func (n *Node) fatal(err error) {
	if !n.health.failed.CompareAndSwap(nil, &err) {
		return
	}
	n.log.Error("this node stops", "error", err)
	if n.machine != nil {
		n.machine.waits.close(fault.New(fault.Unavailable, "this node has stopped: %w", err))
	}
	n.health.changed.fire()
	n.cfg.Fatal(err)
}

// Handle registers an operation that other nodes may call, for the packages
// above. op is FirstOp or higher; to register one twice panics.
func (n *Node) Handle(op uint16, h peer.Handler) {
	if op < FirstOp {
		panic(fmt.Sprintf("raftnode: operation %d is below FirstOp", op))
	}
	n.port.Handle(op, h)
}

// Call runs an operation of another node; see peer.Port.Call for its errors.
func (n *Node) Call(ctx context.Context, node string, op uint16, body []byte) ([]byte, error) {
	return n.port.Call(ctx, node, op, body)
}

// Close stops the node: it gives leadership away, within three seconds, lets the
// calls of other nodes end, and closes what is on the disk. It may be called
// again and returns the same.
func (n *Node) Close() error {
	n.once.Do(func() { n.closed = n.close() })
	return n.closed
}

func (n *Node) close() error {
	n.retire()
	n.stop()
	n.tasks.Wait()
	n.stopRaft(n.instance.Load())
	n.machine.waits.close(errStopping())
	n.stopPort()
	<-n.portDone
	n.futures.wait()
	return n.closeStores()
}

// retire gives leadership away, if there is someone to take it.
func (n *Node) retire() {
	if n.raft().State() != raft.Leader || n.otherVoters() == 0 || load(&n.health.failed) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), transferTimeout)
	defer cancel()
	if err := n.giveLeadership(ctx, ""); err != nil {
		n.log.Info("stopping as the leader", "reason", fault.As(err).Message)
	}
}

// closeStores closes what open has opened, in the reverse order.
func (n *Node) closeStores() error {
	var errs []error
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	if n.fsm != nil {
		errs = append(errs, n.fsm.Close())
	}
	if n.ident != nil {
		errs = append(errs, n.ident.close())
	}
	return errors.Join(errs...)
}

// openBolt opens the log as one file on the disk.
func openBolt(dir string) (logstore.Base, error) {
	if err := makeDir(vfs.Default, dir); err != nil {
		return nil, err
	}
	return logstore.OpenBolt(filepath.Join(dir, logFile))
}
