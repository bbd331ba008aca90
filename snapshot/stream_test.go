package snapshot

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
)

func fileBytes(t *testing.T, p seal.Policy, n int) []byte {
	t.Helper()
	data, err := os.ReadFile(createFile(t, p, n))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readStream(r io.Reader, ring seal.Ring) ([]byte, error) {
	s, err := NewStream(r, ring)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(s)
}

func TestAStreamIsReadAsItArrives(t *testing.T) {
	for _, p := range []seal.Policy{{}, {Compression: seal.Zstd}, sealedPolicy(t)} {
		for _, n := range []int{0, 1, 200_000} {
			data := fileBytes(t, p, n)
			for name, r := range map[string]io.Reader{
				"at once": bytes.NewReader(data), "byte by byte": iotest.OneByteReader(bytes.NewReader(data)), "with the end": iotest.DataErrReader(bytes.NewReader(data)),
			} {
				if got, err := readStream(r, p.Ring); err != nil || !bytes.Equal(got, content(n)) {
					t.Errorf("%v, %d bytes %s: came back as %d, %v", p.Cipher, n, name, len(got), err)
				}
			}
		}
	}
}

func TestADamagedStreamNeverReadsToItsEnd(t *testing.T) {
	data := fileBytes(t, seal.Policy{}, 300)
	for i := range data {
		flipped := bytes.Clone(data)
		flipped[i] ^= 1
		if _, err := readStream(bytes.NewReader(flipped), seal.Ring{}); err == nil {
			t.Errorf("a flipped bit in byte %d of %d is not noticed", i, len(data))
		}
		if _, err := readStream(bytes.NewReader(data[:i]), seal.Ring{}); fault.Of(err) != fault.Integrity {
			t.Errorf("cut to %d of %d bytes: %v", i, len(data), err)
		}
	}
	if _, err := readStream(bytes.NewReader(append(data, 0)), seal.Ring{}); fault.Of(err) != fault.Integrity {
		t.Errorf("a byte that follows: %v", err)
	}
}

func TestWhatArrivesInTheClearIsSealed(t *testing.T) {
	p := sealedPolicy(t)
	data := fileBytes(t, seal.Policy{Compression: seal.Zstd}, 5000)
	path := filepath.Join(t.TempDir(), "sealed")
	d, err := CreateFile(path, func(w io.Writer) error { return Reseal(w, bytes.NewReader(data), p) })
	if err != nil || d.Creator != "n1" || d.State.Index != 88120 {
		t.Fatalf("description %+v, %v", d, err)
	}
	if _, err := readFile(path, seal.Ring{}); fault.Of(err) != fault.Forbidden {
		t.Errorf("without a key: %v", err)
	}
	if got, err := readFile(path, p.Ring); err != nil || !bytes.Equal(got, content(5000)) {
		t.Errorf("came back as %d bytes, %v", len(got), err)
	}
	if _, err := CreateFile(filepath.Join(t.TempDir(), "cut"), func(w io.Writer) error { return Reseal(w, bytes.NewReader(data[:len(data)-9]), p) }); fault.Of(err) != fault.Integrity {
		t.Errorf("a cut stream was sealed: %v", err)
	}
}
