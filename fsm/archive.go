package fsm

import (
	"iter"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// archives holds one record: what of the current timeline is kept off the nodes.
var archives = table[record.Archive]{
	key: func(scope record.Scope, _ *record.Archive) []byte { return tableArchive.key(scope) },
}

// archive is the stored record, nil if there is none, and the one that holds for
// this timeline: a recovery begins an archive of its own.
func (t *tx) archive() (old *record.Archive, now record.Archive) {
	old = archives.get(t, tableArchive.key(t.scope))
	if old != nil && old.Timeline == t.meta.Timeline {
		return old, *old
	}
	return old, record.Archive{Timeline: t.meta.Timeline}
}

func (t *tx) putArchive(old *record.Archive, now record.Archive) {
	now.Revision = t.revision
	archives.put(t, old, &now)
}

// ArchiveAdvance takes a segment of the log's archive up: it is in the
// destination and was read back. Only a segment that follows the newest one is
// taken, by sequence, by index and by hash, so of two that upload at once one
// succeeds, and what is archived has no gap that nobody knows of. Every node may
// cut its log up to Last.
type ArchiveAdvance struct {
	Timeline record.Timeline `cbor:"1,keyasint"`
	Sequence uint64          `cbor:"2,keyasint"`
	First    uint64          `cbor:"3,keyasint"`
	Last     uint64          `cbor:"4,keyasint"`
	LastTime record.LogTime  `cbor:"5,keyasint,omitempty"` // of its entries
	Previous record.Hash     `cbor:"6,keyasint,omitzero"`  // hash of the segment that it follows; zero for the first
	Hash     record.Hash     `cbor:"7,keyasint"`           // of the segment as it is stored

	// Gap says that the entries between the newest segment and First are lost: no
	// node has them any more.
	Gap bool `cbor:"8,keyasint,omitempty"`
}

func (*ArchiveAdvance) kind() kind { return kindArchiveAdvance }

func (c *ArchiveAdvance) validate() error {
	switch {
	case c.Timeline.IsZero() || c.Hash.IsZero():
		return fault.New(fault.Invalid, "segment %d has no timeline or no hash", c.Sequence)
	case c.Sequence == 0 || c.First == 0 || c.Last < c.First:
		return fault.New(fault.Invalid, "segment %d cannot cover the indexes %d to %d", c.Sequence, c.First, c.Last)
	case (c.Sequence == 1) != c.Previous.IsZero() || c.Sequence == 1 && c.Gap:
		return fault.New(fault.Invalid, "segment %d: exactly the first one follows nothing", c.Sequence)
	}
	return nil
}

func (c *ArchiveAdvance) apply(t *tx) Outcome {
	old, a := t.archive()
	switch {
	case c.Timeline != t.meta.Timeline:
		return reject(fault.Conflict, "the segment is of timeline %v, the cluster is on %v", c.Timeline, t.meta.Timeline)
	case c.Sequence != a.Sequence+1 || c.Previous != a.Hash:
		return rejectAt(a.Revision, fault.Precondition, "segment %d does not follow: the archive is at segment %d, index %d", c.Sequence, a.Sequence, a.Last)
	case a.Sequence > 0 && (c.First <= a.Last || (c.First > a.Last+1) != c.Gap):
		return rejectAt(a.Revision, fault.Precondition, "segment %d begins at index %d, the archive ends at %d", c.Sequence, c.First, a.Last)
	case c.Last >= t.index:
		return reject(fault.Invalid, "segment %d ends at index %d, which is not applied at %d", c.Sequence, c.Last, t.index)
	}
	if c.Sequence == 1 || c.Gap {
		a.First = c.First
	}
	if c.Gap {
		a.Gaps++
	}
	a.Sequence, a.Last, a.LastTime, a.Hash, a.Advanced = c.Sequence, c.Last, max(a.LastTime, c.LastTime), c.Hash, t.now
	t.putArchive(old, a)
	return accept()
}

func (*ArchiveAdvance) rejections() []rejection {
	return []rejection{
		{fault.Conflict, "it is of another timeline"},
		{fault.Precondition, "it does not follow the newest segment"},
	}
}

// NoteBackup says that a backup of this timeline has arrived in the destination.
type NoteBackup struct {
	Timeline record.Timeline `cbor:"1,keyasint"`
	Backup   record.Backup   `cbor:"2,keyasint"`
}

func (*NoteBackup) kind() kind { return kindNoteBackup }

func (c *NoteBackup) validate() error { return c.Backup.Validate() }

func (c *NoteBackup) apply(t *tx) Outcome {
	old, a := t.archive()
	if c.Timeline != t.meta.Timeline {
		return reject(fault.Conflict, "the backup is of timeline %v, the cluster is on %v", c.Timeline, t.meta.Timeline)
	}
	if a.Backup != nil && a.Backup.Index >= c.Backup.Index {
		return accept() // an older one that took longer
	}
	c.Backup.Taken = t.now
	a.Backup = &c.Backup
	t.putArchive(old, a)
	return accept()
}

func (*NoteBackup) rejections() []rejection {
	return []rejection{{fault.Conflict, "it is of another timeline"}}
}

// NoteVerification says that a backup of this timeline was verified, and passed. What
// did not pass is noted with the backup, in the destination.
type NoteVerification struct {
	Timeline     record.Timeline     `cbor:"1,keyasint"`
	Verification record.Verification `cbor:"2,keyasint"`
}

func (*NoteVerification) kind() kind { return kindNoteVerification }

func (c *NoteVerification) validate() error { return c.Verification.Validate() }

func (c *NoteVerification) apply(t *tx) Outcome {
	old, a := t.archive()
	if c.Timeline != t.meta.Timeline {
		return reject(fault.Conflict, "the backup is of timeline %v, the cluster is on %v", c.Timeline, t.meta.Timeline)
	}
	c.Verification.At = t.now
	a.Listed = &c.Verification
	if c.Verification.Depth >= record.DepthDecode {
		a.Decoded = &c.Verification
	}
	if c.Verification.Depth >= record.DepthDrill {
		a.Drilled = &c.Verification
	}
	t.putArchive(old, a)
	return accept()
}

func (*NoteVerification) rejections() []rejection {
	return []rejection{{fault.Conflict, "the backup is of another timeline"}}
}

// Archive is what of the current timeline is kept off the nodes; the zero Archive
// of that timeline if there is nothing yet.
func (v *View) Archive() (record.Archive, error) {
	a, err := viewRecord[record.Archive](v, "the archive", tableArchive.key(0))
	if fault.Of(err) == fault.NotFound || err == nil && a.Timeline != v.meta.Timeline {
		return record.Archive{Timeline: v.meta.Timeline}, nil
	}
	return a, err
}

var labels = table[record.Label]{
	key: func(scope record.Scope, l *record.Label) []byte { return tableLabel.textKey(scope, l.Name) },
}

// MaxLabels bounds the labels of the cluster.
const MaxLabels = 1000

// PutLabel gives the point of the log at which it is applied a name.
type PutLabel struct {
	Name string `cbor:"1,keyasint"`
}

func (*PutLabel) kind() kind { return kindPutLabel }

func (c *PutLabel) validate() error { return record.ValidLabel(c.Name) }

func (c *PutLabel) apply(t *tx) Outcome {
	if old := labels.get(t, tableLabel.textKey(t.scope, c.Name)); old != nil {
		return rejectAt(old.Revision, fault.Conflict, "label %s exists already: it is index %d of timeline %v", quote(c.Name), old.Index, old.Timeline)
	}
	if t.count(tableLabelCount.key(t.scope)) >= MaxLabels {
		return reject(fault.Quota, "there are %d labels, the limit; remove some", MaxLabels)
	}
	t.addCount(tableLabelCount.key(t.scope), 1)
	labels.put(t, nil, &record.Label{
		Name: c.Name, Timeline: t.meta.Timeline, Index: t.index, LogTime: t.now, By: t.actor, Revision: t.revision,
	})
	return accept()
}

func (*PutLabel) rejections() []rejection {
	return []rejection{
		{fault.Conflict, "it exists"},
		{fault.Quota, "there are as many as may be"},
	}
}

// RemoveLabels forgets labels; those that do not exist are skipped. The points
// stay where they are.
type RemoveLabels struct {
	Names []string `cbor:"1,keyasint"`
}

func (*RemoveLabels) kind() kind { return kindRemoveLabels }

func (c *RemoveLabels) validate() error {
	if err := validItems(len(c.Names)); err != nil {
		return err
	}
	for _, name := range c.Names {
		if err := record.ValidLabel(name); err != nil {
			return err
		}
	}
	return nil
}

func (c *RemoveLabels) apply(t *tx) Outcome {
	var counts Counts
	for _, name := range c.Names {
		old := labels.get(t, tableLabel.textKey(t.scope, name))
		if old == nil {
			counts.Skipped++
			continue
		}
		labels.remove(t, old)
		t.addCount(tableLabelCount.key(t.scope), -1)
		counts.Changed++
	}
	return acceptCounts(t, counts)
}

func (*RemoveLabels) rejections() []rejection { return nil }

// Label is the label of that name.
func (v *View) Label(name string) (record.Label, error) {
	return viewRecord[record.Label](v, "label "+quote(name), tableLabel.textKey(0, name))
}

// Labels lists the labels behind the name behind.
func (v *View) Labels(behind string) iter.Seq2[record.Label, error] {
	lower, upper := page(tableLabel.key(0), behind)
	return viewRecords[record.Label](v, lower, upper)
}
