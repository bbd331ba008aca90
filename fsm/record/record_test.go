package record

import (
	"bytes"
	"encoding/hex"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mcpraft/mcpraft/internal/fault"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files")

var alice = Principal{Issuer: "https://idp.example", Subject: "alice"}

// samples has one of each record, with every field set.
func samples() map[string]any {
	return map[string]any{
		"entry": &Entry{
			Type: TypeTool, Key: "search", Metadata: map[string]string{"b": "2", "a": "1"}, OwnerNode: "node-1",
			Location: "https://tools.example/search", Created: 1 << 40, Updated: 2 << 40, Revision: 5, Principal: alice,
		},
		"session": &Session{
			ID: "session-1", Principal: alice, ClientID: "client-1", State: Suspended, Created: 1 << 40, LastActive: 2 << 40,
			TTL: 60_000, Protocol: "2025-06-18", Capabilities: []byte(`{}`), Metadata: map[string]string{"tier": "gold"},
			OwnerNode: "node-1", Transport: "streamable-http", AuthMethod: "jwt", ByAdmin: true, Reason: "abuse", Ended: 3 << 40, Revision: 5,
			Endpoint: "github", ClientInfo: []byte(`{"name":"ide"}`), LogLevel: "warning", Bindings: []Binding{
				{Alias: "files", Protocol: "2024-11-05"},
				{Alias: "github", Protocol: "2025-11-25", Session: []byte("sealed"), Subscriptions: []string{"note://a", "note://b"}, Events: []byte{2, 7}},
			},
		},
		"call": &Call{
			ID: ID{1}, Session: "session-1", RequestID: []byte(`"r-1"`), Alias: "github", Protocol: "2025-11-25",
			UpstreamSession: []byte("sealed"), UpstreamRequest: []byte("7"), LastEventID: []byte("e-1"), Expires: 3 << 40,
		},
		"token": &Token{
			Name: "ci", Hash: bytes.Repeat([]byte{0xab}, TokenHashBytes), KeyID: 3, Principal: alice, ClientID: "build",
			Admin: true, Scopes: []string{"mcp:call"}, Created: 1 << 40, Expires: 3 << 40, Revision: 5,
		},
		"keyring":  &KeyRing{Sealed: []byte("sealed keys"), Updated: 2 << 40, Revision: 5},
		"settings": new(DefaultSessionSettings()),
		"upstream": &Upstream{
			Alias: "github", Transport: TransportHTTP, URL: "https://mcp.example/github", SessionMode: "shared",
			RequestTimeout: 30_000, SecretRef: "github", Pool: Pool{Size: 4, MaxOverflow: 2, KeepAlive: 60_000, Timeout: 1000},
			Disabled: true, Metadata: map[string]string{"team": "tools"}, Created: 1 << 40, Updated: 2 << 40, Revision: 5,
		},
		"upstream-stdio": &Upstream{
			Alias: "files", Transport: TransportStdio, Command: "mcp-files", SessionMode: ModePerSession,
			Recovery: RecoverRelocate, FailoverTimeout: 20_000, Created: 1 << 40, Updated: 2 << 40, Revision: 6,
		},
		"member": &Member{
			Node: "node-1", Disk: ID{1}, Process: ID{2}, PeerAddr: "10.0.0.1:7442", AdminAddr: "10.0.0.1:7441",
			MCPAddr: "10.0.0.1:7440", Binary: "1.0.0", Supports: 1, Started: 1 << 40, Revision: 5,
			Commands: []string{"files", "memory"},
		},
		"claim": &Claim{Name: "archiver", Node: "node-1", Process: ID{15: 0x11}, Acquired: 1_700_000_000_000 << 16, Token: 8},
		"credential": &Credential{
			Name: "tracker", Kind: CredentialOAuth, Header: "X-Token", TokenURL: "https://id.example/token", ClientID: "gateway",
			Scopes: []string{"read"}, Resource: "https://tracker.example/", Secret: []byte("sealed secret"),
			Token: []byte("sealed token"), TokenExpires: 3 << 40, Created: 1 << 40, Updated: 2 << 40, Revision: 5,
		},
		"producer": &Producer{ID: ID{1}, Node: "node-1", Opened: 1 << 40, Superseded: 2 << 40, Revision: 5},
		"slice": &Slice{
			ID: SliceID{Alias: "github", Key: "team-a"}, Generation: 5, Pages: 2, Items: Counts{30, 5, 4, 1}, Bytes: 9000, Digest: bytes.Repeat([]byte{0xcd}, SliceDigestBytes),
			Upstream: 4, Modern: true, Protocol: "2026-07-28", Capabilities: []byte(`{"tools":{}}`), ServerInfo: []byte(`{"name":"s"}`),
			Instructions: "Be kind.", TTL: 60_000, Quarantined: []Quarantined{{Kind: ListTools, Name: "bad", Reason: "no schema"}}, Hidden: 2,
			Truncated: true, Error: "unreachable", Failed: 3 << 40, Listed: 2 << 40, Announced: []uint64{7, 0, 0, 5}, Revision: 8,
		},
		"page": &SlicePage{Slice: SliceID{Alias: "github", Key: "team-a"}, Generation: 5, Number: 1, Items: []ListItem{
			{Kind: ListTools, Name: "search", Raw: []byte(`{"name":"search"}`)},
			{Kind: ListPrompts, Name: "greet", Raw: []byte(`{"name":"greet"}`)},
		}},
		"staging": &Staging{Slice: SliceID{Alias: "github", Key: "team-a"}, Generation: 5, Pages: 2, Items: Counts{30, 5, 4, 1}, Bytes: 9000},
		"archive": &Archive{
			Timeline: Timeline{Number: 1, Salt: 0x5f3a90c1}, Sequence: 12, First: 1, Last: 88999, LastTime: 1 << 40, Hash: Hash{1}, Advanced: 2 << 40, Gaps: 1,
			Backup: &Backup{ID: "20260512T140210Z-88120-5f3a90c1", Index: 88120, LogTime: 1 << 40, Taken: 2 << 40}, Revision: 5,
			Listed:  &Verification{Backup: "20260512T140210Z-88120-5f3a90c1", Depth: DepthFiles, At: 5 << 40},
			Decoded: &Verification{Backup: "20260512T140210Z-88120-5f3a90c1", Depth: DepthDecode, TookMS: 900, At: 4 << 40},
			Drilled: &Verification{Backup: "20260512T140210Z-88120-5f3a90c1", Depth: DepthDrill, TookMS: 41_000, At: 3 << 40},
		},
		"label": &Label{
			Name: "before-upgrade", Timeline: Timeline{Number: 1, Salt: 0x5f3a90c1}, Index: 88120, LogTime: 1 << 40, By: alice, Revision: 5,
		},
		"epoch": &Epoch{Term: 3, Node: "node-1", Process: ID{2}, Binary: "1.0.0", Supports: 1, Started: 1 << 40, Revision: 5},
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

func TestGoldenRecords(t *testing.T) {
	for name, v := range samples() {
		data, err := Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "golden", name+".hex")
		if *rewrite {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(hexLines(data)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if hexLines(data) != string(want) {
			t.Errorf("%s is now\n%sand was\n%s", name, hexLines(data), want)
		}
		back := reflect.New(reflect.TypeOf(v).Elem()).Interface()
		if err := Unmarshal(data, back); err != nil || !reflect.DeepEqual(v, back) {
			t.Errorf("%s is read back as %+v, %v", name, back, err)
		}
		if err := v.(interface{ Validate() error }).Validate(); err != nil {
			t.Error(err)
		}
	}
	claim, err := Marshal(samples()["claim"])
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/format/record.md")
	if err != nil || !strings.Contains(string(page), hexLines(claim)) {
		t.Errorf("docs/format/record.md does not show\n%s%v", hexLines(claim), err)
	}
}

// onlyStdio are the fields of an Upstream that the sample of one over HTTP must not
// set: of URL and Command, of SecretRef and Credential, one is valid.
var onlyStdio = map[string]bool{"Command": true, "Credential": true, "Recovery": true, "FailoverTimeout": true}

func TestSamplesSetEveryField(t *testing.T) {
	for name, v := range samples() {
		value := reflect.ValueOf(v).Elem()
		for i := range value.NumField() {
			field := value.Type().Field(i)
			skip := name == "upstream" && onlyStdio[field.Name] || name == "upstream-stdio" && (!onlyStdio[field.Name] || field.Name == "Credential")
			if value.Field(i).IsZero() && !skip {
				t.Errorf("golden %s has no %s", name, field.Name)
			}
			if field.Tag.Get("cbor") == "" {
				t.Errorf("%s.%s has no number", name, field.Name)
			}
		}
	}
}

func TestUnmarshalIsStrict(t *testing.T) {
	valid, err := Marshal(samples()["claim"])
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"nothing":           nil,
		"another version":   append([]byte{2}, valid[1:]...),
		"what follows":      append(bytes.Clone(valid), 0),
		"a cut":             valid[:len(valid)-1],
		"an unknown field":  {Version, 0xa1, 0x18, 0x63, 0x00},
		"a repeated field":  {Version, 0xa2, 0x01, 0x61, 0x61, 0x01, 0x61, 0x61},
		"an open map":       {Version, 0xbf, 0xff},
		"a tag":             {Version, 0xa1, 0x01, 0xc0, 0x61, 0x61},
		"a text for an int": {Version, 0xa1, 0x05, 0x61, 0x61},
		"a short id":        {Version, 0xa1, 0x03, 0x41, 0x01},
	} {
		if err := Unmarshal(data, new(Claim)); fault.Of(err) != fault.Integrity {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSameValueHasSameBytes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := rapid.MapOf(rapid.String(), rapid.String()).Draw(rt, "metadata")
		again := make(map[string]string)
		keys := sortedKeys(m)
		for i := range keys {
			again[keys[len(keys)-1-i]] = m[keys[len(keys)-1-i]]
		}
		a, errA := Marshal(Entry{Metadata: m})
		b, errB := Marshal(Entry{Metadata: again})
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			rt.Fatalf("%x, %v and %x, %v", a, errA, b, errB)
		}
	})
}

// TestValidateNamesEveryMistake has one mistake per line, and how the message
// begins to speak of it.
func TestValidateNamesEveryMistake(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n+1) }
	pairs := make(map[string]string)
	for i := range MaxMetadataPairs + 1 {
		pairs[long(i)] = ""
	}
	big := map[string]string{"k": long(MaxMetadataValue)}
	total := make(map[string]string)
	for i := range 17 {
		total[long(i)] = long(MaxMetadataValue - 1)
	}
	settings := func(change func(*SessionSettings)) *SessionSettings {
		s := DefaultSessionSettings()
		change(&s)
		return &s
	}
	session := func(change func(*Session)) *Session {
		s := Session{ID: "s", Principal: alice, State: Active, TTL: 60_000}
		change(&s)
		return &s
	}
	slice := func(change func(*Slice)) *Slice {
		s := Slice{ID: SliceID{Alias: "a"}, Digest: make([]byte, SliceDigestBytes), Upstream: 1}
		change(&s)
		return &s
	}
	upstream := func(change func(*Upstream)) *Upstream {
		u := Upstream{Alias: "a", Transport: TransportHTTP, URL: "https://x.example"}
		change(&u)
		return &u
	}
	stdio := func(change func(*Upstream)) *Upstream {
		u := Upstream{Alias: "a", Transport: TransportStdio, Command: "x"}
		change(&u)
		return &u
	}
	for _, c := range []struct {
		v    interface{ Validate() error }
		want string
	}{
		{&Entry{Type: 9, Key: "k"}, "type: 9 is unknown"},
		{&Entry{Type: TypeTool}, "key: is missing"},
		{&Entry{Type: TypeTool, Key: long(MaxKey)}, "key: has 513 bytes, the limit is 512"},
		{&Entry{Type: TypeTool, Key: "\xff"}, "key: is not valid UTF-8"},
		{&Entry{Type: TypeTool, Key: "a\x00b"}, "key: contains a control character"},
		{&Entry{Type: TypeTool, Key: "k", OwnerNode: "-a"}, "owner_node:"},
		{&Entry{Type: TypeTool, Key: "k", OwnerNode: long(MaxName)}, "owner_node: has 64 bytes"},
		{&Entry{Type: TypeTool, Key: "k", Location: long(MaxLocation)}, "location: has 2049 bytes"},
		{&Entry{Type: TypeTool, Key: "k", Metadata: pairs}, "metadata: has 65 pairs"},
		{&Entry{Type: TypeTool, Key: "k", Metadata: big}, "metadata.k: has 4097 bytes"},
		{&Entry{Type: TypeTool, Key: "k", Metadata: total}, "metadata: has "},
		{&Entry{Type: TypeTool, Key: "k", Metadata: map[string]string{"k": "\xff"}}, "metadata.k: is not valid UTF-8"},
		{&Entry{Type: TypeTool, Key: "k", Metadata: map[string]string{"": "v"}}, "metadata key: is missing"},
		{session(func(s *Session) { s.ID = "" }), "id: has 0 characters"},
		{session(func(s *Session) { s.ID = long(MaxSessionID) }), "id: has 129 characters"},
		{session(func(s *Session) { s.ID = "a b" }), "id: has a character outside visible ASCII at position 1"},
		{session(func(s *Session) { s.Principal.Issuer = "" }), "principal.issuer: is missing"},
		{session(func(s *Session) { s.Principal.Subject = long(MaxPrincipal) }), "principal.subject: has 513 bytes"},
		{session(func(s *Session) { s.ClientID = long(MaxClientID) }), "client_id: has 257 bytes"},
		{session(func(s *Session) { s.State = 0 }), "state: 0 is unknown"},
		{session(func(s *Session) { s.TTL = 999 }), "ttl: 999 ms is outside 1s to 720h"},
		{session(func(s *Session) { s.TTL = math.MaxUint64 }), "ttl: "},
		{session(func(s *Session) { s.Protocol = long(32) }), "protocol: has 33 bytes"},
		{session(func(s *Session) { s.Capabilities = make([]byte, MaxCapabilities+1) }), "capabilities: has 16385 bytes"},
		{session(func(s *Session) { s.OwnerNode = "A" }), "owner_node:"},
		{session(func(s *Session) { s.Transport = long(32) }), "transport: has 33 bytes"},
		{session(func(s *Session) { s.AuthMethod = long(32) }), "auth_method: has 33 bytes"},
		{session(func(s *Session) { s.Reason = long(MaxReason) }), "reason: has 257 bytes"},
		{settings(func(s *SessionSettings) { s.TTL = 0 }), "ttl: 0 ms is outside"},
		{settings(func(s *SessionSettings) { s.CleanupInterval = 1 }), "cleanup_interval: 1 ms is outside"},
		{settings(func(s *SessionSettings) { s.TombstoneTTL = 1 }), "tombstone_ttl: 1 ms is outside"},
		{settings(func(s *SessionSettings) { s.MaxTotal = 0 }), "max_total: 0 is outside"},
		{settings(func(s *SessionSettings) { s.MaxPerPrincipal = s.MaxTotal + 1 }), "max_per_principal: 1000001 is outside"},
		{upstream(func(u *Upstream) { u.Alias = long(MaxAlias) }), "alias: has 17 bytes"},
		{upstream(func(u *Upstream) { u.Transport = "" }), `transport: "" is not one of`},
		{upstream(func(u *Upstream) { u.URL = "" }), "url: is missing"},
		{upstream(func(u *Upstream) { u.URL = "ftp://x" }), `url: scheme "ftp" is not http or https`},
		{upstream(func(u *Upstream) { u.URL = "http:///x" }), "url: has no host"},
		{upstream(func(u *Upstream) { u.URL = "http://%zz" }), "url: does not parse as a URL"},
		{upstream(func(u *Upstream) { u.URL = "http://a:b@x" }), "url: carries credentials; use secret_ref"},
		{upstream(func(u *Upstream) { u.URL = "http://x#y" }), "url: carries a fragment"},
		{upstream(func(u *Upstream) { u.Command = "x" }), "command: is for transport stdio"},
		{upstream(func(u *Upstream) { u.Transport = TransportStdio }), "command: is missing"},
		{upstream(func(u *Upstream) { u.SessionMode = "x" }), `session_mode: "x" is not one of`},
		{upstream(func(u *Upstream) { u.RequestTimeout = 3_600_001 }), "request_timeout: 3600001 ms is above one hour"},
		{upstream(func(u *Upstream) { u.Pool.Size = 1025 }), "pool: size 1025"},
		{upstream(func(u *Upstream) { u.Pool.KeepAlive = 3_600_001 }), "pool: keep_alive"},
		{upstream(func(u *Upstream) { u.SecretRef = "A" }), "secret_ref:"},
		{upstream(func(u *Upstream) { u.Recovery = RecoverRestart }), "recovery: is for transport stdio"},
		{upstream(func(u *Upstream) { u.FailoverTimeout = 1 }), "failover_timeout: is for transport stdio"},
		{stdio(func(u *Upstream) { u.Recovery = "takeover" }), `recovery: "takeover" is not one of restart, relocate`},
		{stdio(func(u *Upstream) { u.FailoverTimeout = 3_600_001 }), "failover_timeout: 3600001 ms is above one hour"},
		{&Member{Node: "A", Disk: ID{1}, Process: ID{1}, PeerAddr: "x"}, "node:"},
		{&Member{Node: "a", Process: ID{1}, PeerAddr: "x"}, "disk: is missing"},
		{&Member{Node: "a", Disk: ID{1}, PeerAddr: "x"}, "process: is missing"},
		{&Member{Node: "a", Disk: ID{1}, Process: ID{1}}, "peer_addr: is missing"},
		{&Member{Node: "a", Disk: ID{1}, Process: ID{1}, PeerAddr: "x", Commands: []string{"b", "a"}}, "commands: are not sorted"},
		{&Member{Node: "a", Disk: ID{1}, Process: ID{1}, PeerAddr: "x", Commands: []string{"rm -rf"}}, "commands:"},
		{&Claim{Node: "a", Process: ID{1}}, "name: is missing"},
		{&Claim{Name: "c", Process: ID{1}}, "node: is missing"},
		{&Claim{Name: "c", Node: "a"}, "process: is missing"},
		{&Producer{Node: "a"}, "id: is missing"},
		{SliceID{Key: "a\nb"}, "alias: is missing; key: contains a control character"},
		{&SlicePage{Slice: SliceID{Alias: "a"}}, "items: are 0, want 1 to 1000"},
		{&SlicePage{Slice: SliceID{Alias: "a"}, Generation: 1, Number: MaxSlicePages}, "number: 200 is not below 200"},
		{&SlicePage{Slice: SliceID{Alias: "a"}, Generation: 1}, "generation: 1 does not go with page 0"},
		{&SlicePage{Slice: SliceID{Alias: "a"}, Items: []ListItem{{}}}, "items[0].kind: 0 is not one of 1 to 4; items[0].name: is missing; items[0].raw: has 0 bytes"},
		{&SlicePage{Slice: SliceID{Alias: "a"}, Items: []ListItem{{ListPrompts, "b", []byte("{}")}, {ListTools, "c", []byte("{}")}}}, "items[1]: is not in ascending order"},
		{&SlicePage{Slice: SliceID{Alias: "a"}, Items: []ListItem{{ListTools, "b", make([]byte, MaxItemBytes)}, {ListTools, "c", make([]byte, MaxItemBytes)}}}, "items: have 131106 bytes, the limit is 102400"},
		{slice(func(s *Slice) { s.Pages = 1 }), "pages: are 1 of generation 0"},
		{&Slice{ID: SliceID{Alias: "a"}}, "digest: has 0 bytes, want 32; upstream: names no revision"},
		{slice(func(s *Slice) { s.Instructions = long(MaxSliceMeta) }), "instructions: has 16385 bytes"},
		{slice(func(s *Slice) { s.Quarantined = []Quarantined{{}} }), "quarantined[0].kind: 0 is not one of 1 to 4; quarantined[0].reason: is missing; hidden: 0 is less than the 1 that are named"},
		{slice(func(s *Slice) { s.Quarantined, s.Hidden = make([]Quarantined, 65), 65 }), "quarantined: are 65, the limit is 64"},
		{&Archive{}, "timeline: is missing"},
		{&Archive{Timeline: Timeline{Number: 1}, Sequence: 1, First: 2, Last: 1}, "last: segment 1 cannot end at index 1"},
		{&Backup{ID: long(64), Index: 1}, "id: has 65 bytes"},
		{&Backup{ID: "b"}, "index: is missing"},
		{&Verification{Depth: 4}, "backup: is missing; depth: is 4, want 1 to 3"},
		{&Label{}, "name: is missing"},
		{&Label{Name: long(MaxLabel)}, "name: has 65 bytes"},
		{&Label{Name: ".x"}, "name: \".x\" is not a label"},
		{&Label{Name: "a/b"}, "name: \"a/b\" is not a label"},
		{&Epoch{Node: "a"}, "process: is missing"},
		{Principal{}, "principal.issuer: is missing; principal.subject: is missing"},
	} {
		err := c.v.Validate()
		if fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), "is not valid: "+c.want) {
			t.Errorf("%+v: %v, want %q", c.v, err, c.want)
		}
	}
}

