package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// smallState has a record in most tables.
func smallState(t testing.TB) *Machine {
	t.Helper()
	m := newTest(t)
	accepted(
		t, m,
		&EpochStart{Node: "a", Process: testID(1), Supports: 1},
		&InitCluster{ID: testID(7), Name: "prod", Timeline: record.Timeline{Number: 1, Salt: 2}},
		&OpenProducer{ID: testID(1), Node: "a"},
		&RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "search"}},
		&RegisterEntry{Entry: record.Entry{Type: record.TypeSession, Key: "elsewhere"}},
		&CreateSession{Session: testSession(1, testActor)},
		&AcquireClaim{Claim: record.Claim{Name: "archiver", Node: "a", Process: testID(1)}},
	)
	applyAll(t, m, Proposal{
		Actor: testActor, Producer: testID(1), Sequence: 1, Idempotency: &Idempotency{Route: "r", Key: "k"},
		Command: &PutUpstream{Upstream: record.Upstream{Alias: "x", Transport: "stdio", Command: "x"}},
	})
	if _, err := m.Apply([]Entry{{Index: m.Meta().Index + 1, Term: 2, Kind: EntryConfiguration, Data: []byte("voters")}}); err != nil {
		t.Fatal(err)
	}
	return m
}

// largeState has a stream of several blocks.
func largeState(t testing.TB) *Machine {
	t.Helper()
	m := newTest(t)
	for i := range 12 {
		accepted(t, m, &RegisterEntry{Entry: record.Entry{
			Type: record.TypeTool, Key: strings.Repeat("k", i+1),
			Metadata: map[string]string{
				"a": strings.Repeat("x", 4000), "b": strings.Repeat("y", 4000), "c": strings.Repeat("z", 4000), "d": strings.Repeat("z", 4000),
				"e": strings.Repeat("x", 4000), "f": strings.Repeat("y", 4000), "g": strings.Repeat("z", 4000), "h": strings.Repeat("z", 4000),
				"i": strings.Repeat("x", 4000), "j": strings.Repeat("y", 4000), "k": strings.Repeat("z", 4000), "l": strings.Repeat("z", 4000),
			},
		}})
	}
	return m
}

// readAll reads a stream as Restore does, without a database.
func readAll(stream []byte) error {
	in := newStreamReader(bytes.NewReader(stream))
	meta, err := in.header()
	if err != nil {
		return err
	}
	for {
		if _, err := in.next(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	if in.sum.digest() != meta.Digest {
		return errors.New("digest")
	}
	return nil
}

func TestStreamRefusesEveryFlippedBit(t *testing.T) {
	stream := snapshotBytes(t, smallState(t))
	if err := readAll(stream); err != nil {
		t.Fatal(err)
	}
	for i := range stream {
		for bit := range 8 {
			stream[i] ^= 1 << bit
			if readAll(stream) == nil {
				t.Errorf("bit %d of byte %d of %d may be flipped", bit, i, len(stream))
			}
			stream[i] ^= 1 << bit
		}
	}
}

func TestStreamRefusesEveryTruncationAndWhatFollows(t *testing.T) {
	stream := snapshotBytes(t, smallState(t))
	for n := range stream {
		if err := readAll(stream[:n]); fault.Of(err) != fault.Integrity {
			t.Errorf("a stream cut to %d of %d bytes: %v", n, len(stream), err)
		}
	}
	if err := readAll(append(stream, 0)); fault.Of(err) != fault.Integrity {
		t.Errorf("a stream followed by a byte: %v", err)
	}
}

// streamBlocks cuts a stream into header, blocks and trailer.
func streamBlocks(stream []byte) (header []byte, blocks [][]byte, trailer []byte) {
	n := len(streamMagic) + 2
	end := headerOverhead + int(binary.BigEndian.Uint32(stream[n:]))
	header, stream = stream[:end], stream[end:]
	for {
		n := int(binary.BigEndian.Uint32(stream))
		if n == 0 {
			return header, blocks, stream
		}
		blocks = append(blocks, stream[:n+blockOverhead])
		stream = stream[n+blockOverhead:]
	}
}

func TestStreamRefusesBlocksOutOfPlace(t *testing.T) {
	header, blocks, trailer := streamBlocks(snapshotBytes(t, largeState(t)))
	if len(blocks) < 3 {
		t.Fatalf("%d blocks", len(blocks))
	}
	join := func(blocks ...[]byte) []byte {
		return bytes.Join(append(append([][]byte{header}, blocks...), trailer), nil)
	}
	if err := readAll(join(blocks...)); err != nil {
		t.Fatal(err)
	}
	for name, altered := range map[string][]byte{
		"swapped":  join(append([][]byte{blocks[1], blocks[0]}, blocks[2:]...)...),
		"repeated": join(append([][]byte{blocks[0]}, blocks...)...),
		"missing":  join(blocks[1:]...),
		"none":     join(),
	} {
		if err := readAll(altered); fault.Of(err) != fault.Integrity {
			t.Errorf("blocks %s: %v", name, err)
		}
	}
}

func TestRestoreOfADamagedStreamChangesNothing(t *testing.T) {
	stream := snapshotBytes(t, smallState(t))
	fs := vfs.NewMem()
	m := openTest(t, fs)
	accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "old"}})
	before := fingerprint(t, m)
	damage := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		altered := bytes.Clone(stream)
		if damage.IntN(2) == 0 {
			altered = altered[:damage.IntN(len(altered))]
		} else {
			altered[damage.IntN(len(altered))] ^= 1 << damage.IntN(8)
		}
		if err := m.Restore(bytes.NewReader(altered), Installed{}); err == nil {
			t.Fatal("a damaged stream was restored")
		}
	}
	if err := m.Restore(bytes.NewReader(stream), Installed{Index: 99, Term: 1}); fault.Of(err) != fault.Integrity {
		t.Errorf("a stream of another index: %v", err)
	}
	if got := fingerprint(t, m); got != before {
		t.Errorf("state is now\n%s\nwas\n%s", got, before)
	}
	names, err := fs.List("state")
	if err != nil || len(names) != 2 {
		t.Errorf("directory holds %v, %v", names, err)
	}
	accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "new"}})
	closeTest(t, m)
	m = openTest(t, fs)
	checkDigest(t, m)
	closeTest(t, m)
}

