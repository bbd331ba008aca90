package fsm

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// goldenCommands has one of each kind, with every field set.
func goldenCommands() []Command {
	p := record.Principal{Issuer: "https://idp.example", Subject: "alice"}
	return []Command{
		&EpochStart{Node: "node-1", Process: testID(0x11), Binary: "1.0.0", Supports: 1},
		&InitCluster{ID: testID(0xc1), Name: "prod", Timeline: record.Timeline{Number: 1, Salt: 0x5f3a90c1}},
		&SetClusterVersion{Version: 1},
		&OpenProducer{ID: testID(0x21), Node: "node-1"},
		&CloseProducers{IDs: []record.ID{testID(0x21), testID(0x22)}},
		&DigestCheck{At: 900, Digest: record.Digest{1, 2, 3}},
		&PutMember{Member: record.Member{
			Node: "node-1", Disk: testID(0x31), Process: testID(0x11), PeerAddr: "10.0.0.1:7442",
			AdminAddr: "10.0.0.1:7441", MCPAddr: "10.0.0.1:7440", Binary: "1.0.0", Supports: 1,
		}},
		&RemoveMember{Node: "node-1", Disk: testID(0x31)},
		&AcquireClaim{Claim: record.Claim{Name: "archiver", Node: "node-1", Process: testID(0x11)}, Replaces: 7},
		&ReleaseClaim{Name: "archiver", Token: 8},
		&RegisterEntry{Entry: record.Entry{
			Type: record.TypeTool, Key: "search", Metadata: map[string]string{"b": "2", "a": "1"},
			OwnerNode: "node-1", Location: "https://tools.example/search", Principal: p,
		}, IfRevision: 5},
		&UnregisterEntry{Type: record.TypeTool, Key: "search", IfRevision: 5},
		&CreateSession{Session: testSession(1, p), Evict: "session-0"},
		&MoveSession{ID: "session-1", To: record.Suspended, ByAdmin: true, Reason: "abuse", IfRevision: 5},
		&TouchSessions{Touches: []Touch{{ID: "session-1", LastActive: 1 << 40}, {ID: "session-2", LastActive: 2 << 40}}},
		&ExpireSessions{Candidates: []Expiry{{ID: "session-1", SeenLastActive: 1 << 40}}},
		&PurgeSessions{IDs: []string{"session-1"}},
		&UpdateSession{ID: "session-1", OwnerNode: new("node-2"), Metadata: &map[string]string{"tier": "gold"}, IfRevision: 5, LogLevel: new("warning")},
		&PutSessionSettings{Settings: record.DefaultSessionSettings()},
		&PutUpstream{Upstream: record.Upstream{
			Alias: "github", Transport: "http", URL: "https://mcp.example/github", SessionMode: "shared",
			RequestTimeout: 30_000, SecretRef: "github", Pool: record.Pool{Size: 4, MaxOverflow: 2, KeepAlive: 60_000, Timeout: 1000},
			Metadata: map[string]string{"team": "tools"},
		}, IfRevision: 5},
		&RemoveUpstream{Alias: "github", IfRevision: 5},
		&SweepIdempotency{Keys: []IdempotencyID{{1}, {2}}},
		&BindSession{ID: testSession(1, p).ID, Binding: testBinding(), IfRevision: 0},
		&PutCalls{Calls: []record.Call{{
			ID: testID(0x41), Session: testSession(1, p).ID, RequestID: []byte(`"r-1"`), Alias: "github", Protocol: "2025-11-25",
			UpstreamSession: []byte("sealed"), UpstreamRequest: []byte("7"), LastEventID: []byte("e-1"),
		}}},
		&DropCalls{IDs: []record.ID{testID(0x42)}},
		&PutToken{Token: record.Token{
			Name: "ci", Hash: bytes.Repeat([]byte{0xab}, record.TokenHashBytes), KeyID: 3, Principal: p,
			ClientID: "build", Admin: true, Scopes: []string{"mcp:call"}, Expires: 1 << 60,
		}},
		&RevokeToken{Name: "ci", IfRevision: 5},
		&PutKeyRing{Ring: record.KeyRing{Sealed: []byte("sealed keys")}},
		&ActivateSessions{IDs: []string{testSession(1, p).ID, "session-0"}},
		&StagePage{Page: record.SlicePage{
			Slice: record.SliceID{Alias: "github", Key: "team-a"}, Generation: 5, Number: 1, Items: []record.ListItem{
				{Kind: record.ListTools, Name: "search", Raw: []byte(`{"name":"search"}`)},
				{Kind: record.ListResources, Name: "note://a", Raw: []byte(`{"uri":"note://a"}`)},
			},
		}},
		&SwapSlice{Slice: testSlice("github"), Announce: []record.ListKind{record.ListTools, record.ListPrompts}},
		&FailSlice{ID: record.SliceID{Alias: "github", Key: "team-a"}, Upstream: 5, Error: "unreachable"},
		&DropPages{Pages: []record.PageID{{Slice: record.SliceID{Alias: "github", Key: "team-a"}, Generation: 5, Number: 1}}},
		&ArchiveAdvance{
			Timeline: record.Timeline{Number: 1, Salt: 0x5f3a90c1}, Sequence: 12, First: 88120, Last: 88999, LastTime: 1 << 40,
			Previous: record.Hash{2}, Hash: record.Hash{1}, Gap: true,
		},
		&NoteBackup{
			Timeline: record.Timeline{Number: 1, Salt: 0x5f3a90c1},
			Backup:   record.Backup{ID: "20260512T140210Z-88120-5f3a90c1", Index: 88120, LogTime: 1 << 40, Taken: 2 << 40},
		},
		&PutLabel{Name: "before-upgrade"},
		&RemoveLabels{Names: []string{"before-upgrade"}},
		&NoteVerification{
			Timeline:     record.Timeline{Number: 1, Salt: 0x5f3a90c1},
			Verification: record.Verification{Backup: "20260512T140210Z-88120-5f3a90c1", Depth: record.DepthDrill, TookMS: 41_000, At: 2 << 40},
		},
		&PutCredential{Credential: record.Credential{
			Name: "tracker", Kind: record.CredentialOAuth, TokenURL: "https://id.example/token", ClientID: "gateway",
			Scopes: []string{"read", "write"}, Resource: "https://tracker.example/", Secret: []byte("sealed secret"),
		}},
		&RemoveCredential{Name: "tracker", IfRevision: 9},
		&SealCredential{Name: "tracker", IfRevision: 7, Fence: 6, Token: []byte("sealed token"), TokenExpires: 1 << 60},
	}
}

