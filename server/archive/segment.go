package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/wal"
)

// deliverTimeout bounds one attempt to store a segment and have it taken up.
const deliverTimeout = 2 * time.Minute

// sealed is a segment as it goes into the destination. It is kept until it has
// arrived: sealed again, the same entries would be another object.
type sealed struct {
	wal.Segment
	object []byte
	gap    bool
}

func (r *run) seal(p *part) (*sealed, error) {
	var object bytes.Buffer
	w, err := wal.NewWriter(&object, r.Backups.c.Policy, wal.Header{
		Cluster: p.at.cluster, Timeline: p.at.Timeline, Sequence: p.at.Sequence + 1,
		First: p.first, FirstTime: p.firstTime(), Previous: p.at.Hash,
	})
	if err != nil {
		return nil, err
	}
	for _, e := range p.entries {
		if err := w.Append(e); err != nil {
			return nil, err
		}
	}
	segment, err := w.Finish(p.last)
	if err != nil {
		return nil, err
	}
	return &sealed{Segment: segment, object: object.Bytes(), gap: p.gap}, failpoint.Eval("archive/sealed")
}

// deliver stores a segment, reads it back, and has the cluster take it up. Each step
// may be repeated; done says that the segment is not wanted any more, because it was
// taken up or never will be.
func (r *run) deliver(ctx context.Context, s *sealed) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, deliverTimeout)
	defer cancel()
	if err := r.store(ctx, s); err != nil {
		return fault.Of(err) == fault.Integrity, err // one that arrived damaged is sealed again, under another name
	}
	if err := r.storeLabels(ctx, s); err != nil {
		return false, err
	}
	return r.advance(ctx, s)
}

// store puts a segment into the destination and reads it back: what was asked for
// and what arrived are two things.
func (r *run) store(ctx context.Context, s *sealed) error {
	store, name := r.Backups.c.Store, s.Ref().Name()
	err := store.Put(ctx, name, bytes.NewReader(s.object), blob.IfAbsent)
	if err != nil && fault.Of(err) != fault.Conflict { // there already: an earlier attempt got through
		return err
	}
	if err := failpoint.Eval("archive/stored"); err != nil {
		return err
	}
	body, err := store.Get(ctx, name, blob.Range{})
	if err != nil {
		return err
	}
	defer body.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(body, s.Size+1)); err != nil {
		return err
	}
	if [sha256.Size]byte(hash.Sum(nil)) != s.Hash {
		return fault.New(fault.Integrity, "%s in %s is not what was stored there", name, store).
			WithHint("the destination changes what it is given: `mcpraft backup test-destination`")
	}
	return failpoint.Eval("archive/verified")
}

// storeLabels archives the names of points in a segment, before it counts: one that
// is taken up has its labels beside it.
func (r *run) storeLabels(ctx context.Context, s *sealed) error {
	view, _, err := r.Backups.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return err
	}
	defer view.Close()
	for l, err := range view.Labels("") {
		if err != nil {
			return err
		}
		if l.Timeline != s.Header.Timeline || l.Index < s.Header.First || l.Index > s.Footer.Last {
			continue
		}
		label := wal.Label{Cluster: s.Header.Cluster, Timeline: l.Timeline, Index: l.Index, LogTime: l.LogTime, Name: l.Name}
		if err := wal.PutLabel(ctx, r.Backups.c.Store, label); err != nil {
			return err
		}
	}
	return failpoint.Eval("archive/labelled")
}

// advance has the cluster take a segment up. That it does not follow means that an
// earlier attempt did, or another node's: the archive is ahead of what this node
// remembered.
func (r *run) advance(ctx context.Context, s *sealed) (done bool, err error) {
	_, err = r.propose(ctx, r.term, &fsm.ArchiveAdvance{
		Timeline: s.Header.Timeline, Sequence: s.Header.Sequence, First: s.Header.First, Last: s.Footer.Last,
		LastTime: s.Footer.LastTime, Previous: s.Header.Previous, Hash: s.Hash, Gap: s.gap,
	})
	switch fault.Of(err) {
	case 0:
		r.metrics.took(s)
		r.log.Debug("archived", "segment", s.Ref().String(), "entries", s.Footer.Count, "bytes", s.Size)
		return true, failpoint.Eval("archive/advanced")
	case fault.Precondition, fault.Conflict, fault.Fenced:
		r.log.Info("a segment was not taken up", "segment", s.Ref().String(), "reason", err.Error())
		return true, nil
	}
	return false, err
}
