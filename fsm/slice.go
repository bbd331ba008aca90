package fsm

import (
	"encoding/binary"
	"iter"
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// MaxDropPages bounds the pages of one DropPages: each is read once more.
const MaxDropPages = 16

var (
	slicesOf = table[record.Slice]{
		key: func(scope record.Scope, s *record.Slice) []byte { return sliceKey(tableSlice, scope, s.ID) },
	}
	stagings = table[record.Staging]{
		key: func(scope record.Scope, s *record.Staging) []byte { return sliceKey(tableStaging, scope, s.Slice) },
	}
)

func sliceKey(id tableID, scope record.Scope, slice record.SliceID) []byte {
	return append(appendPart(id.key(scope), slice.Alias), slice.Key...)
}

func pageKey(scope record.Scope, p record.PageID) []byte {
	k := appendPart(appendPart(tableSlicePage.key(scope), p.Slice.Alias), p.Slice.Key)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(k, p.Generation), p.Number)
}

// parsePageKey is the reverse of pageKey.
func parsePageKey(key []byte) (p record.PageID, err error) {
	const head, tail = 2 + 4, 8 + 4
	if len(key) >= head+tail {
		end := len(key) - tail
		parts := strings.Split(string(key[head:end]), "\x00")
		if len(parts) == 3 && parts[2] == "" {
			p.Slice = record.SliceID{Alias: parts[0], Key: parts[1]}
			p.Generation = binary.BigEndian.Uint64(key[end:])
			p.Number = binary.BigEndian.Uint32(key[end+8:])
			return p, nil
		}
	}
	return p, decodeFault(key, fault.New(fault.Integrity, "it names no page"))
}

func (t *tx) slice(id record.SliceID) *record.Slice {
	return slicesOf.get(t, sliceKey(tableSlice, t.scope, id))
}

func (t *tx) staging(id record.SliceID) *record.Staging {
	return stagings.get(t, sliceKey(tableStaging, t.scope, id))
}

// removeSlice forgets what an upstream lists. Its pages are dropped by whoever
// looks for those that nothing refers to.
func (t *tx) removeSlice(id record.SliceID) {
	if s := t.slice(id); s != nil {
		slicesOf.remove(t, s)
	}
	if s := t.staging(id); s != nil {
		stagings.remove(t, s)
	}
}

// listed judges a change of the slice of an upstream whose record was at the
// revision at when it was listed.
func (t *tx) listed(id record.SliceID, at uint64) (Outcome, bool) {
	u, revision := t.upstream(id.Alias)
	return match(u != nil, "upstream "+quote(id.Alias), revision, at)
}

// StagePage writes one page of a new generation of a slice, in their order; nobody
// sees it before SwapSlice. The first page makes the generation: it is the revision
// of the outcome. What was staged before and not swapped is given up.
type StagePage struct {
	Page record.SlicePage `cbor:"1,keyasint"`
}

func (*StagePage) kind() kind { return kindStagePage }

func (c *StagePage) validate() error { return c.Page.Validate() }

func (c *StagePage) apply(t *tx) Outcome {
	p := &c.Page
	if o, ok := t.listed(p.Slice, 0); !ok {
		return o
	}
	staging := t.staging(p.Slice)
	now := record.Staging{Slice: p.Slice, Generation: t.revision}
	if p.Number > 0 {
		if staging == nil || staging.Generation != p.Generation {
			return reject(fault.Fenced, "generation %d of slice %s is not being staged any more", p.Generation, p.Slice)
		}
		if p.Number != staging.Pages {
			return reject(fault.Conflict, "page %d of slice %s comes after %d pages", p.Number, p.Slice, staging.Pages)
		}
		now = *staging
	}
	p.Generation = now.Generation
	now.Pages++
	now.Items.Add(p.Items)
	now.Bytes += uint64(p.Size())
	stagings.put(t, staging, &now)
	t.put(pageKey(t.scope, record.PageID{Slice: p.Slice, Generation: p.Generation, Number: p.Number}), t.encode(p))
	return accept()
}

func (*StagePage) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "the upstream does not exist"},
		{fault.Fenced, "another generation is being staged, or none"},
		{fault.Conflict, "it does not follow the newest page"},
	}
}

// SwapSlice makes a staged generation what an upstream lists; one that is in place
// already stays, and only what else the slice says is replaced. Announce tells all
// nodes of a change of these lists, also of one that left them as they were.
type SwapSlice struct {
	Slice    record.Slice      `cbor:"1,keyasint"`
	Announce []record.ListKind `cbor:"2,keyasint,omitempty"`
}

func (*SwapSlice) kind() kind { return kindSwapSlice }

func (c *SwapSlice) validate() error {
	if err := c.Slice.Validate(); err != nil {
		return err
	}
	return record.ValidListKinds(c.Announce)
}

func (c *SwapSlice) apply(t *tx) Outcome {
	s := &c.Slice
	if o, ok := t.listed(s.ID, s.Upstream); !ok {
		return o
	}
	old, staging := t.slice(s.ID), t.staging(s.ID)
	s.Items, s.Bytes = record.Counts{}, 0
	switch {
	case s.Generation == 0:
	case old != nil && old.Generation == s.Generation && old.Pages == s.Pages:
		s.Items, s.Bytes = old.Items, old.Bytes
	case staging != nil && staging.Generation == s.Generation && staging.Pages == s.Pages:
		s.Items, s.Bytes = staging.Items, staging.Bytes
		stagings.remove(t, staging)
	default:
		return reject(fault.Fenced, "slice %s has no generation %d of %d pages", s.ID, s.Generation, s.Pages)
	}
	s.Listed, s.Announced = t.now, nil
	if old != nil {
		s.Announced = old.Announced
		if string(old.Digest) == string(s.Digest) {
			s.Listed = old.Listed
		}
	}
	s.Error, s.Failed, s.Revision = "", 0, t.revision
	s.Announce(c.Announce, t.revision)
	slicesOf.put(t, old, s)
	return accept()
}

