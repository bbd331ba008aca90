package session

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/mcp"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files instead of comparing with them")

// plainKeys make MACs that a golden file can show.
type plainKeys struct{}

func (plainKeys) MAC(string, ...[]byte) []byte { return bytes.Repeat([]byte{0xaa}, 16) }

func (k plainKeys) Verify(_ string, mac []byte, _ ...[]byte) bool { return bytes.Equal(mac, k.MAC("")) }

const goldenRecord = "MFRGGZDFMZTWQ2LKNNWG23TPOA"

func goldenIDs() map[string]string {
	stream := record.ID{0xb0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 9}
	ids := map[string]string{
		"session": formatSessionID(plainKeys{}, goldenRecord, record.Timeline{Number: 1, Salt: 0x5f3a90c1}, 4711),
	}
	for name, t := range map[string]token{
		"event":  {kind: tokenEvent, node: "node-1", stream: stream, sequence: 300, request: `"call-7"`},
		"final":  {kind: tokenFinal, node: "node-1", stream: stream, sequence: 301, request: "5"},
		"listen": {kind: tokenListen, node: "node-1", stream: stream, sequence: 1},
		"ask":    {kind: tokenAsk, node: "node-1", stream: stream, sequence: 2},
	} {
		ids[name] = t.format(plainKeys{}, goldenRecord)
	}
	return ids
}

func TestIDsAreThoseOfTheGoldenFiles(t *testing.T) {
	for name, got := range goldenIDs() {
		path := filepath.Join("testdata", "golden", name+".txt")
		if *rewrite {
			if err := os.WriteFile(path, []byte(got+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(want)) != got {
			t.Errorf("%s id:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// TestIDDocumentShowsTheGoldenFiles keeps docs/format/ids.md true.
func TestIDDocumentShowsTheGoldenFiles(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "format", "ids.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range goldenIDs() {
		if !strings.Contains(string(page), id) {
			t.Errorf("docs/format/ids.md does not show the %s id %s", name, id)
		}
	}
}

func TestTokensAreBoundToTheirSession(t *testing.T) {
	want := token{kind: tokenAsk, node: "node-1", stream: record.ID{1}, sequence: 1 << 40, request: `"é"`}
	text := want.format(testKeys{}, goldenRecord)
	got, ok := parseToken(testKeys{}, goldenRecord, text)
	if !ok || got != want {
		t.Errorf("parsed %+v, %v", got, ok)
	}
	if _, ok := parseToken(testKeys{}, newRecordID(), text); ok {
		t.Error("a token is taken for one of another session")
	}
	raw, err := ids64.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		raw[i] ^= 1
		if _, ok := parseToken(testKeys{}, goldenRecord, ids64.EncodeToString(raw)); ok {
			t.Errorf("a token is taken with byte %d changed", i)
		}
		raw[i] ^= 1
	}
}

func TestLongestIDsFit(t *testing.T) {
	longest := token{
		kind: tokenFinal, node: strings.Repeat("n", record.MaxName), stream: record.ID{1}, sequence: 1<<64 - 1,
		request: mcp.ID(`"` + strings.Repeat("x", mcp.MaxID-2) + `"`),
	}
	if _, ok := parseToken(testKeys{}, goldenRecord, longest.format(testKeys{}, goldenRecord)); !ok {
		t.Error("the longest token is refused")
	}
	id := formatSessionID(testKeys{}, newRecordID(), record.Timeline{Number: 1<<32 - 1, Salt: 1<<32 - 1}, 1<<64-1)
	if err := record.ValidSessionID(id); err != nil {
		t.Error(err)
	}
	if _, ok := parseSessionID(id); !ok {
		t.Error("the longest session id is refused")
	}
}

// FuzzSessionID: what parses is the only spelling of what it says.
func FuzzSessionID(f *testing.F) {
	for _, id := range goldenIDs() {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := parseSessionID(text)
		if !ok {
			return
		}
		if record.ValidSessionID(text) != nil {
			t.Errorf("%q is no header value", text)
		}
		if r.verified(plainKeys{}) && formatSessionID(plainKeys{}, r.record, r.timeline, r.index) != text {
			t.Errorf("%q has another spelling", text)
		}
		r.verified(testKeys{})
	})
}

// FuzzToken: what parses is the only spelling of what it says, and goes through
// JSON and HTTP headers unchanged.
func FuzzToken(f *testing.F) {
	for _, id := range goldenIDs() {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, _, mac, ok := splitToken(text)
		if !ok {
			return
		}
		if bytes.Equal(mac, plainKeys{}.MAC("")) && token.format(plainKeys{}, goldenRecord) != text {
			t.Errorf("%q has another spelling", text)
		}
		if back, ok := mcp.TextID(text).Text(); !ok || back != text {
			t.Errorf("%q does not survive JSON", text)
		}
		parseToken(testKeys{}, goldenRecord, text)
	})
}

// FuzzSplitEvents: an event of any size comes over in parts as it was.
func FuzzSplitEvents(f *testing.F) {
	f.Add([]byte("x"), 1)
	f.Add([]byte("abcdef"), 500_000)
	f.Fuzz(func(t *testing.T, pattern []byte, times int) {
		if len(pattern) == 0 || times < 0 || times > 3<<20/len(pattern) {
			return
		}
		list := []event{{offset: 3, sequence: 1, data: []byte("{}")}, {offset: 4, sequence: 2, data: bytes.Repeat(pattern, times), last: true}}
		m := &remoteReplay{}
		var got []event
		for done := false; !done; {
			rest := list
			for len(rest) > 0 && rest[0].offset < m.q.Offset {
				rest = rest[1:]
			}
			a, err := wireEvents(rest, true, m.q.At)
			if err != nil {
				t.Fatal(err)
			}
			for i := range a.Events {
				e, whole, err := m.assemble(&a.Events[i])
				if err != nil {
					t.Fatal(err)
				}
				if whole {
					got = append(got, e)
					m.q.Offset = e.offset + 1
				}
			}
			done = a.Done
		}
		if len(got) != 2 || !bytes.Equal(got[1].data, list[1].data) || !got[1].last {
			t.Errorf("%d events", len(got))
		}
	})
}
