package record

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A ListKind is one of the lists that an upstream gives of what it has. Numbers
// are for ever.
type ListKind uint8

const (
	ListTools     ListKind = 1
	ListResources ListKind = 2
	ListTemplates ListKind = 3
	ListPrompts   ListKind = 4
)

// ListKinds are all of them, in the order in which a slice is sorted.
func ListKinds() []ListKind {
	return []ListKind{ListTools, ListResources, ListTemplates, ListPrompts}
}

var listKindNames = [...]string{ListTools: "tools", ListResources: "resources", ListTemplates: "templates", ListPrompts: "prompts"}

// String is how people call the list.
func (k ListKind) String() string {
	if !k.known() {
		return fmt.Sprintf("list %d", uint8(k))
	}
	return listKindNames[k]
}

func (k ListKind) known() bool { return k >= ListTools && k <= ListPrompts }

// Bounds of the catalogue, in bytes where nothing else is said.
const (
	MaxItemName       = MaxURL    // of a tool, prompt, resource or template
	MaxItemBytes      = 64 << 10  // of the JSON of an item
	MaxPageItems      = 1000      // of a page
	MaxPageBytes      = 100 << 10 // of a page: names, JSON and what each item adds to them
	MaxSliceItems     = 10_000
	MaxSliceBytes     = 8 << 20
	MaxSlicePages     = 200
	MaxSliceKey       = 64
	MaxSliceError     = 256
	MaxSliceMeta      = 16 << 10 // capabilities, server info and instructions, each
	MaxQuarantined    = 64       // items of a slice that are named; the others are counted
	MaxQuarantineName = 256
	SliceDigestBytes  = 32
)

// itemOverhead is what an item adds to its page beside its name and JSON, at most.
const itemOverhead = 16

// A ListItem is one tool, resource, resource template or prompt as the upstream
// listed it.
type ListItem struct {
	Kind ListKind `cbor:"1,keyasint"`
	Name string   `cbor:"2,keyasint"` // name, URI or URI template
	Raw  []byte   `cbor:"3,keyasint"` // the JSON object that the upstream gave
}

// Compare orders items in a slice: by kind, then by name.
func (i *ListItem) Compare(other *ListItem) int {
	return cmp.Or(cmp.Compare(i.Kind, other.Kind), strings.Compare(i.Name, other.Name))
}

// Size is about what i adds to the bytes of its page.
func (i *ListItem) Size() int { return len(i.Name) + len(i.Raw) + itemOverhead }

func (p *problems) listItem(field string, i *ListItem) {
	if !i.Kind.known() {
		p.add(field+".kind", "%d is not one of %d to %d", i.Kind, ListTools, ListPrompts)
	}
	p.text(field+".name", i.Name, MaxItemName, true)
	if len(i.Raw) == 0 || len(i.Raw) > MaxItemBytes {
		p.add(field+".raw", "has %d bytes, want 1 to %d", len(i.Raw), MaxItemBytes)
	}
}

// A SliceID names a slice: what one upstream lists for those who see the same of
// it. The empty Key stands for everybody.
type SliceID struct {
	Alias string `cbor:"1,keyasint"`
	Key   string `cbor:"2,keyasint,omitempty"`
}

func (s SliceID) String() string {
	if s.Key == "" {
		return s.Alias
	}
	return s.Alias + "/" + s.Key
}

// Validate reports every mistake of s.
func (s SliceID) Validate() error {
	p := problems{noun: "slice id"}
	p.sliceID(s)
	return p.err()
}

func (p *problems) sliceID(s SliceID) {
	p.name("alias", s.Alias, MaxAlias)
	p.text("key", s.Key, MaxSliceKey, false)
}

// A SlicePage is a part of a slice. Items ascend, in a page and from page to page.
type SlicePage struct {
	Slice      SliceID    `cbor:"1,keyasint"`
	Generation uint64     `cbor:"2,keyasint,omitempty"` // set when applied for the first page
	Number     uint32     `cbor:"3,keyasint,omitempty"` // 0, 1, 2 …
	Items      []ListItem `cbor:"4,keyasint"`
}

