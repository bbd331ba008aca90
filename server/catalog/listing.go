package catalog

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"slices"
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// maxListPages bounds the pages of one list of an upstream.
const maxListPages = 1000

// Opened is what an upstream says of itself.
type Opened struct {
	Modern     bool
	Version    string // of the protocol
	Initialize []byte // the result of initialize, or the equivalent made from server/discover
}

// A list is how one kind is asked for.
type list struct {
	kind       Kind
	capability string
	method     string
	field      string // of the result
	optional   bool   // upstreams may have the capability and not know the method
}

// lists are asked for in this order. Where an upstream lists more than may be kept,
// it is the later ones that suffer.
var lists = []list{
	{Tool, "tools", mcp.ToolsList, "tools", false},
	{Prompt, "prompts", mcp.PromptsList, "prompts", false},
	{Template, "resources", mcp.TemplatesList, "resourceTemplates", true},
	{Resource, "resources", mcp.ResourcesList, "resources", false},
}

// A listing is what one walk through the lists of an upstream has found.
type listing struct {
	slice   record.Slice // without what is set when it is written
	items   []record.ListItem
	bytes   int // of items, about
	differs map[itemName]bool
	byName  map[itemName][]byte
}

type itemName struct {
	kind Kind
	name string
}

func newListing(alias string, o Opened) *listing {
	l := &listing{byName: make(map[itemName][]byte), differs: make(map[itemName]bool)}
	l.slice.ID.Alias = alias
	l.slice.Modern = o.Modern
	l.slice.Protocol = printable(o.Version, record.MaxProtocol)
	l.slice.Capabilities = bounded(mcp.Field(o.Initialize, "capabilities"))
	l.slice.ServerInfo = bounded(mcp.Field(o.Initialize, "serverInfo"))
	instructions, _ := mcp.Text(mcp.Field(o.Initialize, "instructions"))
	l.slice.Instructions = cut(instructions, record.MaxSliceMeta)
	return l
}

// bounded is an object if it is one that may be kept.
func bounded(object []byte) []byte {
	if len(object) == 0 || object[0] != '{' || len(object) > record.MaxSliceMeta {
		return nil
	}
	return strictjson.Compact(object)
}

// cut is the beginning of a text, of at most limit bytes.
func cut(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "")
}

// A requester sends a request to an upstream and gives the result.
type requester func(ctx context.Context, method string, params []byte) (result []byte, err error)

// walk asks for all lists that the upstream offers.
func (l *listing) walk(ctx context.Context, ask requester) error {
	for _, list := range lists {
		if mcp.Field(l.slice.Capabilities, list.capability) == nil {
			continue
		}
		err := l.walkList(ctx, list, ask)
		refusal, refused := errors.AsType[*mcp.Error](err)
		switch {
		case refused && list.optional && refusal.Code == mcp.CodeMethodNotFound:
		case refused:
			return fault.New(fault.Unreachable, "%s is answered by error %d: %s", list.method, refusal.Code, refusal.Message)
		case err != nil:
			return err
		}
	}
	return nil
}

func (l *listing) walkList(ctx context.Context, list list, ask requester) error {
	var cursor []byte
	for range maxListPages {
		var params []byte
		if cursor != nil {
			params = mcp.WithField(nil, cursor, "cursor")
		}
		result, err := ask(ctx, list.method, params)
		if err != nil {
			return err
		}
		array := mcp.Field(result, list.field)
		if len(array) == 0 || array[0] != '[' {
			return fault.New(fault.Unreachable, "%s gives no list of %s", list.method, list.field)
		}
		l.hints(result)
		for raw := range strictjson.Elements(array) {
			if !l.add(list.kind, strictjson.Compact(raw)) {
				return nil
			}
		}
		next := mcp.Field(result, "nextCursor")
		if len(next) == 0 || next[0] != '"' {
			return nil
		}
		if bytes.Equal(next, cursor) {
			break
		}
		cursor = bytes.Clone(next)
	}
	l.slice.Truncated = true
	return nil
}

// hints keeps the shortest time that the upstream says a list is good for.
func (l *listing) hints(result []byte) {
	var ttl uint64
	if raw := mcp.Field(result, "ttlMs"); raw != nil && mcp.Unmarshal(raw, &ttl) == nil && ttl > 0 {
		if l.slice.TTL == 0 || ttl < l.slice.TTL {
			l.slice.TTL = ttl
		}
	}
}

// add takes one item; false if there are as many as may be.
func (l *listing) add(k Kind, raw []byte) bool {
	name, reason := check(k, raw, l.slice.Modern)
	if reason != "" {
		l.quarantine(k, name, reason)
		l.slice.Truncated = l.slice.Truncated || l.slice.Hidden == record.MaxSliceItems
		return !l.slice.Truncated
	}
	id := itemName{k, name}
	if before, ok := l.byName[id]; ok {
		l.differs[id] = l.differs[id] || !bytes.Equal(before, raw)
		return true
	}
	item := record.ListItem{Kind: k, Name: name, Raw: raw}
	if len(l.byName) == record.MaxSliceItems || l.bytes+item.Size() > record.MaxSliceBytes {
		l.slice.Truncated = true
		return false
	}
	l.byName[id] = raw
	l.bytes += item.Size()
	return true
}

func (l *listing) quarantine(k Kind, name, reason string) {
	l.slice.Hidden++
	q := record.Quarantined{Kind: k, Name: printable(name, record.MaxQuarantineName), Reason: printable(reason, record.MaxReason)}
	at, _ := slices.BinarySearchFunc(l.slice.Quarantined, q, compareQuarantined)
	l.slice.Quarantined = slices.Insert(l.slice.Quarantined, at, q)
	if len(l.slice.Quarantined) > record.MaxQuarantined {
		l.slice.Quarantined = l.slice.Quarantined[:record.MaxQuarantined]
	}
}

func compareQuarantined(a, b record.Quarantined) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name), strings.Compare(a.Reason, b.Reason))
}

// finish puts what was found in order. Of a name with two definitions neither is
// kept: which of them a call would reach nobody can say.
func (l *listing) finish() {
	for id, raw := range l.byName { // order: sorted below
		if l.differs[id] {
			l.quarantine(id.kind, id.name, "it is listed more than once, and not as the same")
			continue
		}
		l.items = append(l.items, record.ListItem{Kind: id.kind, Name: id.name, Raw: raw})
	}
	slices.SortFunc(l.items, func(a, b record.ListItem) int { return a.Compare(&b) })
	l.slice.Digest = l.digest()
}

// digest is a hash of all that was found, by which two listings are compared.
func (l *listing) digest() []byte {
	h := sha256.New()
	head := l.slice
	head.Digest = nil
	if data, err := record.Marshal(&head); err == nil { // plain data within its limits
		hashPart(h, data)
	}
	for i := range l.items {
		_, _ = h.Write([]byte{byte(l.items[i].Kind)})
		hashPart(h, []byte(l.items[i].Name))
		hashPart(h, l.items[i].Raw)
	}
	return h.Sum(nil)
}

func hashPart(h hash.Hash, data []byte) {
	_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(data))))
	_, _ = h.Write(data)
}

// pages cuts the items into pages, in order.
func (l *listing) pages() [][]record.ListItem {
	var pages [][]record.ListItem
	from, size := 0, 0
	for i := range l.items {
		n := l.items[i].Size()
		if i > from && (size+n > record.MaxPageBytes || i-from == record.MaxPageItems) {
			pages = append(pages, l.items[from:i])
			from, size = i, 0
		}
		size += n
	}
	if from < len(l.items) {
		pages = append(pages, l.items[from:])
	}
	return pages
}
