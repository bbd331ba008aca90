package catalog

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
)

const kinds = 5 // indexes of arrays by Kind, of which 0 is none

// A Slice is what one upstream lists, and what is known of the upstream from
// listing it. It never changes.
type Slice struct {
	Alias      string
	Generation uint64 // of the items; another one means that they were listed anew
	Revision   uint64 // of the slice's record

	Listed time.Time // when it was first listed as it is; zero: it never was
	Err    string    // why the newest listing failed; "" if it went well
	Failed time.Time // since when there is an Err

	Modern       bool          // the upstream's era
	Protocol     string        // the upstream's revision
	Capabilities []byte        // JSON object; nil if nothing is known
	ServerInfo   []byte        // JSON object; nil if nothing is known
	Instructions string        // for models
	TTL          time.Duration // that the upstream says its lists are good for; 0: it does not say

	Quarantined []record.Quarantined // the first of the items that nobody is shown
	Hidden      int                  // how many of them there are in all
	Truncated   bool                 // the upstream lists more than a slice may have

	announced [kinds]uint64
	items     *[kinds][]*Item
}

// NewSlice is the slice of a record with these items. Their order does not matter.
func NewSlice(r *record.Slice, items []record.ListItem) *Slice {
	return newSlice(r, newItems(r.ID.Alias, items))
}

func newSlice(r *record.Slice, items *[kinds][]*Item) *Slice {
	s := &Slice{
		Alias: r.ID.Alias, Generation: r.Generation, Revision: r.Revision,
		Listed: timeOf(r.Listed), Err: r.Error, Failed: timeOf(r.Failed),
		Modern: r.Modern, Protocol: r.Protocol, Capabilities: r.Capabilities, ServerInfo: r.ServerInfo,
		Instructions: r.Instructions, TTL: time.Duration(r.TTL) * time.Millisecond,
		Quarantined: r.Quarantined, Hidden: int(r.Hidden), Truncated: r.Truncated,
		items: items,
	}
	for _, k := range Kinds() {
		s.announced[k] = r.AnnouncedAt(k)
	}
	return s
}

func timeOf(t record.LogTime) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return t.Time()
}

// Items are the items of a kind, in list order. The caller does not change them.
func (s *Slice) Items(k Kind) []*Item { return s.items[k] }

// A View is the catalogue at one moment: what all upstreams that are registered
// and enabled list. It never changes; any goroutine may use it.
type View struct {
	slices map[string]*Slice
	order  []string // aliases, ascending
	lists  [kinds][]*Item
}

// NewView is the catalogue of these slices, one for each upstream.
func NewView(list ...*Slice) *View {
	v := &View{slices: make(map[string]*Slice, len(list))}
	for _, s := range list {
		v.slices[s.Alias] = s
	}
	v.order = slices.Sorted(maps.Keys(v.slices))
	for _, k := range Kinds() {
		v.lists[k] = v.join(k)
	}
	return v
}

// join is the list of one kind of all upstreams. The names of one upstream mostly lie
// together, so that their lists in the order of their first names are nearly sorted.
func (v *View) join(k Kind) []*Item {
	var parts [][]*Item
	for _, s := range v.slices { // order: sorted below
		if len(s.items[k]) > 0 {
			parts = append(parts, s.items[k])
		}
	}
	slices.SortFunc(parts, func(a, b []*Item) int { return compareItems(a[0], b[0]) })
	all := slices.Concat(parts...)
	slices.SortFunc(all, compareItems)
	return all
}

// Items are all items of a kind, in list order: by public name. The caller does
// not change them.
func (v *View) Items(k Kind) []*Item { return v.lists[k] }

// Find is the item that the aggregate calls public.
func (v *View) Find(k Kind, public string) (*Item, bool) {
	i, ok := v.position(k, public)
	if !ok {
		return nil, false
	}
	return v.lists[k][i], true
}

func (v *View) position(k Kind, public string) (int, bool) {
	return slices.BinarySearchFunc(v.lists[k], public, func(i *Item, public string) int {
		return strings.Compare(i.Public, public)
	})
}

// Slice is what the upstream of that alias lists; false if it is not registered,
// disabled, or was never reached for.
func (v *View) Slice(alias string) (*Slice, bool) {
	s, ok := v.slices[alias]
	return s, ok
}

// Slices are the slices of all upstreams by ascending alias.
func (v *View) Slices() iter.Seq[*Slice] {
	return func(yield func(*Slice) bool) {
		for _, alias := range v.order {
			if !yield(v.slices[alias]) {
				return
			}
		}
	}
}
