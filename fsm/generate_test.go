package fsm

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// drawLog draws a log of n entries over names few enough that commands meet:
// most kinds are accepted at times and rejected at others.
func drawLog(rt *rapid.T, t testing.TB, n int) []Entry {
	log := make([]Entry, n)
	index, term, stamp := uint64(0), uint64(1), record.LogTime(0)
	for i := range log {
		index += rapid.Uint64Range(1, 3).Draw(rt, "gap")
		term += rapid.Uint64Range(0, 1).Draw(rt, "term")
		stamp += record.LogTime(rapid.Uint64Range(0, 40_000).Draw(rt, "ms")) << 16
		if rapid.IntRange(0, 7).Draw(rt, "day") == 0 {
			stamp += record.LogTime(25*60*60*1000) << 16 // idempotency keys and producers end
		}
		e := Entry{Index: index, Term: term}
		if rapid.IntRange(0, 9).Draw(rt, "entry") == 0 {
			e.Kind, e.Data = EntryConfiguration, fmt.Appendf(nil, "configuration of %d", index)
		} else {
			e.Data = drawEnvelope(rt, t, stamp)
		}
		log[i] = e
	}
	return log
}

func drawEnvelope(rt *rapid.T, t testing.TB, stamp record.LogTime) []byte {
	var encoded [][]byte
	for range rapid.IntRange(0, 6).Draw(rt, "commands") {
		p := drawProposal(rt)
		encoded = append(encoded, encodeUnchecked(t, &p))
	}
	data, err := AppendEnvelope(stamp, encoded)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func drawProposal(rt *rapid.T) Proposal {
	number := func(name string, high int) int { return rapid.IntRange(0, high).Draw(rt, name) }
	p := Proposal{Actor: drawPrincipal(rt), Command: drawCommand(rt)}
	if !kinds[p.Command.kind()].clusterWide {
		p.Scope = record.Scope(number("scope", 9) / 9)
	}
	if number("produced", 2) > 0 {
		p.Producer = testID(1 + number("producer", 2))
		p.Acked = uint64(number("acked", 6))
		p.Sequence = p.Acked + 1 + uint64(number("sequence", 6))
	}
	if number("fenced", 9) == 0 {
		p.Term = uint64(1 + number("fence", 3))
	}
	if number("keyed", 4) == 0 {
		p.Idempotency = &Idempotency{Route: "PUT /v1", Key: string(rune('a' + number("key", 2))), Hash: [32]byte{byte(number("hash", 1))}}
	}
	return p
}

func drawPrincipal(rt *rapid.T) record.Principal {
	return record.Principal{Issuer: "dev", Subject: rapid.SampledFrom([]string{"alice", "bob"}).Draw(rt, "subject")}
}

func drawCommand(rt *rapid.T) Command {
	number := func(name string, high int) int { return rapid.IntRange(0, high).Draw(rt, name) }
	key := func() string { return string(rune('a' + number("name", 3))) }
	revision := func() uint64 { return uint64(number("revision", 9)) }
	at := func() record.LogTime { return record.LogTime(number("at", 400_000)) << 16 }
	typ := rapid.SampledFrom([]record.EntryType{record.TypeTool, record.TypeSession}).Draw(rt, "type")
	switch kind(1 + number("kind", len(kinds)-2)) {
	case kindEpochStart:
		return &EpochStart{Node: key(), Process: testID(number("process", 2)), Supports: 1}
	case kindInitCluster:
		return &InitCluster{ID: testID(number("cluster", 1)), Name: key(), Timeline: record.Timeline{Number: 1}}
	case kindSetClusterVersion:
		return &SetClusterVersion{Version: uint32(number("version", MaxVersion))}
	case kindOpenProducer:
		return &OpenProducer{ID: testID(1 + number("producer", 2)), Node: key()}
	case kindCloseProducers:
		return &CloseProducers{IDs: []record.ID{testID(1 + number("producer", 2))}}
	case kindDigestCheck:
		return &DigestCheck{}
	case kindPutMember:
		return &PutMember{Member: record.Member{Node: key(), Disk: testID(1 + number("disk", 1)), Process: testID(1 + number("process", 1)), PeerAddr: "x:1"}}
	case kindRemoveMember:
		return &RemoveMember{Node: key(), Disk: testID(1 + number("disk", 1))}
	case kindAcquireClaim:
		return &AcquireClaim{Claim: record.Claim{Name: key(), Node: key(), Process: testID(1)}, Replaces: revision()}
	case kindReleaseClaim:
		return &ReleaseClaim{Name: key(), Token: revision()}
	case kindRegisterEntry:
		return &RegisterEntry{Entry: record.Entry{Type: typ, Key: key(), Location: key()}, IfRevision: revision() / 5}
	case kindUnregisterEntry:
		return &UnregisterEntry{Type: typ, Key: key(), IfRevision: revision() / 5}
	case kindCreateSession:
		return &CreateSession{
			Session: record.Session{ID: key(), Principal: drawPrincipal(rt), ClientID: key(), State: record.Active, OwnerNode: key(), TTL: uint64(1000 * number("ttl", 20))},
			Evict:   rapid.SampledFrom([]string{"", "a", "b"}).Draw(rt, "evict"),
		}
	case kindMoveSession:
		return &MoveSession{ID: key(), To: record.SessionState(number("state", 5)), ByAdmin: number("admin", 1) == 1, Reason: key()}
	case kindTouchSessions:
		return &TouchSessions{Touches: []Touch{{ID: key(), LastActive: at()}, {ID: key(), LastActive: at()}}}
	case kindExpireSessions:
		return &ExpireSessions{Candidates: []Expiry{{ID: key(), SeenLastActive: at()}, {ID: key(), SeenLastActive: at()}}}
	case kindPurgeSessions:
		return &PurgeSessions{IDs: []string{key(), key()}}
	case kindUpdateSession:
		return &UpdateSession{ID: key(), OwnerNode: new(key()), Metadata: &map[string]string{key(): key()}}
	case kindPutSessionSettings:
		return &PutSessionSettings{Settings: record.SessionSettings{
			TTL: 5000, MaxTotal: uint64(2 + number("total", 2)), MaxPerPrincipal: uint64(1 + number("per", 1)), CleanupInterval: 1000, TombstoneTTL: 1000,
		}}
	case kindPutUpstream:
		return &PutUpstream{Upstream: record.Upstream{Alias: key(), Transport: "stdio", Command: key()}, IfRevision: revision() / 5}
	case kindRemoveUpstream:
		return &RemoveUpstream{Alias: key(), IfRevision: revision() / 5}
	case kindActivateSessions:
		return &ActivateSessions{IDs: []string{key(), key()}}
	case kindBindSession:
		return &BindSession{ID: key(), Binding: record.Binding{Alias: key(), Session: []byte(key())}, Remove: number("remove", 2) == 0}
	case kindPutCalls:
		return &PutCalls{Calls: []record.Call{{
			ID: testID(1 + number("call", 2)), Session: key(), RequestID: []byte("1"), Alias: key(), LastEventID: []byte(key()),
		}}}
	case kindDropCalls:
		return &DropCalls{IDs: []record.ID{testID(1 + number("call", 2)), testID(1 + number("call", 2))}}
	case kindPutToken:
		return &PutToken{Token: record.Token{Name: key(), Hash: make([]byte, record.TokenHashBytes), Principal: drawPrincipal(rt), Expires: at()}, IfRevision: revision() / 5}
	case kindRevokeToken:
		return &RevokeToken{Name: key(), IfRevision: revision() / 5}
	case kindPutKeyRing:
		return &PutKeyRing{Ring: record.KeyRing{Sealed: []byte(key())}, IfRevision: revision() / 5}
	case kindStagePage:
		page := record.SlicePage{Slice: record.SliceID{Alias: key()}, Items: []record.ListItem{{Kind: record.ListTools, Name: key(), Raw: []byte("{}")}}}
		if page.Number = uint32(number("page", 2)); page.Number > 0 {
			page.Generation = 1 + revision()
		}
		return &StagePage{Page: page}
	case kindSwapSlice:
		c := &SwapSlice{Slice: testSlice(key()), Announce: []record.ListKind{record.ListKind(1 + number("list", 3))}}
		c.Slice.Upstream, c.Slice.Generation, c.Slice.Pages = 1+revision(), 0, uint32(number("pages", 2))
		if c.Slice.Pages > 0 {
			c.Slice.Generation = 1 + revision()
		}
		return c
	case kindFailSlice:
		return &FailSlice{ID: record.SliceID{Alias: key()}, Upstream: 1 + revision(), Error: key()}
	case kindDropPages:
		return &DropPages{Pages: []record.PageID{{Slice: record.SliceID{Alias: key()}, Generation: 1 + revision(), Number: uint32(number("page", 2))}}}
	case kindArchiveAdvance:
		sequence := uint64(1 + number("sequence", 3))
		c := &ArchiveAdvance{Timeline: record.Timeline{Number: 1}, Sequence: sequence, First: uint64(1 + number("first", 9)), Hash: record.Hash{byte(sequence)}, Gap: sequence > 1 && number("gap", 3) == 0}
		if sequence > 1 {
			c.Previous = record.Hash{byte(sequence - 1)}
		}
		c.Last = c.First + uint64(number("last", 9))
		return c
	case kindNoteBackup:
		return &NoteBackup{Timeline: record.Timeline{Number: 1}, Backup: record.Backup{ID: key(), Index: 1 + revision()}}
	case kindPutLabel:
		return &PutLabel{Name: key()}
	case kindNoteVerification:
		return &NoteVerification{Timeline: record.Timeline{Number: 1}, Verification: record.Verification{Backup: key(), Depth: record.Depth(1 + number("depth", 2)), TookMS: revision()}}
	case kindRemoveLabels:
		return &RemoveLabels{Names: []string{key(), key()}}
	case kindPutCredential:
		return &PutCredential{Credential: record.Credential{Name: key(), Kind: record.CredentialHeader, Secret: []byte(key())}, IfRevision: revision() / 5}
	case kindRemoveCredential:
		return &RemoveCredential{Name: key(), IfRevision: revision() / 5}
	case kindSealCredential:
		return &SealCredential{Name: key(), IfRevision: revision() + 1, Fence: revision() / 5, Token: []byte(key()), TokenExpires: at()}
	default:
		return &SweepIdempotency{Keys: []IdempotencyID{(&Idempotency{Route: "PUT /v1", Key: key()}).id(drawPrincipal(rt))}}
	}
}

// drawSplit cuts a log into batches.
func drawSplit(rt *rapid.T, log []Entry) [][]Entry {
	var batches [][]Entry
	for len(log) > 0 {
		n := rapid.IntRange(1, len(log)).Draw(rt, "batch")
		batches = append(batches, log[:n])
		log = log[n:]
	}
	return batches
}