func testSlice(alias string) record.Slice {
	return record.Slice{
		ID: record.SliceID{Alias: alias}, Generation: 5, Pages: 2, Digest: bytes.Repeat([]byte{0xcd}, record.SliceDigestBytes), Upstream: 5,
		Modern: true, Protocol: "2026-07-28", Capabilities: []byte(`{"tools":{}}`), ServerInfo: []byte(`{"name":"s"}`), Instructions: "Be kind.",
		TTL: 60_000, Quarantined: []record.Quarantined{{Kind: record.ListTools, Name: "bad", Reason: "no schema"}}, Hidden: 2, Truncated: true,
	}
}

func testBinding() record.Binding {
	return record.Binding{
		Alias: "github", Protocol: "2025-11-25", Session: []byte("sealed"),
		Subscriptions: []string{"note://a", "note://b"},
	}
}

func goldenProposal(c Command) Proposal {
	p := Proposal{
		Actor: record.Principal{Issuer: "https://idp.example", Subject: "alice"}, RequestID: "req-1",
		Producer: testID(0x21), Sequence: 42, Acked: 40, Term: 3,
		Idempotency: &Idempotency{Route: "PUT /v1/registry/{type}/{key}", Key: "k-1", Hash: [32]byte{0xaa}}, Command: c,
	}
	if !kinds[c.kind()].clusterWide {
		p.Scope = 7
	}
	return p
}

