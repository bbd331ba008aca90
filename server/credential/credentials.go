package credential

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

const (
	maxKnown      = fsm.MaxCredentials
	renewLimit    = 20 * time.Second // of all that a caller waits for one access token
	refusedPause  = 10 * time.Second // between two tokens that are fetched because an upstream refused one
	minFetchPause = time.Second      // after a fetch that failed, doubled by each further one
	maxFetchPause = 30 * time.Second
)

// Purposes of what is sealed; the name of the credential is bound to it, too.
const (
	secretPurpose = "upstream credential"
	tokenPurpose  = "upstream access token"
)

// A Replica is the state as this node reads and changes it; *raftnode.Node is one.
type Replica interface {
	Propose(ctx context.Context, r raftnode.Request) (raftnode.Receipt, error)
	Read(ctx context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error)
}

// A Sealer protects what the state holds; *auth.KeyRing is one.
type Sealer interface {
	Seal(purpose string, aad, plaintext []byte) ([]byte, error)
	Open(purpose string, aad, sealed []byte) ([]byte, error)
	// Current reports whether sealed was made with the key that is used now.
	Current(sealed []byte) bool
}

// Config is what Credentials are made of. Every field without a stated default
// must be set.
type Config struct {
	Replica Replica
	Sealer  Sealer
	Actor   record.Principal // this node
	Node    string
	Process record.ID

	// Transport reaches token endpoints. It must refuse addresses that this node
	// may not call.
	Transport http.RoundTripper

	Registerer prometheus.Registerer // nil: counted nowhere
	Logger     *slog.Logger          // nil means discard
}

// A Header is what a request to an upstream carries.
type Header struct{ Name, Value string }

// Credentials are those of the cluster as one node uses them. All methods may be
// called from any goroutine.
type Credentials struct {
	c       Config
	metrics *metrics
	renewal singleflight.Group

	mu         sync.Mutex
	known      map[string]known
	generation uint64             // counts changes: what was read before one is not kept
	refused    map[string]refusal // the newest token of each credential that an upstream did not take
	failed     map[string]failure // fetches that failed, until one succeeds
}

// known is an opened credential.
type known struct {
	header Header
	ends   time.Time // zero: it does not
}

// refusal is the access token that an upstream refused last.
type refusal struct {
	value string
	at    time.Time
}

// failure is what became of the last fetch.
type failure struct {
	err   error
	pause time.Duration
	until time.Time
}

// New makes Credentials.
func New(c Config) *Credentials {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Credentials{
		c: c, metrics: newMetrics(c.Registerer),
		known: make(map[string]known), refused: make(map[string]refusal), failed: make(map[string]failure),
	}
}

// Changed is told of every change of this replica (raftnode.Node.Watch).
func (c *Credentials) Changed(list []fsm.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, change := range list {
		switch change.Noun {
		case fsm.ChangedCredential:
			delete(c.known, change.Key)
			delete(c.failed, change.Key)
			c.generation++
		case fsm.ChangedAll:
			clear(c.known)
			clear(c.failed)
			c.generation++
		}
	}
}

// Get is the header of the credential of that name. It costs a map unless an
// access token must be fetched; then it waits for it, renewLimit at most. Errors
// are Unavailable: there is no such credential, this node cannot open it, or the
// token endpoint gave no token.
func (c *Credentials) Get(ctx context.Context, name string) (Header, error) {
	c.mu.Lock()
	k, ok := c.known[name]
	ok = ok && c.usable(name, k, time.Now())
	c.mu.Unlock()
	if ok {
		return k.header, nil
	}
	done := c.renewal.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewLimit)
		defer cancel()
		return c.renew(ctx, name)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return Header{}, r.Err
		}
		return r.Val.(Header), nil
	case <-ctx.Done():
		return Header{}, ctx.Err()
	}
}

// Refused says that an upstream did not take what Get gave. Another access token
// is fetched for the next Get, unless one was for that reason a moment ago. It
// reports whether Get may give another header now.
func (c *Credentials) Refused(name string, h Header) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[name]
	switch {
	case ok && k.header != h:
		return true // there is another one already
	case ok && k.ends.IsZero(), time.Since(c.refused[name].at) < refusedPause:
		return false
	}
	c.refused[name] = refusal{value: h.Value, at: time.Now()}
	return true
}