func TestRestoreRefusesPairsThatAreNotThoseOfTheMeta(t *testing.T) {
	m := smallState(t)
	meta := m.Meta()
	meta.Digest[0] ^= 1
	var b bytes.Buffer
	out := newStreamWriter(&b)
	if err := out.header(meta); err != nil {
		t.Fatal(err)
	}
	for _, p := range dump(t, m) {
		if err := out.pair(p.key, p.value); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.trailer(); err != nil {
		t.Fatal(err)
	}
	if err := newTest(t).Restore(&b, Installed{}); fault.Of(err) != fault.Integrity {
		t.Errorf("pairs with another digest than the meta: %v", err)
	}
}

func TestRestoreTakesTheConfigurationOfTheLog(t *testing.T) {
	from := smallState(t)
	stream := snapshotBytes(t, from)
	meta, err := ReadSnapshotMeta(bytes.NewReader(stream))
	if err != nil || string(meta.Configuration) != "voters" || meta.Index != from.Meta().Index {
		t.Errorf("meta of the stream is %+v, %v", meta, err)
	}
	fs := vfs.NewMem()
	m := openTest(t, fs)
	if err := m.Restore(bytes.NewReader(stream), Installed{
		Index: meta.Index, Term: meta.Term, Configuration: []byte("other voters"), ConfigurationIndex: 2,
	}); err != nil {
		t.Fatal(err)
	}
	if m.DurableIndex() != meta.Index {
		t.Errorf("durable index is %d, want %d", m.DurableIndex(), meta.Index)
	}
	closeTest(t, m)
	m = openTest(t, fs)
	if got := m.Meta(); string(got.Configuration) != "other voters" || got.ConfigurationIndex != 2 || got.Digest != meta.Digest {
		t.Errorf("meta is %+v", got)
	}
	closeTest(t, m)
}

func TestViewOutlivesARestore(t *testing.T) {
	stream := snapshotBytes(t, smallState(t))
	fs := vfs.NewMem()
	m := openTest(t, fs)
	accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "old"}})
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.Restore(bytes.NewReader(stream), Installed{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.WhereIs(0, record.TypeTool, "old"); err != nil {
		t.Errorf("the old view lost its entry: %v", err)
	}
	if _, err := fs.Stat("state/db-000001"); err != nil {
		t.Errorf("the old database: %v", err)
	}
	v.Close()
	v.Close()
	for _, name := range []string{"state/db-000001", "state/db-000002"} {
		if _, err := fs.Stat(name); !isNotExist(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	v, err = m.View()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.WhereIs(0, record.TypeTool, "old"); fault.Of(err) != fault.NotFound {
		t.Errorf("the new state has the old entry: %v", err)
	}
	v.Close()
	closeTest(t, m)
	if _, err := m.View(); fault.Of(err) != fault.Unavailable {
		t.Errorf("view of a closed machine: %v", err)
	}
	if _, err := m.Apply(nil); fault.Of(err) != fault.Unavailable {
		t.Errorf("apply to a closed machine: %v", err)
	}
}

func TestSeedStartsANewTimeline(t *testing.T) {
	from := smallState(t)
	stream := snapshotBytes(t, from)
	meta := from.Meta()
	meta.Timeline = record.Timeline{Number: 2, Salt: 9}
	meta.Configuration, meta.ConfigurationIndex = []byte("one voter"), 0
	fs := vfs.NewMem()
	wrong := meta
	wrong.Digest[0] ^= 1
	if err := Seed("state", testOptions(t, fs), wrong, bytes.NewReader(stream)); fault.Of(err) != fault.Integrity {
		t.Errorf("seed with another digest: %v", err)
	}
	if err := Seed("state", testOptions(t, fs), meta, bytes.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	if err := Seed("state", testOptions(t, fs), meta, bytes.NewReader(stream)); fault.Of(err) != fault.Conflict {
		t.Errorf("seed over a state: %v", err)
	}
	m := openTest(t, fs)
	if got := m.Meta(); got.Timeline != meta.Timeline || string(got.Configuration) != "one voter" || got.Digest != from.Meta().Digest {
		t.Errorf("meta is %+v", got)
	}
	if !equalPairs(dump(t, m), dump(t, from)) {
		t.Error("pairs differ")
	}
	closeTest(t, m)

	empty := vfs.NewMem()
	if err := Seed("state", testOptions(t, empty), Meta{Index: 5, Term: 2}, nil); err != nil {
		t.Fatal(err)
	}
	m = openTest(t, empty)
	if got := m.Meta(); got.Index != 5 || len(dump(t, m)) != 0 {
		t.Errorf("meta is %+v", got)
	}
	checkDigest(t, m)
	closeTest(t, m)
}

func TestOpenRefusesALostOrDamagedPointer(t *testing.T) {
	for name, damage := range map[string]func(fs vfs.FS) error{
		"lost":    func(fs vfs.FS) error { return fs.Remove("state/CURRENT") },
		"empty":   func(fs vfs.FS) error { return writeFile(fs, "state/CURRENT", nil) },
		"altered": func(fs vfs.FS) error { return writeFile(fs, "state/CURRENT", []byte("db-000001 00000000\n")) },
		"elsewhere": func(fs vfs.FS) error {
			return writeFile(fs, "state/CURRENT", formatPointer(9))
		},
	} {
		fs := vfs.NewMem()
		m := openTest(t, fs)
		accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "k"}})
		closeTest(t, m)
		if err := damage(fs); err != nil {
			t.Fatal(err)
		}
		if m, err := Open("state", testOptions(t, fs)); fault.Of(err) != fault.Integrity {
			t.Errorf("pointer %s: opened as %v, %v", name, m, err)
		}
	}
}

func TestOpenRemovesLeftovers(t *testing.T) {
	fs := vfs.NewMem()
	m := openTest(t, fs)
	closeTest(t, m)
	for _, dir := range []string{"state/db-000007", "state/db-000007.tables"} {
		if err := fs.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeFile(fs, "state/CURRENT.tmp", []byte("x")); err != nil {
		t.Fatal(err)
	}
	m = openTest(t, fs)
	names, err := fs.List("state")
	if err != nil || len(names) != 2 {
		t.Errorf("directory holds %v, %v", names, err)
	}
	closeTest(t, m)
}

func TestTwoMachinesCannotShareADirectory(t *testing.T) {
	dir := t.TempDir()
	m, err := Open(dir, testOptions(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if second, err := Open(dir, testOptions(t, nil)); err == nil {
		t.Errorf("opened twice: %v", second)
	}
	accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "k"}})
	if err := m.Sync(); err != nil || m.DurableIndex() != 1 {
		t.Errorf("durable index is %d, %v", m.DurableIndex(), err)
	}
	if s := m.Stats(); s.MemTableBytes == 0 || s.HotMisses == 0 {
		t.Errorf("stats are %+v", s)
	}
	closeTest(t, m)
}

// FuzzRestore: whatever the bytes, a machine keeps its state or has that of a
// stream that verifies, and memory is bounded.
func FuzzRestore(f *testing.F) {
	stream := snapshotBytes(f, smallState(f))
	f.Add(stream)
	f.Add(stream[:len(stream)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		err := readAll(data)
		if err != nil {
			return
		}
		m := newTest(t)
		if err := m.Restore(bytes.NewReader(data), Installed{}); err != nil {
			return // pairs that verify and are no records
		}
		checkDigest(t, m)
	})
}
