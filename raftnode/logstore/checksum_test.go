package logstore

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
)

var update = flag.Bool("rewrite", false, "write the golden file anew")

// golden entries; docs/format/log-entry.md describes the bytes in the file.
var golden = []raft.Log{
	{Index: 1, Term: 1, Type: raft.LogNoop},
	{Index: 2, Term: 1, Type: raft.LogCommand, Data: []byte("mcpraft")},
	{Index: 1 << 40, Term: 1 << 33, Type: raft.LogConfiguration, Data: bytes.Repeat([]byte{0xff}, 300)},
}

const goldenFile = "testdata/extension.golden"

func TestExtensionBytesStayTheSame(t *testing.T) {
	var b strings.Builder
	for _, l := range golden {
		seal(&l)
		b.WriteString(hex.EncodeToString(l.Extensions) + "\n")
	}
	if *update {
		if err := os.WriteFile(goldenFile, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("extensions are\n%swant\n%s(old logs would not verify)", b.String(), want)
	}
}

func TestDocumentShowsTheGoldenBytes(t *testing.T) {
	doc, err := os.ReadFile("../../docs/format/log-entry.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range golden {
		seal(&l)
		if want := "`" + hex.EncodeToString(l.Extensions) + "`"; !strings.Contains(string(doc), want) {
			t.Errorf("docs/format/log-entry.md lacks %s", want)
		}
	}
}

func TestEveryBitOfAnEntryIsCovered(t *testing.T) {
	whole := golden[1]
	seal(&whole)
	if err := verify(&whole); err != nil {
		t.Fatal(err)
	}
	for bit := range 64 {
		for name, damage := range map[string]func(*raft.Log){
			"index": func(l *raft.Log) { l.Index ^= 1 << bit },
			"term":  func(l *raft.Log) { l.Term ^= 1 << bit },
			"type":  func(l *raft.Log) { l.Type ^= 1 << (bit % 8) },
			"data": func(l *raft.Log) {
				l.Data = bytes.Clone(l.Data)
				l.Data[bit/8%len(l.Data)] ^= 1 << (bit % 8)
			},
			"extension": func(l *raft.Log) {
				l.Extensions = bytes.Clone(l.Extensions)
				l.Extensions[bit/8%len(l.Extensions)] ^= 1 << (bit % 8)
			},
		} {
			l := whole
			damage(&l)
			if err := verify(&l); fault.Of(err) != fault.Integrity {
				t.Errorf("bit %d of %s flipped: %v, want an integrity error", bit, name, err)
			}
		}
	}
}

func TestEntryWithoutChecksumIsNotRead(t *testing.T) {
	l := golden[1]
	if err := verify(&l); fault.Of(err) != fault.Integrity {
		t.Errorf("verify = %v, want an integrity error", err)
	}
}

func FuzzExtension(f *testing.F) {
	for _, l := range golden {
		seal(&l)
		f.Add(l.Extensions, l.Index, l.Term, uint8(l.Type), l.Data)
	}
	f.Add([]byte{extensionVersion + 1, 1, 2, 3, 4}, uint64(1), uint64(1), uint8(0), []byte(nil))
	f.Fuzz(func(t *testing.T, extension []byte, index, term uint64, kind uint8, data []byte) {
		l := raft.Log{Index: index, Term: term, Type: raft.LogType(kind), Data: data, Extensions: extension}
		if err := verify(&l); err != nil {
			if fault.Of(err) != fault.Integrity {
				t.Fatalf("verify = %v, want an integrity error", err)
			}
			return
		}
		// There is one extension for an entry.
		sealed := l
		seal(&sealed)
		if !bytes.Equal(sealed.Extensions, extension) {
			t.Fatalf("%x verifies, sealing gives %x", extension, sealed.Extensions)
		}
	})
}