// usable holds c.mu.
func (c *Credentials) usable(name string, k known, now time.Time) bool {
	return k.ends.IsZero() || now.Before(k.ends) && c.refused[name].value != k.header.Value
}

// renew opens what this replica has, and fetches an access token if that is not
// good any more.
func (c *Credentials) renew(ctx context.Context, name string) (Header, error) {
	k, ok, err := c.load(ctx, name, raftnode.Any)
	if fault.Of(err) == fault.NotFound { // it may be newer than this replica
		k, ok, err = c.load(ctx, name, raftnode.Linearizable)
	}
	if err != nil {
		return Header{}, unusable(name, err)
	}
	if ok {
		return k.header, nil
	}
	if err := c.resting(name); err != nil {
		return Header{}, err
	}
	k, err = c.fetch(ctx, name)
	c.fetched(name, err)
	if err != nil {
		return Header{}, unusable(name, err)
	}
	return k.header, nil
}

// load reads and opens the credential, and reports whether it is good.
func (c *Credentials) load(ctx context.Context, name string, mode raftnode.ReadMode) (known, bool, error) {
	c.mu.Lock()
	generation := c.generation
	c.mu.Unlock()
	view, _, err := c.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: mode})
	if err != nil {
		return known{}, false, err
	}
	defer view.Close()
	rec, err := view.Credential(0, name)
	if err != nil {
		return known{}, false, err
	}
	k, err := c.open(&rec)
	if err != nil {
		return known{}, false, err
	}
	return k, c.keep(name, k, generation), nil
}

// keep remembers k unless it changed while it was read, and reports whether it is
// good.
func (c *Credentials) keep(name string, k known, generation uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation == generation && len(c.known) < maxKnown {
		c.known[name] = k
	}
	return c.usable(name, k, time.Now())
}

// open makes the header of a credential. One that has no access token yet is
// known, and has ended.
func (c *Credentials) open(rec *record.Credential) (known, error) {
	name := http.CanonicalHeaderKey(cmp.Or(rec.Header, "Authorization"))
	if rec.Kind == record.CredentialHeader {
		value, err := c.c.Sealer.Open(secretPurpose, []byte(rec.Name), rec.Secret)
		return known{header: Header{name, string(value)}}, err
	}
	k := known{header: Header{Name: name}, ends: rec.TokenExpires.Time()}
	if len(rec.Token) == 0 {
		return k, nil
	}
	token, err := c.c.Sealer.Open(tokenPurpose, []byte(rec.Name), rec.Token)
	if err != nil {
		c.c.Logger.Warn("the access token of a credential does not open, another one is fetched", "credential", rec.Name, "err", err)
		return known{header: k.header, ends: time.Unix(0, 0)}, nil
	}
	k.header.Value = "Bearer " + string(token)
	return k, nil
}

// Seal protects the secret of the credential of that name, for PutCredential.
func (c *Credentials) Seal(name string, secret []byte) ([]byte, error) {
	return c.c.Sealer.Seal(secretPurpose, []byte(name), secret)
}

// resting is the error of the last fetch, while it is too early for another.
func (c *Credentials) resting(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.failed[name]; ok && time.Now().Before(f.until) {
		return unusable(name, f.err)
	}
	return nil
}

// fetched notes what became of a fetch.
func (c *Credentials) fetched(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.failed, name)
		return
	}
	pause := min(max(2*c.failed[name].pause, minFetchPause), maxFetchPause)
	c.failed[name] = failure{err: err, pause: pause, until: time.Now().Add(pause)}
	c.c.Logger.Warn("no access token for a credential", "credential", name, "err", err, "again_in", pause)
}

func unusable(name string, err error) error {
	if fault.Of(err) == fault.NotFound {
		return fault.New(fault.Unavailable, "there is no credential %q", name).
			WithHint("mcpraft credentials ls lists those that there are, mcpraft credentials add NAME adds one")
	}
	return fault.New(fault.Unavailable, "credential %q cannot be used: %w", name, err)
}
