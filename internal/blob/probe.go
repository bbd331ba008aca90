package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"slices"
	"strings"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A Step is one thing that a destination must be able to do.
type Step struct {
	Name       string // "put", "get", "range", "list", "multipart", "conditional put", "delete"
	Permission string // what it needs, in the words of S3; in a folder it is the right to read or write
	Err        error  // nil: it works
}

// probeBytes is larger than a part, so that it is uploaded in several.
const probeBytes = partBytes + partBytes/2

// Probe does once everything that backups and archives do: it stores objects under
// probe/, reads them, and deletes them again. Every step is tried, also after one
// that failed, so that all that is missing is found at once; only a destination
// that cannot be reached, or knows neither the key nor the bucket, ends it. The
// steps that were tried are returned; the error is that of the first one that
// failed, with all missing permissions in its hint.
func Probe(ctx context.Context, s Store) ([]Step, error) {
	p := prober{ctx: ctx, s: s, small: "probe/" + rand.Text(), large: "probe/" + rand.Text(), data: make([]byte, probeBytes)}
	rand.Read(p.data)
	var steps []Step
	for _, step := range []struct {
		name, permission string
		try              func() error
	}{
		{"put", "s3:PutObject", p.put},
		{"get", "s3:GetObject", p.get},
		{"range", "s3:GetObject", p.getRange},
		{"list", "s3:ListBucket", p.list},
		{"multipart", "s3:PutObject and s3:AbortMultipartUpload", p.putLarge},
		{"conditional put", "s3:PutObject with If-None-Match", p.putConditional},
		{"delete", "s3:DeleteObject", p.delete},
	} {
		err := step.try()
		steps = append(steps, Step{step.name, step.permission, err})
		if hopeless(err) {
			break
		}
	}
	return steps, verdict(s, steps)
}

// hopeless reports whether err will be that of every other step as well.
func hopeless(err error) bool {
	switch fault.Of(err) {
	case fault.Unreachable, fault.Unauthenticated, fault.Invalid, fault.Timeout:
		return true
	}
	return false
}

func verdict(s Store, steps []Step) error {
	i := slices.IndexFunc(steps, func(s Step) bool { return s.Err != nil })
	if i < 0 {
		return nil
	}
	var missing []string
	for _, step := range steps {
		if fault.Of(step.Err) == fault.Forbidden {
			missing = append(missing, step.Permission)
		}
	}
	first := steps[i]
	err := fault.New(fault.Of(first.Err), "%s cannot be used: %s: %v", s, first.Name, first.Err)
	if len(missing) > 0 {
		return err.WithHint("grant %s", strings.Join(missing, ", ")).WithDetail("missing", strings.Join(missing, ","))
	}
	return err.WithHint("%s", fault.As(first.Err).Hint)
}

type prober struct {
	ctx          context.Context
	s            Store
	small, large string
	data         []byte
}

// smallBytes is how much of data the small object has.
const smallBytes = 1000

func (p *prober) store(name string, data []byte, when Condition) error {
	return p.s.Put(p.ctx, name, bytes.NewReader(data), when)
}

func (p *prober) put() error { return p.store(p.small, p.data[:smallBytes], Replace) }

func (p *prober) putLarge() error { return p.store(p.large, p.data, Replace) }

// putConditional stores what is there already; only Conflict is right.
func (p *prober) putConditional() error {
	err := p.store(p.small, p.data[:smallBytes], IfAbsent)
	if fault.Of(err) == fault.Conflict {
		return nil
	}
	if err == nil {
		return fault.New(fault.Unsupported, "the destination stored an object where it was asked not to replace one").
			WithHint("two nodes could overwrite each other's archive: use a server that knows If-None-Match")
	}
	return err
}

func (p *prober) get() error { return p.read(Range{}, p.data[:smallBytes]) }

func (p *prober) getRange() error {
	return p.read(Range{Offset: 100, Length: 200}, p.data[100:300])
}

func (p *prober) read(r Range, want []byte) error {
	body, err := p.s.Get(p.ctx, p.small, r)
	if err != nil {
		return err
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err == nil && !bytes.Equal(got, want) {
		err = fault.New(fault.Integrity, "%d other bytes came back than were stored", len(got))
	}
	return err
}

func (p *prober) list() error {
	for info, err := range p.s.List(p.ctx, p.small, "") {
		if err != nil {
			return err
		}
		if info.Name == p.small && info.Size == smallBytes {
			return nil
		}
	}
	return fault.New(fault.Integrity, "an object that was stored is not in the list")
}

func (p *prober) delete() error {
	for _, name := range []string{p.small, p.large} {
		if err := p.s.Delete(p.ctx, name); err != nil {
			return err
		}
	}
	_, err := p.s.Stat(p.ctx, p.small)
	if fault.Of(err) == fault.NotFound {
		return nil
	}
	if err == nil {
		return fault.New(fault.Integrity, "an object that was deleted is still there")
	}
	return err
}
