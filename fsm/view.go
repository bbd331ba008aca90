package fsm

import (
	"bytes"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// A View is the state after one entry; later ones do not change it. It is for
// one goroutine at a time, and must be closed: while it is open, Pebble keeps
// what was overwritten since. A restore does not disturb it.
//
// Reads of one record that does not exist are NotFound. A list is an iterator
// whose last pair carries the error, if there is one; it is in the order of its
// keys, starts behind the given key, and has no limit of its own: the caller
// stops.
type View struct{ *moment }

// View opens a View of the newest applied state.
func (m *Machine) View() (*View, error) {
	at, err := m.now()
	if err != nil {
		return nil, err
	}
	return &View{at}, nil
}

// Close ends v. It may be called again.
func (v *View) Close() {
	if v.moment != nil {
		v.release()
		v.moment = nil
	}
}

// Meta is where the state of v stands.
func (v *View) Meta() Meta { return v.meta }

func viewRecord[T any](v *View, what any, key []byte) (T, error) {
	var r T
	found, err := readRecord(v.snap, key, &r)
	if err == nil && !found {
		err = fault.New(fault.NotFound, "%s does not exist", what)
	}
	return r, err
}

// viewRecords lists the records of a key range.
func viewRecords[T any](v *View, lower, upper []byte) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for kv, err := range scanRange(v.snap, lower, upper) {
			var r T
			if err == nil {
				if err = record.Unmarshal(kv.value, &r); err != nil {
					err = decodeFault(kv.key, err)
				}
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// page is the range of the keys prefix ‖ text with text > behind; an empty
// behind starts at the first.
func page(prefix []byte, behind string) (lower, upper []byte) {
	if behind == "" {
		return prefix, prefixEnd(prefix)
	}
	return after(append(slices.Clone(prefix), behind...)), prefixEnd(prefix)
}

func (v *View) count(key []byte) (uint64, error) {
	data, closer, err := v.snap.Get(key)
	if err == pebble.ErrNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, readFault(key, err)
	}
	defer closer.Close()
	n, err := decodeCount(data)
	if err != nil {
		return 0, decodeFault(key, err)
	}
	return n, nil
}

// WhereIs is the registry entry of that type and key; a live session is an
// entry of TypeSession. Its Metadata may be shared: the caller does not change it.
func (v *View) WhereIs(scope record.Scope, typ record.EntryType, key string) (record.Entry, error) {
	if typ == record.TypeSession {
		s, err := v.Session(scope, key)
		if err == nil && s.State.Live() {
			return sessionEntry(&s), nil
		}
		if err != nil && fault.Of(err) != fault.NotFound {
			return record.Entry{}, err
		}
	}
	name := foundName{scope, typ, key}
	if e, ok := v.found.get(name); ok {
		return e, nil
	}
	e, err := viewRecord[record.Entry](v, entryName{typ, key}, entryKey(scope, typ, key))
	if err == nil {
		v.found.put(name, e)
	}
	return e, err
}

// sessionEntry is how a live session appears in the registry.
func sessionEntry(s *record.Session) record.Entry {
	return record.Entry{
		Type:      record.TypeSession,
		Key:       s.ID,
		Metadata:  s.Metadata,
		OwnerNode: s.OwnerNode,
		Created:   s.Created,
		Updated:   s.LastActive,
		Revision:  s.Revision,
		Principal: s.Principal,
	}
}

// Entries lists the registry entries of a type whose keys start with prefix,
// behind the key behind. Live sessions are among those of TypeSession.
func (v *View) Entries(scope record.Scope, typ record.EntryType, prefix, behind string) iter.Seq2[record.Entry, error] {
	lower, upper := prefixPage(entryPrefix(scope, typ), prefix, behind)
	registered := viewRecords[record.Entry](v, lower, upper)
	if typ != record.TypeSession {
		return registered
	}
	lower, upper = prefixPage(tableSession.key(scope), prefix, behind)
	return mergeEntries(registered, liveEntries(viewRecords[record.Session](v, lower, upper)))
}

// prefixPage is page for texts that also start with prefix.
func prefixPage(table []byte, prefix, behind string) (lower, upper []byte) {
	start := append(slices.Clone(table), prefix...)
	lower, upper = start, prefixEnd(start)
	if behind != "" && behind >= prefix {
		lower = after(append(slices.Clone(table), behind...))
	}
	if bytes.Compare(lower, upper) > 0 { // behind everything
		lower = upper
	}
	return lower, upper
}

func liveEntries(all iter.Seq2[record.Session, error]) iter.Seq2[record.Entry, error] {
	return func(yield func(record.Entry, error) bool) {
		for s, err := range all {
			if err == nil && !s.State.Live() {
				continue
			}
			if !yield(sessionEntry(&s), err) {
				return
			}
		}
	}
}

// mergeEntries joins two lists in the order of keys. No key is in both.
func mergeEntries(a, b iter.Seq2[record.Entry, error]) iter.Seq2[record.Entry, error] {
	return func(yield func(record.Entry, error) bool) {
		nextB, stop := iter.Pull2(b)
		defer stop()
		eb, errB, okB := nextB()
		for ea, errA := range a {
			for okB && (errB != nil || errA == nil && eb.Key < ea.Key) {
				if !yield(eb, errB) || errB != nil {
					return
				}
				eb, errB, okB = nextB()
			}
			if !yield(ea, errA) || errA != nil {
				return
			}
		}
		for okB {
			if !yield(eb, errB) {
				return
			}
			eb, errB, okB = nextB()
		}
	}
}

// Session is the session of that id, dead or alive.
func (v *View) Session(scope record.Scope, id string) (record.Session, error) {
	return viewRecord[record.Session](v, "the session", tableSession.textKey(scope, id))
}

// Sessions lists the sessions of a scope behind the id behind, the dead ones
// too.
func (v *View) Sessions(scope record.Scope, behind string) iter.Seq2[record.Session, error] {
	lower, upper := page(tableSession.key(scope), behind)
	return viewRecords[record.Session](v, lower, upper)
}

// SessionsByUser lists the sessions of a principal.
func (v *View) SessionsByUser(scope record.Scope, p record.Principal, behind string) iter.Seq2[record.Session, error] {
	return v.indexed(scope, textIndex(tableSessionByUser, scope, "", p.Issuer, p.Subject), behind)
}

// SessionsByClient lists the sessions of a client id; the empty one stands for
// those without.
func (v *View) SessionsByClient(scope record.Scope, client, behind string) iter.Seq2[record.Session, error] {
	return v.indexed(scope, textIndex(tableSessionByClient, scope, "", client), behind)
}

// SessionsByState lists the sessions in a state.
func (v *View) SessionsByState(scope record.Scope, state record.SessionState, behind string) iter.Seq2[record.Session, error] {
	return v.indexed(scope, sessionStatePrefix(scope, state), behind)
}

// SessionsByOwner lists the sessions whose streams a node holds; the empty name
// stands for those that nobody holds.
func (v *View) SessionsByOwner(scope record.Scope, node, behind string) iter.Seq2[record.Session, error] {
	return v.indexed(scope, textIndex(tableSessionByOwner, scope, "", node), behind)
}

// indexed lists the sessions that the keys of an index lead to.
func (v *View) indexed(scope record.Scope, prefix []byte, behind string) iter.Seq2[record.Session, error] {
	return func(yield func(record.Session, error) bool) {
		lower, upper := page(prefix, behind)
		for kv, err := range scanRange(v.snap, lower, upper) {
			var s record.Session
			if err == nil {
				s, err = v.followIndex(scope, kv.key, len(prefix))
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

func (v *View) followIndex(scope record.Scope, key []byte, prefix int) (record.Session, error) {
	s, err := v.Session(scope, string(key[prefix:]))
	if fault.Of(err) == fault.NotFound {
		return s, decodeFault(key, err) // an index that leads nowhere
	}
	return s, err
}

// SessionCount is the number of live sessions of a scope.
func (v *View) SessionCount(scope record.Scope) (uint64, error) {
	return v.count(sessionCountKey(scope))
}

// SessionCountOf is the number of live sessions of a principal.
func (v *View) SessionCountOf(scope record.Scope, p record.Principal) (uint64, error) {
	return v.count(sessionCountOfKey(scope, p))
}

// SessionSettings are the rules for the sessions of a scope.
func (v *View) SessionSettings(scope record.Scope) (record.SessionSettings, error) {
	s := record.DefaultSessionSettings()
	_, err := readRecord(v.snap, tableSessionSettings.key(scope), &s)
	return s, err
}

// Upstream is the upstream of that alias.
func (v *View) Upstream(scope record.Scope, alias string) (record.Upstream, error) {
	return viewRecord[record.Upstream](v, "upstream "+quote(alias), tableUpstream.textKey(scope, alias))
}

// Upstreams lists the upstreams of a scope behind the alias behind.
func (v *View) Upstreams(scope record.Scope, behind string) iter.Seq2[record.Upstream, error] {
	lower, upper := page(tableUpstream.key(scope), behind)
	return viewRecords[record.Upstream](v, lower, upper)
}

// Call is the call on the stream id that another node could take over.
func (v *View) Call(scope record.Scope, id record.ID) (record.Call, error) {
	return viewRecord[record.Call](v, "call "+id.Short(), callKey(scope, id))
}

// Calls lists the calls of a scope behind the id behind, in no useful order.
func (v *View) Calls(scope record.Scope, behind record.ID) iter.Seq2[record.Call, error] {
	text := ""
	if !behind.IsZero() {
		text = string(behind[:])
	}
	lower, upper := page(tableCall.key(scope), text)
	return viewRecords[record.Call](v, lower, upper)
}

// Token is the API token of that name.
func (v *View) Token(scope record.Scope, name string) (record.Token, error) {
	return viewRecord[record.Token](v, "token "+quote(name), tableToken.textKey(scope, name))
}

// Tokens lists the API tokens of a scope behind the name behind.
func (v *View) Tokens(scope record.Scope, behind string) iter.Seq2[record.Token, error] {
	lower, upper := page(tableToken.key(scope), behind)
	return viewRecords[record.Token](v, lower, upper)
}

// Credential is the credential for upstreams of that name.
func (v *View) Credential(scope record.Scope, name string) (record.Credential, error) {
	return viewRecord[record.Credential](v, "credential "+quote(name), tableCredential.textKey(scope, name))
}

// Credentials lists the credentials of a scope behind the name behind.
func (v *View) Credentials(scope record.Scope, behind string) iter.Seq2[record.Credential, error] {
	lower, upper := page(tableCredential.key(scope), behind)
	return viewRecords[record.Credential](v, lower, upper)
}

// KeyRing is the cluster's own keys, sealed.
func (v *View) KeyRing() (record.KeyRing, error) {
	return viewRecord[record.KeyRing](v, "the key ring", tableKeyRing.key(0))
}

// Member is the member of that node name.
func (v *View) Member(node string) (record.Member, error) {
	return viewRecord[record.Member](v, "member "+quote(node), tableMember.textKey(0, node))
}

// Members lists all members.
func (v *View) Members() iter.Seq2[record.Member, error] {
	lower, upper := page(tableMember.key(0), "")
	return viewRecords[record.Member](v, lower, upper)
}

// Claim is the claim of that name.
func (v *View) Claim(name string) (record.Claim, error) {
	return viewRecord[record.Claim](v, "claim "+quote(name), tableClaim.textKey(0, name))
}

// Claims lists the claims whose names start with prefix.
func (v *View) Claims(prefix string) iter.Seq2[record.Claim, error] {
	lower, upper := prefixPage(tableClaim.key(0), prefix, "")
	return viewRecords[record.Claim](v, lower, upper)
}

// Epoch is the epoch of the newest leader.
func (v *View) Epoch() (record.Epoch, error) {
	return viewRecord[record.Epoch](v, "an epoch", tableEpoch.key(0))
}

// Producers lists all producers that are not closed.
func (v *View) Producers() iter.Seq2[record.Producer, error] {
	lower, upper := page(tableProducer.key(0), "")
	return viewRecords[record.Producer](v, lower, upper)
}

// ExpiredIdempotency lists the remembered Idempotency-Keys of a scope whose time
// has passed at now, oldest first.
func (v *View) ExpiredIdempotency(scope record.Scope, now record.LogTime) iter.Seq2[IdempotencyID, error] {
	return func(yield func(IdempotencyID, error) bool) {
		prefix := tableIdempotencyByExpiry.key(scope)
		for kv, err := range scanRange(v.snap, prefix, expiryKey(scope, now+1)) {
			var id IdempotencyID
			if err == nil {
				copy(id[:], kv.key[len(prefix)+8:])
			}
			if !yield(id, err) || err != nil {
				return
			}
		}
	}
}
