package admin

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/requestid"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/auth"
)

// Limits of this package; those of the wire are in adminapi.
const (
	operationTimeout = 15 * time.Second // of one operation, from its decoding on
	maxStreams       = 1024             // open at once on a node
	maxPageBytes     = 512 << 10        // of the records of one page, so that it fits into a frame
	maxPageScan      = 10_000           // records looked at for one page
	maxPageSkip      = 100_000          // records skipped by a page number
)

// A Replica is the state of the cluster as this node can change and read it. Its
// methods are called from any number of goroutines.
type Replica interface {
	// Propose returns when the command is applied, here or not, or refused.
	Propose(ctx context.Context, r raftnode.Request) (raftnode.Receipt, error)
	// Read returns a view that is as fresh as o asks. The caller closes it.
	Read(ctx context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error)
}

// A Membership is who takes part in the cluster. Each method works on any node;
// changes are idempotent and return when they are committed.
type Membership interface {
	// Members lists the nodes, each with its own account of itself.
	Members(ctx context.Context) ([]adminapi.Member, error)
	ChangeMember(ctx context.Context, change MemberChange) error
	// TransferLeadership hands leadership to a voter, the most up-to-date one if
	// to is empty, and returns when it leads.
	TransferLeadership(ctx context.Context, to string) error
	// InitCluster makes this node, which belongs to no cluster, one of its own,
	// and returns when it leads. Unlike the others it is refused the second time.
	InitCluster(ctx context.Context) error
}

// A MemberChange is one change of the membership.
type MemberChange struct {
	Action   MemberAction
	Node     string
	PeerAddr string // AddMember only: host:port
}

// MemberAction says what a MemberChange does.
type MemberAction uint8

const (
	AddMember     MemberAction = 1 // joins as a non-voter, is promoted when it has caught up
	PromoteMember MemberAction = 2
	DemoteMember  MemberAction = 3
	RemoveMember  MemberAction = 4
)

// An Observer tells what this node knows of itself. It never blocks.
type Observer interface {
	// Status is everything but the members, and what a view or Checks tells.
	Status() adminapi.Status
	// Checks are the parts of a health probe: adminapi.Livez, Readyz or Startupz.
	Checks(probe string) []adminapi.Check
	// DigestChecks are the newest logged checks of the digest, oldest first.
	DigestChecks() []adminapi.DigestCheck
}

// Credentials are what the cluster knows callers by. Each method works on any node.
type Credentials interface {
	// NewToken makes the secret of the API token of that name, and stores nothing.
	NewToken(name string) (auth.Secret, error)
	// RotateKeys begins a rotation of the cluster's own keys for actor.
	RotateKeys(ctx context.Context, actor record.Principal) (raftnode.Receipt, error)
}

// A Sealer protects the secret of the credential for upstreams of that name.
type Sealer interface {
	Seal(name string, secret []byte) ([]byte, error)
}

// Config is what an API is made of. Every field without a stated default must be set.
type Config struct {
	Replica       Replica
	Membership    Membership
	Observer      Observer
	Workers       func() adminapi.Worker // the supervision tree
	Authenticator Authenticator
	Credentials   Credentials
	Sealer        Sealer
	Backups       Backups
	Archive       Archive
	Upstreams     Upstreams
	Registerer    prometheus.Registerer // where the metrics of this package go
	Gatherer      prometheus.Gatherer   // what /metrics shows
	Logger        *slog.Logger          // nil means discard
}

// An API serves the admin API. It is an http.Handler.
type API struct {
	c       Config
	log     *slog.Logger
	mux     *http.ServeMux
	origins *http.CrossOriginProtection
	metrics *metrics
	ids     *requestid.Source
	names   timelineNames
	cursors cursors
	byOp    []*route      // by adminapi.Op; nil where there is none
	saves   chan struct{} // one for each snapshot that is being sent
	works   chan struct{} // one for each job that runs

	ctx     context.Context // of the streams
	stop    context.CancelFunc
	streams streams
}

// New makes an API. Close ends its streams.
func New(c Config) (*API, error) {
	if c.Replica == nil || c.Membership == nil || c.Observer == nil || c.Workers == nil || c.Authenticator == nil || c.Credentials == nil || c.Sealer == nil || c.Backups == nil || c.Archive == nil || c.Upstreams == nil || c.Registerer == nil || c.Gatherer == nil {
		return nil, errors.New("admin: a part of Config is missing")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{
		c:       c,
		log:     c.Logger,
		mux:     http.NewServeMux(),
		origins: http.NewCrossOriginProtection(),
		metrics: newMetrics(c.Registerer),
		ids:     requestid.NewSource(),
		byOp:    make([]*route, adminapi.MaxOp+1),
		saves:   make(chan struct{}, maxSaves),
		works:   make(chan struct{}, maxWork),
	}
	a.ctx, a.stop = context.WithCancel(context.Background())
	a.mount()
	return a, nil
}

// Shutdown lets the calls that run on streams finish and closes the streams. When
// ctx ends first they are cut off. http.Server.Shutdown does not know of them;
// call both.
func (a *API) Shutdown(ctx context.Context) {
	a.streams.drain(ctx)
	a.stop()
	a.streams.wg.Wait()
}

// A call is one operation as its handler sees it, whichever carrier it came by.
type call struct {
	op        adminapi.Operation
	caller    record.Principal
	requestID string
}

// view opens the state at least as fresh as o asks; mode is for an o that does
// not say. The caller closes it.
func (a *API) view(ctx context.Context, o adminapi.ReadOptions, mode adminapi.Consistency) (*fsm.View, adminapi.Info, error) {
	if o.Consistency == 0 {
		o.Consistency = mode
	}
	switch {
	case o.Consistency > adminapi.Any:
		return nil, adminapi.Info{}, fault.New(fault.Invalid, "consistency %d is unknown", o.Consistency).
			WithHint("1 is linearizable, 2 is bounded, 3 is any")
	case o.MaxStaleness < 0:
		return nil, adminapi.Info{}, fault.New(fault.Invalid, "max_staleness %v is negative", o.MaxStaleness)
	case o.MaxStaleness > 0 && o.Consistency != adminapi.Bounded:
		return nil, adminapi.Info{}, fault.New(fault.Invalid, "max_staleness is for consistency bounded, this read is %v", o.Consistency).
			WithHint("add consistency=bounded, or leave max_staleness out")
	}
	view, info, err := a.c.Replica.Read(ctx, raftnode.ReadOptions{
		Mode:         raftnode.ReadMode(o.Consistency),
		MinIndex:     o.MinIndex,
		MaxStaleness: o.MaxStaleness.Duration(),
	})
	if err != nil {
		return nil, adminapi.Info{}, err
	}
	return view, adminapi.Info{
		Index:       info.Index,
		Timeline:    a.names.of(info.Timeline),
		Consistency: adminapi.Consistency(info.Mode),
		Staleness:   staleness(info.Staleness),
	}, nil
}

// staleness is d rounded up, because it is a bound, and -1 for "unknown".
func staleness(d time.Duration) adminapi.Duration {
	if d == math.MaxInt64 {
		return -1
	}
	return adminapi.DurationOf(d + time.Millisecond - 1)
}

// timelineNames keeps the text of the newest timeline, which almost every answer
// carries.
type timelineNames struct{ newest atomic.Pointer[timelineName] }

type timelineName struct {
	timeline record.Timeline
	text     string
}

func (n *timelineNames) of(t record.Timeline) string {
	if known := n.newest.Load(); known != nil && known.timeline == t {
		return known.text
	}
	name := &timelineName{timeline: t, text: t.String()}
	n.newest.Store(name)
	return name.text
}
