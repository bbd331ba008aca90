// Package workload is the clients of a run. Each has a name, a principal of its own
// and a file of its own; it sends one request after the other to nodes of its
// choice, never sends one again behind the back of its history, and writes down
// what it was told. A request that was given up stays open in the history.
package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/jepsen/cluster"
	"github.com/mcpraft/mcpraft/jepsen/history"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/test/model"
)

// Names of the workloads.
const (
	Registry = "registry"
	Once     = "once"
	Claims   = "claims"
	Sessions = "sessions"
	Tools    = "tools"
)

// All are the workloads in the order in which clients are given to them.
func All() []string { return []string{Registry, Sessions, Tools, Once, Claims} }

// A Setup is what the clients of a run share.
type Setup struct {
	Cluster  *cluster.Cluster
	Clock    *history.Clock
	Store    *history.Store
	Seed     uint64
	Upstream *Upstream
	Fenced   *Fenced
	Pause    time.Duration // mean time between two requests of a client
}

// A Client does one workload.
type Client struct {
	*Setup
	name     string
	workload string
	rng      *rand.Rand
	out      *history.Writer
	token    string
	subject  string
	admin    map[string]*adminapi.Client // by node
	home     string                      // asked mostly
	count    int
	last     uint64 // index of its newest write

	revisions map[string]uint64 // of entries, as it saw them last
}

// New makes client number i, with a token of its own.
func New(ctx context.Context, s *Setup, workload string, i int) (*Client, error) {
	c := &Client{
		Setup: s, name: fmt.Sprintf("%s-%d", workload, i), workload: workload, rng: rand.New(rand.NewPCG(s.Seed, uint64(1000+i))),
		admin: make(map[string]*adminapi.Client), revisions: make(map[string]uint64),
	}
	c.subject = "jepsen-" + c.name
	var err error
	if c.token, err = newToken(ctx, s.Cluster, c.subject); err != nil {
		return nil, err
	}
	for _, n := range s.Cluster.Nodes() {
		if c.admin[n.Name], err = adminapi.New(adminapi.Config{Addrs: []string{n.Admin}, Token: c.token, Timeout: time.Minute}); err != nil {
			return nil, err
		}
	}
	c.out, err = s.Store.Client(c.name)
	return c, err
}

// newToken makes an API token of that name, which administers too.
func newToken(ctx context.Context, l *cluster.Cluster, name string) (string, error) {
	var last error
	for _, n := range l.Nodes() {
		made, _, err := n.Client().CreateToken(ctx, &adminapi.CreateTokenRequest{TokenSpec: adminapi.TokenSpec{Name: name, Admin: true}})
		if err == nil {
			return made.Token, nil
		}
		last = err
	}
	return "", fmt.Errorf("a token for %s: %w", name, last)
}

// Run works until ctx ends; a request that is under way then is waited for.
func (c *Client) Run(ctx context.Context) {
	step := map[string]func(context.Context){
		Registry: c.registry, Once: c.once, Claims: c.claims, Sessions: c.sessions(), Tools: c.tools(),
	}[c.workload]
	for ctx.Err() == nil {
		step(ctx)
		c.rest(ctx, time.Duration(c.rng.Int64N(int64(2*c.Pause))))
	}
}

// Close ends the client's connections and its file.
func (c *Client) Close() error {
	for _, a := range c.admin {
		a.Close()
	}
	return c.out.Close()
}

func (c *Client) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// node is the one to ask, which may be down.
func (c *Client) node() string {
	names := c.Cluster.Names()
	if c.home == "" || c.rng.IntN(20) == 0 {
		c.home = names[c.rng.IntN(len(names))]
	}
	if c.rng.IntN(3) == 0 {
		return names[c.rng.IntN(len(names))]
	}
	return c.home
}

// others are the nodes but one, in any order.
func (c *Client) others(but string) []string {
	var names []string
	for _, i := range c.rng.Perm(len(c.Cluster.Names())) {
		if name := c.Cluster.Names()[i]; name != but {
			names = append(names, name)
		}
	}
	return names
}

// patience is a deadline for one request: mostly long enough, sometimes not.
func (c *Client) patience() (context.Context, context.CancelFunc) {
	d := 3 * time.Second
	if c.rng.IntN(8) == 0 {
		d = time.Duration(20+c.rng.IntN(400)) * time.Millisecond
	}
	return context.WithTimeout(context.Background(), d)
}

// value is one that no other request has.
func (c *Client) value() string {
	c.count++
	return fmt.Sprintf("%s.%d", c.name, c.count)
}

// begin starts an operation.
func (c *Client) begin(node, do, key string) history.Operation {
	return history.Operation{Client: c.name, Node: node, Workload: c.workload, Do: do, Key: key, Call: c.Clock.Now()}
}

// finish ends an operation with what err says and writes it down. Refused reads
// and changes had no effect; they are kept for the figures.
func (c *Client) finish(o *history.Operation, err error) {
	o.Ended = c.Clock.Now()
	o.End = history.OK
	if err != nil {
		kind := fault.Of(err)
		o.End, o.Error, o.Text = model.FateOf(kind).String(), kind.String(), err.Error()
	}
	if o.End == history.OK || o.End == history.Rejected {
		o.Return = o.Ended
	}
	c.out.Add(o)
}

// told copies what goes with every answer.
func told(o *history.Operation, i adminapi.Info) {
	o.Index, o.Timeline, o.Replayed = i.Index, i.Timeline, i.Replayed
	o.Staleness = int64(i.Staleness)
}
