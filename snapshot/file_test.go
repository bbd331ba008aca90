package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

func createFile(t *testing.T, p seal.Policy, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.snap")
	d, err := CreateFile(path, func(w io.Writer) error {
		return WriteFile(w, p, testState(88120), bytes.NewReader(content(n)), Origin{Creator: "n1"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if d.State.Index != 88120 || d.Creator != "n1" || d.Created.IsZero() {
		t.Fatalf("description is %+v", d)
	}
	return path
}

func readFile(path string, ring seal.Ring) ([]byte, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := f.Reader(ring)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestFileRoundTrips(t *testing.T) {
	for _, p := range []seal.Policy{{}, {Compression: seal.Zstd}, sealedPolicy(t)} {
		for _, n := range []int{0, 1, 200_000} {
			path := createFile(t, p, n)
			if got, err := readFile(path, p.Ring); err != nil || !bytes.Equal(got, content(n)) {
				t.Errorf("%v: %d bytes came back as %d, %v", p.Cipher, n, len(got), err)
			}
			var decoded bytes.Buffer
			d, err := VerifyFile(path, LevelDecode, p.Ring, func(r io.Reader) error {
				_, err := decoded.ReadFrom(r)
				return err
			})
			if err != nil || d.State.Digest != testState(1).Digest || !bytes.Equal(decoded.Bytes(), content(n)) {
				t.Errorf("%v: %d bytes verify as %+v, %v", p.Cipher, n, d, err)
			}
			f, err := OpenFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if f.StateBytes != int64(n) || f.Sealed.Cipher != p.Cipher || len(f.Sealed.Keys) != len(p.Ring.Recipients()) {
				t.Errorf("%v: file is %+v", p.Cipher, f)
			}
			_ = f.Close()
		}
	}
}

func TestFilesCanBeReadByTheirOwnerOnly(t *testing.T) {
	path := createFile(t, seal.Policy{}, 10)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
}

// mustFail fails the test unless the file is refused as damaged, at every level.
func mustFail(t *testing.T, path string, ring seal.Ring, data []byte, format string, args ...any) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, level := range []Level{LevelFiles, LevelDecode} {
		if _, err := VerifyFile(path, level, ring, nil); fault.Of(err) != fault.Integrity || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: at level %s: %v", fmt.Sprintf(format, args...), level, err)
		}
	}
}

func TestAnAlteredOrTruncatedFileNeverVerifies(t *testing.T) {
	for _, p := range []seal.Policy{{}, sealedPolicy(t)} {
		path := createFile(t, p, 50)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range data {
			data[i] ^= 1 << (i % 8)
			mustFail(t, path, p.Ring, data, "%v: bit %d of byte %d", p.Cipher, i%8, i)
			data[i] ^= 1 << (i % 8)
		}
		for n := 0; n < len(data); n += 3 {
			mustFail(t, path, p.Ring, data[:n], "%v: cut to %d of %d", p.Cipher, n, len(data))
		}
		mustFail(t, path, p.Ring, append(bytes.Clone(data), 0), "%v: a byte follows", p.Cipher)
		mustFail(t, path, p.Ring, append(bytes.Clone(data), data...), "%v: twice", p.Cipher)
		mustFail(t, path, p.Ring, append(bytes.Clone(data[:len(data)-trailerBytes]), data[len(data)-trailerBytes-10:]...), "%v: bytes in front of the trailer", p.Cipher)
	}
}

// A trailer with the right hash over a state of another file: only the seal knows.
func TestAStateOfAnotherFileDoesNotDecode(t *testing.T) {
	write := func(index uint64) []byte {
		var b bytes.Buffer
		if err := WriteFile(&b, seal.Policy{}, testState(index), bytes.NewReader(content(50)), Origin{}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	head := func(data []byte) int {
		h, err := readHead(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return len(h)
	}
	a, b := write(100), write(200)
	mixed := append(bytes.Clone(a[:head(a)]), b[head(b):]...)
	path := filepath.Join(t.TempDir(), "mixed.snap")
	if err := os.WriteFile(path, mixed, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readFile(path, seal.Ring{}); fault.Of(err) != fault.Integrity {
		t.Errorf("reading = %v", err)
	}
}

func TestATrailerWithAnotherDigestIsRefused(t *testing.T) {
	path := createFile(t, seal.Policy{}, 50)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := len(data) - trailerBytes
	changed, _ := decodeTrailer(data[at:])
	changed.digest[0]++
	data = append(data[:at], changed.encode()...)
	sum := sha256.Sum256(data)
	mustFail(t, path, seal.Ring{}, append(data, sum[:]...), "another digest")
}

func TestCreateFileLeavesNothingWhenItFails(t *testing.T) {
	broken := errors.New("the connection broke")
	var whole bytes.Buffer
	if err := WriteFile(&whole, seal.Policy{}, testState(1), bytes.NewReader(content(1000)), Origin{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, write := range map[string]func(io.Writer) error{
		"broken": func(w io.Writer) error {
			_, _ = w.Write(whole.Bytes()[:500])
			return broken
		},
		"cut without an error": func(w io.Writer) error {
			_, err := w.Write(whole.Bytes()[:500])
			return err
		},
		"nothing":    func(io.Writer) error { return nil },
		"not a file": func(w io.Writer) error { _, err := w.Write(content(500)); return err },
	} {
		if _, err := CreateFile(filepath.Join(dir, "state.snap"), write); err == nil {
			t.Errorf("%s: no error", name)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("%s: left is %v, %v", name, entries, err)
		}
	}
}

func TestCreateFileNeverOverwrites(t *testing.T) {
	path := createFile(t, seal.Policy{}, 10)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = CreateFile(path, func(io.Writer) error { return errors.New("it was asked to write") })
	if fault.Of(err) != fault.Conflict {
		t.Errorf("CreateFile = %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the file was changed, %v", err)
	}
}

func TestAFileWithoutItsKeySaysWhichOpensIt(t *testing.T) {
	p := sealedPolicy(t)
	path := createFile(t, p, 10)
	if _, err := VerifyFile(path, LevelFiles, seal.Ring{}, nil); err != nil {
		t.Errorf("at level files, which needs no key: %v", err)
	}
	_, err := VerifyFile(path, LevelDecode, seal.Ring{}, nil)
	if fault.Of(err) != fault.Forbidden || !strings.Contains(err.Error(), p.Ring.Recipients()[0].ID().String()) {
		t.Errorf("at level decode: %v", err)
	}
}

// golden is the file of that name as bytes; with -rewrite it becomes what fresh
// makes.
func golden(t *testing.T, name string, fresh func() []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *rewrite {
		var lines strings.Builder
		for text := hex.EncodeToString(fresh()); text != ""; {
			n := min(len(text), 64)
			lines.WriteString(text[:n] + "\n")
			text = text[n:]
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOldFilesOpen(t *testing.T) {
	data := golden(t, "file.hex", func() []byte {
		var b bytes.Buffer
		if err := WriteFile(&b, seal.Policy{}, testState(88120), bytes.NewReader(content(20)), Origin{Creator: "n1"}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	})
	path := filepath.Join(t.TempDir(), "old.snap")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := VerifyFile(path, LevelDecode, seal.Ring{}, nil)
	if err != nil || d.State.Index != 88120 || d.State.Counts["sessions"] != 4 {
		t.Fatalf("%+v, %v", d, err)
	}
	if got, err := readFile(path, seal.Ring{}); err != nil || !bytes.Equal(got, content(20)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	head, err := d.encode()
	if err != nil || !bytes.HasPrefix(data, head) {
		t.Errorf("the header is now written as %q, %v", head, err)
	}
}

func FuzzOpenFile(f *testing.F) {
	for _, z := range []seal.Compression{seal.Uncompressed, seal.Zstd} {
		var b bytes.Buffer
		if err := WriteFile(&b, seal.Policy{Compression: z}, testState(1), bytes.NewReader(content(100)), Origin{}); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file.Name())
		_, err = file.Write(data)
		if err = errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		if d, err := VerifyFile(file.Name(), LevelDecode, seal.Ring{}, nil); err == nil && d.State.Validate() != nil {
			t.Errorf("%+v verifies", d)
		}
	})
}