func (*SwapSlice) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "the upstream does not exist"},
		{fault.Precondition, "the upstream is at another revision than the one that was listed"},
		{fault.Fenced, "the generation is neither staged to its end nor in place"},
	}
}

// FailSlice notes that an upstream could not be listed. What it listed before
// stays.
type FailSlice struct {
	ID       record.SliceID `cbor:"1,keyasint"`
	Upstream uint64         `cbor:"2,keyasint"` // revision of the upstream's record that was used
	Error    string         `cbor:"3,keyasint"`
}

func (*FailSlice) kind() kind { return kindFailSlice }

func (c *FailSlice) validate() error {
	if err := c.ID.Validate(); err != nil {
		return err
	}
	if c.Upstream == 0 {
		return fault.New(fault.Invalid, "the failure of slice %s names no revision of its upstream", c.ID)
	}
	return record.ValidText("error", c.Error, record.MaxSliceError)
}

func (c *FailSlice) apply(t *tx) Outcome {
	if o, ok := t.listed(c.ID, c.Upstream); !ok {
		return o
	}
	old := t.slice(c.ID)
	s := record.Slice{ID: c.ID}
	if old != nil {
		s = *old
	}
	if s.Failed == 0 {
		s.Failed = t.now
	}
	s.Error, s.Upstream, s.Revision = c.Error, c.Upstream, t.revision
	slicesOf.put(t, old, &s)
	return accept()
}

func (*FailSlice) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "the upstream does not exist"},
		{fault.Precondition, "the upstream is at another revision than the one that was tried"},
	}
}

// DropPages forgets pages that nothing refers to: of generations that were replaced
// or given up, and of upstreams that are gone. Pages that are in use, and unknown
// ones, are skipped. It answers Counts.
type DropPages struct {
	Pages []record.PageID `cbor:"1,keyasint"`
}

func (*DropPages) kind() kind { return kindDropPages }

func (c *DropPages) validate() error {
	if len(c.Pages) == 0 || len(c.Pages) > MaxDropPages {
		return fault.New(fault.Invalid, "the command has %d pages, want 1 to %d", len(c.Pages), MaxDropPages)
	}
	for i := range c.Pages {
		if err := c.Pages[i].Slice.Validate(); err != nil {
			return err
		}
	}
	return nil
}

func (c *DropPages) apply(t *tx) Outcome {
	var n Counts
	for _, p := range c.Pages {
		key := pageKey(t.scope, p)
		if inUse(p, t.slice(p.Slice), t.staging(p.Slice)) || t.get(key) == nil {
			n.Skipped++
			continue
		}
		t.remove(key)
		n.Changed++
	}
	return acceptCounts(t, n)
}

func (*DropPages) rejections() []rejection { return nil }

// inUse reports whether a page belongs to what is in place or being staged.
func inUse(p record.PageID, s *record.Slice, staging *record.Staging) bool {
	return s != nil && s.Generation == p.Generation || staging != nil && staging.Generation == p.Generation
}

// Slice is what an upstream lists, without the items.
func (v *View) Slice(scope record.Scope, id record.SliceID) (record.Slice, error) {
	return viewRecord[record.Slice](v, "slice "+quote(id.String()), sliceKey(tableSlice, scope, id))
}

// Slices lists the slices of a scope.
func (v *View) Slices(scope record.Scope) iter.Seq2[record.Slice, error] {
	lower, upper := page(tableSlice.key(scope), "")
	return viewRecords[record.Slice](v, lower, upper)
}

// SlicePages lists the pages of one generation of a slice.
func (v *View) SlicePages(scope record.Scope, id record.SliceID, generation uint64) iter.Seq2[record.SlicePage, error] {
	first := pageKey(scope, record.PageID{Slice: id, Generation: generation})
	return viewRecords[record.SlicePage](v, first, prefixEnd(first[:len(first)-4]))
}

// LoosePages lists the pages that nothing refers to.
func (v *View) LoosePages(scope record.Scope) iter.Seq2[record.PageID, error] {
	return func(yield func(record.PageID, error) bool) {
		var of record.SliceID
		var slice *record.Slice
		var staging *record.Staging
		for kv, err := range scan(v.snap, tableSlicePage.key(scope)) {
			var id record.PageID
			if err == nil {
				id, err = parsePageKey(kv.key)
			}
			if err == nil && id.Slice != of {
				of = id.Slice
				slice, staging, err = v.sliceAndStaging(scope, of)
			}
			if err == nil && inUse(id, slice, staging) {
				continue
			}
			if !yield(id, err) || err != nil {
				return
			}
		}
	}
}

// sliceAndStaging are the records of a slice; nil for one that there is not.
func (v *View) sliceAndStaging(scope record.Scope, id record.SliceID) (*record.Slice, *record.Staging, error) {
	var s record.Slice
	var staging record.Staging
	hasSlice, err := readRecord(v.snap, sliceKey(tableSlice, scope, id), &s)
	if err != nil {
		return nil, nil, err
	}
	isStaged, err := readRecord(v.snap, sliceKey(tableStaging, scope, id), &staging)
	if err != nil {
		return nil, nil, err
	}
	return pointerIf(hasSlice, &s), pointerIf(isStaged, &staging), nil
}

func pointerIf[T any](ok bool, v *T) *T {
	if !ok {
		return nil
	}
	return v
}