// Validate reports every mistake of s.
func (s *SlicePage) Validate() error {
	p := problems{noun: "page of a slice"}
	p.sliceID(s.Slice)
	if s.Number >= MaxSlicePages {
		p.add("number", "%d is not below %d", s.Number, MaxSlicePages)
	}
	if (s.Number == 0) != (s.Generation == 0) {
		p.add("generation", "%d does not go with page %d: the first page makes the generation, the others name it", s.Generation, s.Number)
	}
	if len(s.Items) == 0 || len(s.Items) > MaxPageItems {
		p.add("items", "are %d, want 1 to %d", len(s.Items), MaxPageItems)
		return p.err()
	}
	for i := range s.Items {
		field := fmt.Sprintf("items[%d]", i)
		p.listItem(field, &s.Items[i])
		if i > 0 && s.Items[i-1].Compare(&s.Items[i]) >= 0 {
			p.add(field, "is not in ascending order")
		}
	}
	if size := s.Size(); size > MaxPageBytes {
		p.add("items", "have %d bytes, the limit is %d", size, MaxPageBytes)
	}
	return p.err()
}

// Size is about the bytes of the items of s.
func (s *SlicePage) Size() int {
	size := 0
	for i := range s.Items {
		size += s.Items[i].Size()
	}
	return size
}

// Counts are numbers of items by ListKind - 1.
type Counts [4]uint32

// Of is the number of items of a kind.
func (c Counts) Of(k ListKind) uint32 { return c[k-1] }

// Total is the number of all items.
func (c Counts) Total() uint32 { return c[0] + c[1] + c[2] + c[3] }

// Add counts these items, too.
func (c *Counts) Add(items []ListItem) {
	for i := range items {
		c[items[i].Kind-1]++
	}
}

// A PageID names a page.
type PageID struct {
	Slice      SliceID `cbor:"1,keyasint"`
	Generation uint64  `cbor:"2,keyasint"`
	Number     uint32  `cbor:"3,keyasint,omitempty"`
}

// A Staging is a generation of a slice whose pages are being written. Only one of
// a slice can go on.
type Staging struct {
	Slice      SliceID `cbor:"1,keyasint"`
	Generation uint64  `cbor:"2,keyasint"` // the revision of its first page
	Pages      uint32  `cbor:"3,keyasint"` // written so far
	Items      Counts  `cbor:"4,keyasint"`
	Bytes      uint64  `cbor:"5,keyasint"`
}

// Validate reports every mistake of s.
func (s *Staging) Validate() error {
	p := problems{noun: "staging"}
	p.sliceID(s.Slice)
	if s.Generation == 0 || s.Pages == 0 {
		p.add("pages", "are %d of generation %d", s.Pages, s.Generation)
	}
	return p.err()
}

// A Quarantined is an item that an upstream lists and nobody is shown.
type Quarantined struct {
	Kind   ListKind `cbor:"1,keyasint"`
	Name   string   `cbor:"2,keyasint,omitempty"` // made printable and cut; "" if it has none
	Reason string   `cbor:"3,keyasint"`
}

// A Slice is what one upstream lists. The items are in Pages pages of its
// Generation.
type Slice struct {
	ID         SliceID `cbor:"1,keyasint"`
	Generation uint64  `cbor:"2,keyasint,omitempty"` // revision of its first page; 0: there are no items
	Pages      uint32  `cbor:"3,keyasint,omitempty"`
	Items      Counts  `cbor:"4,keyasint,omitzero"`  // set when applied
	Bytes      uint64  `cbor:"5,keyasint,omitempty"` // set when applied

	Digest   []byte `cbor:"6,keyasint,omitempty"` // of all that was listed, as who listed makes it; empty: nothing was ever listed
	Upstream uint64 `cbor:"7,keyasint"`           // revision of the upstream's record that was used

	Modern       bool   `cbor:"8,keyasint,omitempty"`  // the upstream's era
	Protocol     string `cbor:"9,keyasint,omitempty"`  // its revision
	Capabilities []byte `cbor:"10,keyasint,omitempty"` // JSON
	ServerInfo   []byte `cbor:"11,keyasint,omitempty"` // JSON
	Instructions string `cbor:"12,keyasint,omitempty"`
	TTL          uint64 `cbor:"13,keyasint,omitempty"` // ms that the upstream says its lists are good for; 0: it does not say

	Quarantined []Quarantined `cbor:"14,keyasint,omitempty"` // the first of them
	Hidden      uint32        `cbor:"15,keyasint,omitempty"` // how many are quarantined in all
	Truncated   bool          `cbor:"16,keyasint,omitempty"` // there is more than a slice may have

	Error  string  `cbor:"17,keyasint,omitempty"` // of the newest listing; "" if it went well
	Failed LogTime `cbor:"18,keyasint,omitempty"` // since when there is an Error; set when applied

	Listed    LogTime  `cbor:"19,keyasint,omitempty"` // when it was first listed as it is; set when applied
	Announced []uint64 `cbor:"20,keyasint,omitempty"` // by ListKind - 1: revision of the newest change, or word of one; set when applied
	Revision  uint64   `cbor:"21,keyasint,omitempty"` // set when applied
}

