package snapshot

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
)

// Backups are the backups of one cluster in one destination. Its methods may be
// called from many goroutines and many nodes.
type Backups struct {
	Store   blob.Store
	Cluster record.ID
	Policy  seal.Policy // how new ones are protected; its ring opens old ones

	// PartBytes is how much of a state goes into one part, in bytes; 0 means 256
	// MiB. A part is one upload.
	PartBytes int64
}

// A Backup is a manifest and what was said of it since.
type Backup struct {
	Manifest
	Hold    *Hold  // nil: none
	Checked *Check // the newest check; nil: never
	Damage  error  // the manifest does not verify; then only ID and Created are known
}

// Good reports whether b is expected to restore: nothing is known against it.
func (b Backup) Good() bool { return b.Damage == nil && (b.Checked == nil || b.Checked.Passed()) }

// A Hold keeps a backup from being pruned, for ever.
type Hold struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	Since  time.Time `json:"since"`
}

func (b Backups) object(kind, id string) string {
	return folder(b.Cluster, kind) + id + jsonSuffix
}

// get reads a small object into v.
func (b Backups) get(ctx context.Context, name string, v any) error {
	data, err := blob.ReadAll(ctx, b.Store, name, maxManifestBytes)
	if fault.Of(err) == fault.TooLarge {
		err = fault.New(fault.Integrity, "it is too large")
	}
	if err == nil {
		err = decode(data, v)
	}
	if k := fault.Of(err); k == fault.Integrity || k == fault.Unsupported {
		return fault.New(k, "%s in %s is damaged: %v", name, b.Store, err)
	}
	return err
}

func (b Backups) put(ctx context.Context, name string, v any, when blob.Condition) error {
	data, err := encode(v)
	if err != nil {
		return err
	}
	err = b.Store.Put(ctx, name, bytes.NewReader(data), when)
	if fault.Of(err) != fault.Conflict {
		return err
	}
	// It may be our own: a request that got through and whose answer was lost.
	there, readErr := blob.ReadAll(ctx, b.Store, name, maxManifestBytes)
	if readErr != nil || !bytes.Equal(there, data) {
		return err
	}
	return nil
}

// manifest reads and verifies the manifest of a backup.
func (b Backups) manifest(ctx context.Context, id string) (m Manifest, err error) {
	name := b.object(manifests, id)
	if err := b.get(ctx, name, &m); err != nil {
		return m, err
	}
	if err := m.Validate(); err != nil {
		return m, fault.New(fault.Integrity, "%s in %s is damaged: %v", name, b.Store, err)
	}
	if m.ID != id || m.State.Cluster != b.Cluster {
		return m, fault.New(fault.Integrity, "%s in %s describes backup %s of cluster %s", name, b.Store, m.ID, m.State.Cluster)
	}
	return m, nil
}

// Show is the backup of that id. One whose manifest is damaged is returned with
// its Damage.
func (b Backups) Show(ctx context.Context, id string) (Backup, error) {
	if err := ValidID(id); err != nil {
		return Backup{}, err
	}
	m, err := b.manifest(ctx, id)
	switch fault.Of(err) {
	case 0:
	case fault.NotFound:
		return Backup{}, fault.New(fault.NotFound, "%s has no backup %s", b.Store, id).WithHint("`mcpraft backup ls` shows what there is")
	case fault.Integrity, fault.Unsupported:
		created, _ := parseID(id)
		m = Manifest{ID: id, Created: created, State: State{Cluster: b.Cluster}}
	default:
		return Backup{}, err
	}
	backup := Backup{Manifest: m, Damage: err}
	hold, err := optional[Hold](ctx, b, holds, id)
	if err != nil {
		return Backup{}, err
	}
	check, err := optional[Check](ctx, b, checks, id)
	if err != nil {
		return Backup{}, err
	}
	backup.Hold, backup.Checked = hold, check
	return backup, nil
}

// optional reads an object that need not exist. One that is damaged still counts:
// a hold keeps, and a check says nothing.
func optional[T any](ctx context.Context, b Backups, kind, id string) (*T, error) {
	v := new(T)
	err := b.get(ctx, b.object(kind, id), v)
	switch fault.Of(err) {
	case 0:
		return v, nil
	case fault.NotFound:
		return nil, nil
	case fault.Integrity, fault.Unsupported:
		if kind == holds {
			return new(T), nil
		}
		return nil, nil
	}
	return nil, err
}

// List is all backups, the oldest first. A damaged one is among them.
func (b Backups) List(ctx context.Context) ([]Backup, error) {
	var list []Backup
	for id, err := range b.ids(ctx, manifests) {
		if err != nil {
			return nil, err
		}
		backup, err := b.Show(ctx, id)
		if fault.Of(err) == fault.NotFound {
			continue // pruned meanwhile, or a stale list
		}
		if err != nil {
			return nil, err
		}
		list = append(list, backup)
	}
	slices.SortStableFunc(list, func(x, y Backup) int { return strings.Compare(x.ID, y.ID) })
	return list, nil
}

// ids is the ids of which there is an object of that kind.
func (b Backups) ids(ctx context.Context, kind string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		prefix := folder(b.Cluster, kind)
		for info, err := range b.Store.List(ctx, prefix, "") {
			if err != nil {
				yield("", err)
				return
			}
			id, isJSON := strings.CutSuffix(strings.TrimPrefix(info.Name, prefix), jsonSuffix)
			if _, ok := parseID(id); isJSON && ok && !yield(id, nil) {
				return
			}
		}
	}
}

// Hold keeps a backup until Release, whatever the retention says.
func (b Backups) Hold(ctx context.Context, id string, h Hold) error {
	if _, err := b.Show(ctx, id); err != nil {
		return err
	}
	return b.put(ctx, b.object(holds, id), h, blob.Replace)
}

// Release ends a hold. One that does not exist is no error.
func (b Backups) Release(ctx context.Context, id string) error {
	if err := ValidID(id); err != nil {
		return err
	}
	return b.Store.Delete(ctx, b.object(holds, id))
}