// golden compares data with the file of that name. `go test ./fsm -rewrite`
// writes the files; a change of one is a change of a format that is for ever.
func golden(t *testing.T, name string, data []byte) {
	t.Helper()
	goldenText(t, name+".hex", hexLines(data))
}

func goldenText(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if flag.Lookup("rewrite").Value.String() == "true" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is now\n%sand was\n%s", name, got, want)
	}
}

func hexLines(data []byte) string {
	var b strings.Builder
	for len(data) > 0 {
		n := min(len(data), 32)
		b.WriteString(hex.EncodeToString(data[:n]) + "\n")
		data = data[n:]
	}
	return b.String()
}

// documented checks that a page of docs/format shows the bytes.
func documented(t *testing.T, page string, data []byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "format", page))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), hexLines(data)) {
		t.Errorf("docs/format/%s does not show\n%s", page, hexLines(data))
	}
}

func TestGoldenCommands(t *testing.T) {
	seen := make(map[kind]bool)
	for _, c := range goldenCommands() {
		seen[c.kind()] = true
		p := goldenProposal(c)
		data, err := EncodeProposal(&p)
		if err != nil {
			t.Fatalf("%s: %v", CommandName(c), err)
		}
		golden(t, fmt.Sprintf("%02d-%s", c.kind(), CommandName(c)), data)
		back, err := DecodeProposal(data)
		if err != nil {
			t.Fatalf("%s: %v", CommandName(c), err)
		}
		again, err := EncodeProposal(&back)
		if err != nil || string(again) != string(data) {
			t.Errorf("%s does not survive decoding: %v", CommandName(c), err)
		}
	}
	for k := range kinds {
		if kind(k).known() && !seen[kind(k)] {
			t.Errorf("command %d has no golden bytes", k)
		}
	}
}