func TestSessionMovesAreThoseOfItsLife(t *testing.T) {
	legal := map[[2]SessionState]bool{
		{Initializing, Active}: true, {Active, Suspended}: true, {Suspended, Active}: true,
		{Initializing, Terminating}: true, {Active, Terminating}: true, {Suspended, Terminating}: true, {Terminating, Dead}: true,
		{Initializing, Dead}: true, {Active, Dead}: true, {Suspended, Dead}: true,
	}
	for from := range SessionState(7) {
		for to := range SessionState(7) {
			if from.CanMove(to) != legal[[2]SessionState{from, to}] {
				t.Errorf("%v to %v: %v", from, to, from.CanMove(to))
			}
		}
		if back, err := ParseSessionState(from.String()); (err == nil) != from.Valid() || from.Valid() && back != from {
			t.Errorf("%v parses as %v, %v", from, back, err)
		}
	}
}

func TestNamesAreReadBack(t *testing.T) {
	for _, typ := range EntryTypes() {
		if back, err := ParseEntryType(typ.String()); err != nil || back != typ {
			t.Errorf("%v parses as %v, %v", typ, back, err)
		}
	}
	if _, err := ParseEntryType("tools"); fault.Of(err) != fault.Invalid {
		t.Errorf("an unknown type: %v", err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		id := ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "id"))
		if back, err := ParseID(id.String()); err != nil || back != id {
			rt.Errorf("%v parses as %v, %v", id, back, err)
		}
		timeline := Timeline{rapid.Uint32().Draw(rt, "number"), rapid.Uint32().Draw(rt, "salt")}
		if back, err := ParseTimeline(timeline.String()); err != nil || back != timeline {
			rt.Errorf("%v parses as %v, %v", timeline, back, err)
		}
	})
	for _, s := range []string{"", "1", "1-", "1-123", "x-00000000", "1-0000000g", "4294967296-00000000", "1-00000000-1"} {
		if back, err := ParseTimeline(s); err == nil {
			t.Errorf("%q parses as %v", s, back)
		}
	}
	for _, s := range []string{"", "00", strings.Repeat("g", 32), strings.Repeat("0", 34)} {
		if back, err := ParseID(s); err == nil {
			t.Errorf("%q parses as %v", s, back)
		}
	}
}

