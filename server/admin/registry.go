package admin

import (
	"context"
	"iter"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

func (a *API) register(ctx context.Context, c *call, r *adminapi.RegisterRequest) (adminapi.Receipt, adminapi.Info, error) {
	typ, err := record.ParseEntryType(r.Type)
	if err != nil {
		return adminapi.Receipt{}, adminapi.Info{}, err
	}
	return a.write(ctx, c, r.WriteOptions, r, &fsm.RegisterEntry{
		Entry: record.Entry{
			Type:      typ,
			Key:       r.Key,
			Metadata:  r.Metadata,
			OwnerNode: r.OwnerNode,
			Location:  r.Location,
			Principal: c.caller,
		},
		IfRevision: r.IfMatch,
	})
}

func (a *API) unregister(ctx context.Context, c *call, r *adminapi.UnregisterRequest) (adminapi.Receipt, adminapi.Info, error) {
	typ, err := record.ParseEntryType(r.Type)
	if err != nil {
		return adminapi.Receipt{}, adminapi.Info{}, err
	}
	return a.writeUnversioned(ctx, c, r.WriteOptions, r, &fsm.UnregisterEntry{Type: typ, Key: r.Key, IfRevision: r.IfMatch})
}

func (a *API) whereIs(ctx context.Context, _ *call, r *adminapi.WhereIsRequest) (adminapi.Entry, adminapi.Info, error) {
	typ, err := record.ParseEntryType(r.Type)
	if err != nil {
		return adminapi.Entry{}, adminapi.Info{}, err
	}
	if r.Key == "" || len(r.Key) > record.MaxKey {
		return adminapi.Entry{}, adminapi.Info{}, fault.New(fault.Invalid, "key has %d bytes, want 1 to %d", len(r.Key), record.MaxKey)
	}
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Linearizable)
	if err != nil {
		return adminapi.Entry{}, info, err
	}
	defer view.Close()
	entry, err := view.WhereIs(0, typ, r.Key)
	if err != nil {
		return adminapi.Entry{}, info, err
	}
	info.Revision = entry.Revision
	return entryOf(&entry), info, nil
}

func (a *API) entries(ctx context.Context, _ *call, r *adminapi.EntriesRequest) (adminapi.Page[adminapi.Entry], adminapi.Info, error) {
	var none adminapi.Page[adminapi.Entry]
	typ, err := record.ParseEntryType(r.Type)
	if err != nil {
		return none, adminapi.Info{}, err
	}
	limit, skip, err := window(r)
	if err != nil {
		return none, adminapi.Info{}, err
	}
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Bounded)
	if err != nil {
		return none, info, err
	}
	defer view.Close()
	if typ == record.TypeSession {
		page, err := a.sessionEntries(ctx, view, r, limit, skip)
		return page, info, err
	}
	page, err := collect(view.Entries(0, typ, r.Prefix, r.After), limit, skip, entrySize, entryOf,
		func(e *record.Entry) string { return e.Key })
	return page, info, err
}

// window is the part of a list that r asks for.
func window(r *adminapi.EntriesRequest) (limit, skip int, err error) {
	limit, err = pageLimit(r.Limit)
	if err != nil {
		return 0, 0, err
	}
	switch {
	case r.Page > 0 && r.After != "":
		return 0, 0, fault.New(fault.Invalid, "after and page are given, at most one of them makes sense").
			WithHint("page through a list with after, set to the answer's next")
	case r.Page > 1 && (r.Page-1) > uint64(maxPageSkip/limit):
		return 0, 0, fault.New(fault.Invalid, "page %d of %d skips more than %d entries", r.Page, limit, maxPageSkip).
			WithHint("page through a long list with after, set to the answer's next")
	case r.Page > 1:
		skip = int(r.Page-1) * limit
	}
	return limit, skip, nil
}

func pageLimit(n uint64) (int, error) {
	if n > adminapi.MaxListLimit {
		return 0, fault.New(fault.Invalid, "limit %d is above %d", n, adminapi.MaxListLimit)
	}
	if n == 0 {
		return adminapi.DefaultListLimit, nil
	}
	return int(n), nil
}

// collect reads a page: skip records are passed over, then at most limit are
// taken, fewer if their bytes would pass maxPageBytes.
func collect[R, T any](records iter.Seq2[R, error], limit, skip int, size func(*R) int, convert func(*R) T, key func(*R) string) (adminapi.Page[T], error) {
	page := adminapi.Page[T]{Items: []T{}}
	bytes, last := 0, ""
	for r, err := range records {
		if err != nil {
			return adminapi.Page[T]{}, err
		}
		if skip > 0 {
			skip--
			continue
		}
		bytes += size(&r)
		if len(page.Items) == limit || len(page.Items) > 0 && bytes > maxPageBytes {
			page.Next = last
			break
		}
		page.Items = append(page.Items, convert(&r))
		last = key(&r)
	}
	return page, nil
}

// sessionEntries lists type session: what was registered by hand, and live
// sessions, whose keys are shown as hashes.
func (a *API) sessionEntries(ctx context.Context, view *fsm.View, r *adminapi.EntriesRequest, limit, skip int) (adminapi.Page[adminapi.Entry], error) {
	after := r.After
	if id, ok, err := a.sessionAfter(ctx, view, after); err != nil {
		return adminapi.Page[adminapi.Entry]{}, err
	} else if ok {
		after = id
	}
	var failed error
	page, err := collect(view.Entries(0, record.TypeSession, r.Prefix, after), limit, skip, entrySize,
		func(e *record.Entry) adminapi.Entry {
			wire := entryOf(e)
			secret, err := isSession(view, e.Key)
			if err != nil {
				failed = err
			}
			if secret {
				wire.Key = a.cursors.hash(e.Key)
			}
			return wire
		},
		func(e *record.Entry) string { return e.Key })
	if err == nil {
		err = failed
	}
	if err != nil {
		return adminapi.Page[adminapi.Entry]{}, err
	}
	if page.Next != "" {
		page.Next = page.Items[len(page.Items)-1].Key
	}
	return page, nil
}

func isSession(view *fsm.View, id string) (bool, error) {
	_, err := view.Session(0, id)
	if fault.Of(err) == fault.NotFound {
		return false, nil
	}
	return err == nil, err
}

func entrySize(e *record.Entry) int {
	return 256 + len(e.Key) + len(e.Location) + len(e.Principal.Issuer) + len(e.Principal.Subject) + metadataSize(e.Metadata)
}

func metadataSize(m map[string]string) int {
	n := 0
	for k, v := range m {
		n += len(k) + len(v) + 8
	}
	return n
}

func entryOf(e *record.Entry) adminapi.Entry {
	return adminapi.Entry{
		Type:      e.Type.String(),
		Key:       e.Key,
		Metadata:  e.Metadata,
		OwnerNode: e.OwnerNode,
		Location:  e.Location,
		Created:   adminapi.TimeOf(e.Created.Time()),
		Updated:   adminapi.TimeOf(e.Updated.Time()),
		Revision:  e.Revision,
		Principal: adminapi.Principal(e.Principal),
	}
}
