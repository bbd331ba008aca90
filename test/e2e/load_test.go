package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

const (
	loadWorkers = 8
	loadEvery   = 20 * time.Millisecond // between two changes of one worker; the Idempotency-Keys of a day are bounded
	counterKey  = "counter"
)

// A load makes changes and remembers which were acknowledged. Half of them
// register names that nobody else registers; the other half add one to a counter
// that all workers share, by compare-and-set. Every change carries an
// Idempotency-Key and is sent again until its outcome is known.
type load struct {
	c      *Cluster
	cancel context.CancelFunc
	wg     sync.WaitGroup

	acknowledged atomic.Int64 // of both kinds
	increments   atomic.Int64

	mu    sync.Mutex
	names []string // registered, acknowledged
}

func startLoad(c *Cluster) *load {
	c.t.Helper()
	l := &load{c: c}
	c.Register(counterKey, "0")
	ctx, cancel := context.WithCancel(c.t.Context())
	l.cancel = cancel
	for w := range loadWorkers {
		client := c.rotated(w)
		l.wg.Go(func() { l.work(ctx, w, client) })
	}
	c.t.Cleanup(func() {
		cancel()
		l.wg.Wait()
	})
	return l
}

// rotated is a client of all nodes that begins with another one for each n.
func (c *Cluster) rotated(n int) *adminapi.Client {
	c.t.Helper()
	var addrs []string
	for i := range c.nodes {
		addrs = append(addrs, c.nodes[(n+i)%len(c.nodes)].admin)
	}
	client, err := adminapi.New(adminapi.Config{Addrs: addrs, Token: c.token, Timeout: 5 * time.Second})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return client
}

// work changes things until ctx ends. What it has begun it brings to an end: a
// change whose outcome is not known proves nothing.
func (l *load) work(ctx context.Context, w int, client *adminapi.Client) {
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		if n%2 == 0 {
			l.create(client, fmt.Sprintf("load-%d-%05d", w, n))
		} else {
			l.increment(client)
		}
		<-tick.C
	}
}

// settle sends a change until its outcome is known.
func (l *load) settle(client *adminapi.Client, r adminapi.RegisterRequest) error {
	r.Type, r.IdempotencyKey = "tool", rand.Text()
	for begun := time.Now(); ; {
		_, _, err := client.Register(context.Background(), &r)
		if err == nil || !unsettled(err) {
			return err
		}
		if time.Since(begun) > patience {
			return fmt.Errorf("no outcome within %v: %w", patience, err)
		}
	}
}

func (l *load) create(client *adminapi.Client, name string) {
	err := l.settle(client, adminapi.RegisterRequest{Key: name, EntrySpec: adminapi.EntrySpec{Location: name}})
	if err != nil {
		l.c.t.Errorf("registering %s, which nobody else does: %v", name, err)
		return
	}
	l.mu.Lock()
	l.names = append(l.names, name)
	l.mu.Unlock()
	l.acknowledged.Add(1)
}

// increment adds one to the counter, unless another worker was faster.
func (l *load) increment(client *adminapi.Client) {
	e, _, err := client.WhereIs(context.Background(), &adminapi.WhereIsRequest{Type: "tool", Key: counterKey})
	if err != nil {
		if !unsettled(err) {
			l.c.t.Errorf("reading the counter: %v", err)
		}
		return
	}
	n, err := strconv.Atoi(e.Location)
	if err != nil {
		l.c.t.Errorf("the counter is %q", e.Location)
		return
	}
	r := adminapi.RegisterRequest{Key: counterKey, EntrySpec: adminapi.EntrySpec{Location: strconv.Itoa(n + 1)}}
	r.IfMatch = e.Revision
	switch err := l.settle(client, r); {
	case err == nil:
		l.increments.Add(1)
		l.acknowledged.Add(1)
	case fault.Of(err) != fault.Precondition:
		l.c.t.Errorf("adding one to the counter: %v", err)
	}
}

// Progress waits until n more changes were acknowledged.
func (l *load) Progress(n int64) {
	l.c.t.Helper()
	want := l.acknowledged.Load() + n
	eventually(l.c.t, fmt.Sprintf("%d changes acknowledged", n), func() bool { return l.acknowledged.Load() >= want })
}

// Stop ends the load and compares what was acknowledged with what is there.
func (l *load) Stop() {
	t := l.c.t
	t.Helper()
	l.cancel()
	l.wg.Wait()
	l.Check(0)
	t.Logf("%d changes acknowledged, %d of them increments", l.acknowledged.Load(), l.increments.Load())
}

// Check compares what was acknowledged, after Stop, with what node i has.
func (l *load) Check(i int) {
	t := l.c.t
	t.Helper()
	if got := l.c.Location(i, counterKey); got != strconv.FormatInt(l.increments.Load(), 10) {
		t.Errorf("the counter is %s after %d acknowledged increments", got, l.increments.Load())
	}
	there := l.c.names(i)
	slices.Sort(l.names)
	if !slices.Equal(there, l.names) {
		t.Errorf("%d names are registered, %d were acknowledged; the first difference is %s", len(there), len(l.names), firstDifference(there, l.names))
	}
}

// names lists what the load registered, as node i sees it.
func (c *Cluster) names(i int) []string {
	c.t.Helper()
	client := c.Client(i)
	r := &adminapi.EntriesRequest{Type: "tool", Prefix: "load-", Limit: adminapi.MaxListLimit}
	r.Consistency = adminapi.Linearizable
	var names []string
	for {
		page, _, err := client.Entries(c.t.Context(), r)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, e := range page.Items {
			names = append(names, e.Key)
		}
		if r.After = page.Next; r.After == "" {
			return names
		}
	}
}

func firstDifference(a, b []string) string {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return fmt.Sprintf("at %d: %v against %v", i, a[i:min(i+1, len(a))], b[i:min(i+1, len(b))])
		}
	}
	return "none"
}

func TestKilledNodesLoseAndRepeatNothing(t *testing.T) {
	c := StartCluster(t, 3)
	l := startLoad(c)
	l.Progress(50)
	for round := range 6 {
		i := c.Leader()
		if round%2 == 1 {
			i = (i + 1) % 3 // a follower
		}
		c.nodes[i].Kill()
		l.Progress(100)
		c.Start(i)
		c.Ready(i)
	}
	l.Stop()
	c.SameDigest(0, 1, 2)
}