func TestLogTimeStopsAtItsEnds(t *testing.T) {
	at := LogTimeAt(time.UnixMilli(1_700_000_000_123))
	if got := at.Time(); got.UnixMilli() != 1_700_000_000_123 {
		t.Errorf("time is %v", got)
	}
	if got := (at + 7).Add(2 * time.Second); got.Sub(at) != 2*time.Second || got&0xffff != 7 {
		t.Errorf("two seconds later is %v after, counter %d", got.Sub(at), got&0xffff)
	}
	if got := at.Add(-math.MaxInt64); got != at.Add(-math.MaxInt64-1) && got > at {
		t.Errorf("long before is %d", got)
	}
	if got := LogTime(5 << 16).Add(-time.Second); got != 0 {
		t.Errorf("before the epoch is %d", got)
	}
	if got := LogTime(math.MaxUint64 - 5).Add(time.Hour); got != math.MaxUint64 {
		t.Errorf("after the end is %d", got)
	}
	if got := LogTimeAt(time.UnixMilli(-5)); got != 0 {
		t.Errorf("before 1970 is %d", got)
	}
}

// FuzzRecord: what is read as a record is written as bytes that read as the
// same, whatever its type; and Validate never panics.
func FuzzRecord(f *testing.F) {
	for _, v := range samples() {
		data, err := Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, sample := range samples() {
			v := reflect.New(reflect.TypeOf(sample).Elem()).Interface()
			if Unmarshal(data, v) != nil {
				continue
			}
			_ = v.(interface{ Validate() error }).Validate()
			first, err := Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			again := reflect.New(reflect.TypeOf(sample).Elem()).Interface()
			if err := Unmarshal(first, again); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			second, err := Marshal(again)
			if err != nil || !bytes.Equal(first, second) {
				t.Errorf("%s: %x, then %x, %v", name, first, second, err)
			}
		}
	})
}