// Validate reports every mistake of s.
func (s *Slice) Validate() error {
	p := problems{noun: "slice"}
	p.sliceID(s.ID)
	if s.Pages > MaxSlicePages || (s.Pages == 0) != (s.Generation == 0) {
		p.add("pages", "are %d of generation %d, want 1 to %d, or 0 of generation 0", s.Pages, s.Generation, MaxSlicePages)
	}
	if len(s.Digest) != SliceDigestBytes {
		p.add("digest", "has %d bytes, want %d", len(s.Digest), SliceDigestBytes)
	}
	if s.Upstream == 0 {
		p.add("upstream", "names no revision")
	}
	p.text("protocol", s.Protocol, MaxProtocol, false)
	p.bounded("capabilities", len(s.Capabilities), MaxSliceMeta)
	p.bounded("server_info", len(s.ServerInfo), MaxSliceMeta)
	p.bounded("instructions", len(s.Instructions), MaxSliceMeta)
	if !utf8.ValidString(s.Instructions) {
		p.add("instructions", "are not valid UTF-8")
	}
	p.quarantined("quarantined", s.Quarantined)
	if int(s.Hidden) < len(s.Quarantined) {
		p.add("hidden", "%d is less than the %d that are named", s.Hidden, len(s.Quarantined))
	}
	return p.err()
}

func (p *problems) bounded(field string, size, limit int) {
	if size > limit {
		p.add(field, "has %d bytes, the limit is %d", size, limit)
	}
}

func (p *problems) quarantined(field string, list []Quarantined) {
	if len(list) > MaxQuarantined {
		p.add(field, "are %d, the limit is %d", len(list), MaxQuarantined)
		return
	}
	for i := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		if !list[i].Kind.known() {
			p.add(at+".kind", "%d is not one of %d to %d", list[i].Kind, ListTools, ListPrompts)
		}
		p.text(at+".name", list[i].Name, MaxQuarantineName, false)
		p.text(at+".reason", list[i].Reason, MaxReason, true)
	}
}

// Announce notes that the lists of these kinds have changed, or are said to have,
// at a revision.
func (s *Slice) Announce(kinds []ListKind, revision uint64) {
	if len(kinds) == 0 {
		return
	}
	list := make([]uint64, len(ListKinds()))
	copy(list, s.Announced)
	for _, k := range kinds {
		list[k-1] = revision
	}
	s.Announced = list
}

// AnnouncedAt is the revision at which the list of kind k was last said to have
// changed; 0 if never.
func (s *Slice) AnnouncedAt(k ListKind) uint64 {
	if !k.known() || len(s.Announced) < int(k) {
		return 0
	}
	return s.Announced[k-1]
}

// ValidListKinds reports why kinds cannot be those of an announcement, or nil: they
// must be known, and ascend.
func ValidListKinds(kinds []ListKind) error {
	p := problems{noun: "announcement"}
	for i, k := range kinds {
		if !k.known() || i > 0 && kinds[i-1] >= k {
			p.add(fmt.Sprintf("kinds[%d]", i), "%d is not known, or not in ascending order", k)
		}
	}
	return p.err()
}