func goldenEnvelope(t testing.TB) []byte {
	data, err := (&Envelope{Time: 1_700_000_000_000 << 16, Proposals: []Proposal{
		goldenProposal(&UnregisterEntry{Type: record.TypeTool, Key: "search"}),
		{Actor: testActor, Command: &SetClusterVersion{Version: 1}},
	}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestGoldenEnvelope(t *testing.T) {
	data := goldenEnvelope(t)
	golden(t, "envelope", data)
	documented(t, "envelope.md", data)
	e, err := DecodeEnvelope(data)
	if err != nil || len(e.Proposals) != 2 || e.Time != 1_700_000_000_000<<16 {
		t.Errorf("decoded as %+v, %v", e, err)
	}
}

// TestGoldenState pins every key and value of a small state, its digest, and its
// snapshot stream.
func TestGoldenState(t *testing.T) {
	const upstreamAt, stagedAt = 13, 21 // revisions, as state.txt shows them
	m := openTest(t, vfs.NewMem())
	defer closeTest(t, m)
	var proposals []Proposal
	for _, c := range goldenCommands() {
		switch c := c.(type) {
		case *RegisterEntry:
			c.IfRevision = 0
		case *PutUpstream:
			c.IfRevision = 0
		case *AcquireClaim:
			c.Replaces = 0
		case *ArchiveAdvance:
			*c = ArchiveAdvance{Timeline: c.Timeline, Sequence: 1, First: 1, Last: 4, LastTime: c.LastTime, Hash: c.Hash}
		case *StagePage:
			c.Page.Slice.Key, c.Page.Generation, c.Page.Number = "", 0, 0
		case *SwapSlice:
			c.Slice.Upstream, c.Slice.Generation, c.Slice.Pages = upstreamAt, stagedAt, 1
		case *FailSlice:
			c.Upstream = upstreamAt
		case *RemoveLabels, *CloseProducers, *RemoveMember, *ReleaseClaim, *UnregisterEntry, *RemoveUpstream, *SetClusterVersion, *RevokeToken, *RemoveCredential:
			continue
		}
		p := goldenProposal(c)
		p.Scope, p.Idempotency, p.Term, p.Acked = 0, nil, 0, 0
		p.Producer, p.Sequence = record.ID{}, 0
		if c.kind() == kindRegisterEntry {
			p = goldenProposal(c)
			p.Term = 0
		}
		proposals = append(proposals, p)
	}
	entry := envelopeEntry(t, 5, 1_700_000_000_000<<16, proposals...)
	results, err := m.Apply([]Entry{{Index: 4, Term: 1, Kind: EntryConfiguration, Data: []byte("voters")}, entry})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i, o := range results[1] {
		fmt.Fprintf(&b, "%s: %s\n", CommandName(proposals[i].Command), outcomeLine(o))
	}
	for _, p := range dump(t, m) {
		fmt.Fprintf(&b, "%x %q\n  %x\n", p.key[:2], p.key[2:], p.value)
	}
	fmt.Fprintf(&b, "digest %v\n", m.Meta().Digest)
	goldenText(t, "state.txt", b.String())

	s := snapshotBytes(t, m)
	golden(t, "snapshot", s)
	empty := openTest(t, vfs.NewMem())
	defer closeTest(t, empty)
	documented(t, "snapshot.md", snapshotBytes(t, empty))
}

func TestGoldenKeys(t *testing.T) {
	s := testSession(1, testActor)
	text, err := os.ReadFile("../docs/format/keys.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range append([][]byte{
		entryKey(7, record.TypeTool, "search"),
		sessions.key(7, &s),
		packKey(testID(0x21), 5),
		sessionCountOfKey(7, testActor),
	}, sessions.indexes(7, &s)...) {
		if !strings.Contains(string(text), hex.EncodeToString(key)) {
			t.Errorf("docs/format/keys.md does not show the key %x (%q)", key, key)
		}
	}
	for id := range 256 {
		if name := tableID(id); strings.Contains(string(text), fmt.Sprintf("| `%02x` |", id)) != isTable(name) {
			t.Errorf("docs/format/keys.md and keys.go disagree on table %02x", id)
		}
	}
}

func isTable(id tableID) bool {
	switch id {
	case tableMeta, tableEpoch, tableMember, tableClaim, tableEntry, tableSessionEntryCount, tableUpstream,
		tableSession, tableSessionByUser, tableSessionByClient, tableSessionByState, tableSessionByOwner,
		tableSessionSettings, tableSessionCount, tableSessionCountByUser,
		tableCall, tableCallCount, tableToken, tableTokenCount, tableKeyRing,
		tableProducer, tableIdempotency, tableIdempotencyByExpiry, tableIdempotencyCount, tableIdempotencyCountByUser,
		tableWindow, tableProducerOfNode, tableArchive, tableLabel, tableLabelCount,
		tableCredential, tableCredentialCount, tableSlice, tableSlicePage, tableStaging, tableLocal:
		return true
	}
	return false
}

func TestCommandTableIsDocumented(t *testing.T) {
	const begin, end = "<!-- commands -->\n", "<!-- /commands -->"
	for _, page := range []string{"../docs/commands.md", "../ARCHITECTURE.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, _ := strings.Cut(string(text), begin)
		table, behind, ok := strings.Cut(rest, end)
		if flag.Lookup("rewrite").Value.String() == "true" {
			table = "\n" + CommandTable() + "\n"
			if err := os.WriteFile(page, []byte(before+begin+table+end+behind), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if !ok || strings.TrimSpace(table) != strings.TrimSpace(CommandTable()) {
			t.Errorf("%s differs from the commands; it should hold\n%s", page, CommandTable())
		}
	}
}

func TestDecodingIsStrict(t *testing.T) {
	valid := goldenEnvelope(t)
	p := goldenProposal(&UnregisterEntry{Type: record.TypeTool, Key: "search"})
	proposal, err := EncodeProposal(&p)
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string][]byte{
		"nothing":              nil,
		"another format":       append([]byte{2}, valid[1:]...),
		"what follows":         append(append([]byte{}, valid...), 0),
		"a cut":                valid[:len(valid)-1],
		"a long head":          {1, 0x98, 2, 0, 0x80},
		"an array of three":    {1, 0x83, 0, 0x80, 0},
		"too many commands":    {1, 0x82, 0, 0x99, 0x04, 0x01},
		"a text for a stamp":   {1, 0x82, 0x60, 0x80},
		"an indefinite length": {1, 0x82, 0, 0x9f, 0xff},
		"too many bytes":       make([]byte, MaxEnvelopeBytes+1),
	}
	for name, data := range refused {
		if e, err := DecodeEnvelope(data); err == nil {
			t.Errorf("%s is accepted as %+v", name, e)
		}
	}
	if _, err := DecodeProposal(append(proposal, 0)); err == nil {
		t.Error("a proposal with a byte behind it is accepted")
	}
	for _, big := range []int{MaxEnvelopeCommands + 1, 2} {
		encoded := make([][]byte, big)
		encoded[0] = make([]byte, MaxEnvelopeBytes/big*2)
		if _, err := AppendEnvelope(0, encoded); big > 2 && fault.Of(err) != fault.TooLarge {
			t.Errorf("%d commands: %v", big, err)
		}
	}
	if _, err := AppendEnvelope(0, [][]byte{make([]byte, MaxProposalBytes)}); err != nil {
		t.Errorf("one command of the largest size: %v", err)
	}
	if _, err := AppendEnvelope(0, [][]byte{make([]byte, MaxProposalBytes+1)}); fault.Of(err) != fault.TooLarge {
		t.Errorf("one command above the largest size: %v", err)
	}
	invalid := Envelope{Proposals: []Proposal{p, {Actor: testActor, Command: &SetClusterVersion{}}}}
	if _, err := invalid.Encode(); err == nil || !strings.Contains(err.Error(), "command 1 of the envelope") {
		t.Errorf("a mistake is reported as %v", err)
	}
	data, err := AppendEnvelope(0, [][]byte{proposal, encodeUnchecked(t, &invalid.Proposals[1])})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeEnvelope(data); err == nil || !strings.Contains(err.Error(), "command 1 of the envelope") {
		t.Errorf("a mistake is reported as %v", err)
	}
}

// FuzzDecodeEnvelope: what decodes encodes again, to something that decodes to
// the same.
func FuzzDecodeEnvelope(f *testing.F) {
	f.Add(goldenEnvelope(f))
	for _, c := range goldenCommands() {
		data, err := (&Envelope{Time: 1, Proposals: []Proposal{goldenProposal(c)}}).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := DecodeEnvelope(data)
		if err != nil {
			return
		}
		first, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		e, err = DecodeEnvelope(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := e.Encode()
		if err != nil || string(first) != string(second) {
			t.Errorf("%x encodes as %x, %v", first, second, err)
		}
	})
}

// FuzzDecodeProposal: the same for one proposal; and a machine that applies it
// neither faults nor loses its digest.
func FuzzDecodeProposal(f *testing.F) {
	for _, c := range goldenCommands() {
		p := goldenProposal(c)
		data, err := EncodeProposal(&p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := DecodeProposal(data)
		if err != nil {
			return
		}
		first, err := EncodeProposal(&p)
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := p.Command.(*SetClusterVersion); ok && c.Version > MaxVersion {
			return // faults, as it should
		}
		m := newTest(t)
		p.Producer, p.Sequence, p.Acked, p.Term = record.ID{}, 0, 0, 0
		applyAll(t, m, p)
		checkDigest(t, m)
		checkCounters(t, m)
		if p, err = DecodeProposal(first); err != nil {
			t.Fatal(err)
		}
		if second, err := EncodeProposal(&p); err != nil || string(first) != string(second) {
			t.Errorf("%x encodes as %x, %v", first, second, err)
		}
	})
}
