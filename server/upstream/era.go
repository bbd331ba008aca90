package upstream

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	probeTimeout = 10 * time.Second

	// doubtEvery is how often at most an upstream is probed because an answer did
	// not fit its era: many such answers are just errors.
	doubtEvery = 10 * time.Second

	// discoverFor is how long what server/discover said is good for Open.
	discoverFor = time.Minute
)

// An era is how an upstream wants to be spoken to. Immutable.
type era struct {
	modern    bool
	connected bool        // legacy, and a session is a connection: HTTP+SSE, a child process
	version   mcp.Version // modern only
	discover  []byte      // raw result of server/discover; nil if legacy, or if it could not be had
	legacy    *era        // modern only: how the same upstream is spoken to in the legacy era, too; nil if it is not
	found     time.Time
}

// spokenBy is e as c speaks it: an upstream of both eras is spoken to in that of
// the caller, so that nothing has to be translated and nothing is lost.
func (e *era) spokenBy(c *Caller) *era {
	if e != nil && e.legacy != nil && !c.Modern {
		return e.legacy
	}
	return e
}

// offers reports whether an upstream of era e can be spoken to as other says.
func (e *era) offers(other *era) bool {
	return e.same(other) || e.legacy != nil && e.legacy.same(other)
}

func (e *era) same(other *era) bool {
	return e.modern == other.modern && e.connected == other.connected && e.version == other.version
}

// currentEra is the upstream's era, probed if it is not known. Nil means that
// the probe proved nothing and initialize may be tried.
func (up *upstream) currentEra(ctx context.Context) (*era, error) {
	if e := up.era.Load(); e != nil {
		return e, nil
	}
	return up.probing.do(ctx, func() (*era, error) {
		if e := up.era.Load(); e != nil {
			return e, nil
		}
		e, err := up.probe(ctx)
		if e != nil {
			up.learn(e)
		}
		return e, err
	})
}

func (up *upstream) learn(e *era) {
	if old := up.era.Swap(e); old == nil || !old.same(e) {
		up.log.Info("upstream probed", "modern", e.modern, "legacy", !e.modern || e.legacy != nil, "connected", e.connected, "version", string(e.version))
	}
}

// changed probes again because something contradicted old, and reports whether
// the upstream is of another era now. A probe that proves nothing changes
// nothing.
func (up *upstream) changed(ctx context.Context, old *era) bool {
	if old == nil {
		old = new(era) // a session that was taken up without a probe
	}
	now := up.era.Load()
	if now != nil && !now.offers(old) {
		return true
	}
	if now != nil && time.Since(now.found) < doubtEvery {
		return false
	}
	fresh, err := up.probing.do(ctx, func() (*era, error) { return up.probe(ctx) })
	if err != nil || fresh == nil {
		return false
	}
	up.learn(fresh)
	return !fresh.offers(old)
}

// probe asks for server/discover. It gives nil without an error if the answer
// proves nothing and comes from something that may still take initialize.
func (up *upstream) probe(ctx context.Context) (*era, error) {
	e, err := up.probeOnce(ctx)
	switch {
	case err != nil:
		up.metrics.probe("failed")
	case e == nil:
		up.metrics.probe("inconclusive")
	case e.modern:
		up.metrics.probe("modern")
	default:
		up.metrics.probe("legacy")
	}
	return e, err
}

func (up *upstream) probeOnce(ctx context.Context) (*era, error) {
	if up.rec.Transport == transportSSE || up.stdio() {
		return &era{connected: true, found: time.Now()}, nil
	}
	version := mcp.ModernVersions()[0]
	for range len(mcp.ModernVersions()) + 1 {
		result, err := up.discover(ctx, version)
		if err == nil {
			return discovered(result), nil
		}
		r, ok := errors.AsType[*refusal](err)
		if !ok {
			return nil, undecided(err)
		}
		if r.code() != mcp.CodeUnsupportedVersion {
			return judged(r, version)
		}
		// A modern server that wants another revision, or a legacy one that knows
		// the new error: its list tells.
		other := newestModern(r.supported())
		if other == "" {
			return &era{found: time.Now()}, nil
		}
		version = other
	}
	return nil, fault.New(fault.Unsupported, "upstream %q refuses every revision of MCP that it offers", up.rec.Alias)
}

// discovered reads the era off a discover result.
func discovered(result []byte) *era {
	list := versionsIn(mcp.Field(result, "supportedVersions"))
	version := newestModern(list)
	if version == "" {
		return &era{found: time.Now()} // a legacy server that answers discover
	}
	e := &era{modern: true, version: version, discover: result, found: time.Now()}
	if slices.ContainsFunc(list, func(v mcp.Version) bool { return v.Known() && !v.Modern() }) {
		e.legacy = &era{found: e.found}
	}
	return e
}

// judged reads the era off a refusal of discover.
func judged(r *refusal, version mcp.Version) (*era, error) {
	switch {
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		return nil, r
	case r.inconclusive():
		return nil, nil
	case r.modernWord():
		return &era{modern: true, version: version, found: time.Now()}, nil
	default:
		return &era{found: time.Now()}, nil
	}
}

// undecided is the error that a failed probe ends with; nil if initialize may
// still be tried: the upstream answered, with something else.
func undecided(err error) error {
	if errors.Is(err, errGarbage) || errors.Is(err, errNoAnswer) {
		return nil
	}
	return err
}

func newestModern(list []mcp.Version) mcp.Version {
	var newest mcp.Version
	for _, v := range list {
		if v.Known() && v.Modern() && v > newest {
			newest = v
		}
	}
	return newest
}

// discover asks for server/discover in one revision. A JSON-RPC error is a
// *refusal, whatever its HTTP status.
func (up *upstream) discover(ctx context.Context, version mcp.Version) ([]byte, error) {
	p := &path{up: up, era: &era{modern: true, version: version}}
	_, answer, err := p.greet(ctx, &Caller{Modern: true}, mcp.Request(mcp.NumberID(0), mcp.Discover, nil), min(up.timeout, probeTimeout))
	if err != nil {
		return nil, err
	}
	if answer.Kind() == mcp.KindFailure {
		return nil, &refusal{status: http.StatusOK, failure: answer}
	}
	return answer.Result(), nil
}

// doubts reports whether a refusal may mean that the upstream is of another era
// than e: then nothing was processed, and probing again tells.
func (e *era) doubts(r *refusal) bool {
	switch r.code() {
	case mcp.CodeUnsupportedVersion, mcp.CodeMethodNotFound:
		return true
	}
	if r.status == http.StatusNotFound || r.status == http.StatusMethodNotAllowed {
		return true
	}
	// A server with sessions refuses a request without one.
	return e.modern && r.status == http.StatusBadRequest && !r.modernWord() && r.code() != mcp.CodeInvalidParams
}
