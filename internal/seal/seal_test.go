package seal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

// testKey is the same key in every run.
func testKey(t testing.TB, n byte, c Cipher) Key {
	t.Helper()
	var secret [keyBytes]byte
	for i := range secret {
		secret[i] = n
	}
	k, err := newKey(c, time.Date(2026, 5, int(n), 14, 2, 10, 0, time.UTC), secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testPolicy(t testing.TB, c Cipher, z Compression) Policy {
	p := Policy{Compression: z, Cipher: c}
	if c != None {
		p.Ring = NewRing(testKey(t, 1, c)).with([]Key{testKey(t, 2, AESGCM)})
	}
	return p
}

// noise is n bytes that are the same in every run; half of them compress.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b[:n/2])
	return b
}

func sealed(t testing.TB, p Policy, context string, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := p.NewWriter(&b, context)
	if err != nil {
		t.Fatal(err)
	}
	for rest := plain; len(rest) > 0; { // in pieces that are no divisor of a chunk
		n := min(len(rest), 30_011)
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(ring Ring, context string, object []byte) ([]byte, error) {
	r, err := ring.NewReader(bytes.NewReader(object), context)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// policies is every combination that can be configured.
func policies(t testing.TB) map[string]Policy {
	all := map[string]Policy{}
	for c := range cipherNames {
		for z := range compressionNames {
			p := testPolicy(t, Cipher(c), Compression(z))
			all[p.Cipher.String()+"/"+p.Compression.String()] = p
		}
	}
	return all
}

func TestObjectRoundTrips(t *testing.T) {
	for name, p := range policies(t) {
		for _, n := range []int{0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 2 * chunkBytes, 3*chunkBytes + 5} {
			plain := noise(n)
			got, err := open(p.Ring, "test", sealed(t, p, "test", plain))
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s: %d bytes came back as %d, %v", name, n, len(got), err)
			}
		}
	}
}

func TestCompressionCompresses(t *testing.T) {
	plain := bytes.Repeat([]byte("mcpraft"), 100_000)
	if n := len(sealed(t, testPolicy(t, AESGCM, Zstd), "test", plain)); n > len(plain)/100 {
		t.Errorf("%d bytes became %d", len(plain), n)
	}
}

// refused fails the test unless object is refused, as damage where it is nothing
// else, and what was read before is a beginning of plain.
func refused(t *testing.T, p Policy, object, plain []byte, format string, args ...any) {
	t.Helper()
	got, err := open(p.Ring, "test", object)
	switch fault.Of(err) {
	case fault.Integrity, fault.Unsupported, fault.Forbidden:
	default:
		t.Errorf("%s: error is %v", fmt.Sprintf(format, args...), err)
	}
	if !bytes.HasPrefix(plain, got) {
		t.Errorf("%s: other bytes were read", fmt.Sprintf(format, args...))
	}
}

func TestEveryFlippedBitIsAnError(t *testing.T) {
	for name, p := range policies(t) {
		plain := noise(100)
		object := sealed(t, p, "test", plain)
		for bit := range 8 * len(object) {
			object[bit/8] ^= 1 << (bit % 8)
			refused(t, p, object, plain, "%s: bit %d of %d", name, bit, 8*len(object))
			object[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestEveryCutAndEveryTailIsAnError(t *testing.T) {
	for name, p := range policies(t) {
		plain := noise(100)
		object := sealed(t, p, "test", plain)
		for n := range object {
			refused(t, p, object[:n], plain, "%s: cut to %d of %d", name, n, len(object))
		}
		refused(t, p, append(bytes.Clone(object), 0), plain, "%s: one byte follows", name)
		refused(t, p, append(bytes.Clone(object), object...), plain, "%s: twice", name)
	}
}

// parts cuts an uncompressed object into its header and its chunks.
func parts(t *testing.T, object []byte, c Cipher) [][]byte {
	t.Helper()
	r := bytes.NewReader(object)
	if _, err := readHeader(r); err != nil {
		t.Fatal(err)
	}
	head := len(object) - r.Len()
	a, err := c.aead(make([]byte, keyBytes))
	if err != nil {
		t.Fatal(err)
	}
	list := [][]byte{object[:head]}
	for rest := object[head:]; len(rest) > 0; {
		n := min(len(rest), chunkBytes+a.Overhead())
		list, rest = append(list, rest[:n]), rest[n:]
	}
	return list
}

func TestChunksCannotMove(t *testing.T) {
	for c := range cipherNames {
		p := testPolicy(t, Cipher(c), Uncompressed)
		plain := noise(4 * chunkBytes)
		a := parts(t, sealed(t, p, "test", plain), p.Cipher)
		b := parts(t, sealed(t, p, "test", plain), p.Cipher)
		if len(a) != 5 {
			t.Fatalf("%v: %d chunks", p.Cipher, len(a)-1)
		}
		for what, list := range map[string][][]byte{
			"cut at a chunk":            a[:4],
			"only the header":           a[:1],
			"two changed places":        {a[0], a[2], a[1], a[3], a[4]},
			"one twice":                 {a[0], a[1], a[1], a[2], a[3], a[4]},
			"the last twice":            {a[0], a[1], a[2], a[3], a[4], a[4]},
			"one is missing":            {a[0], a[1], a[3], a[4]},
			"one of another object":     {a[0], a[1], b[2], a[3], a[4]},
			"the header of another":     {b[0], a[1], a[2], a[3], a[4]},
			"the last one is the first": {a[0], a[4]},
		} {
			refused(t, p, bytes.Join(list, nil), plain, "%v: %s", p.Cipher, what)
		}
	}
}

// The same bytes have one form only, also from a writer that has the key.
func TestAnEmptyLastChunkIsRefused(t *testing.T) {
	p := testPolicy(t, AESGCM, Uncompressed)
	h, key, err := newHeader(p, "test")
	if err != nil {
		t.Fatal(err)
	}
	a, err := h.chunkAEAD(key)
	if err != nil {
		t.Fatal(err)
	}
	object := bytes.NewBuffer(append(h.encode(), h.auth[:]...))
	w := &chunkWriter{w: object, chunkState: chunkState{aead: a, auth: h.auth}, plain: noise(chunkBytes)}
	w.flush(false)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, p, object.Bytes(), noise(chunkBytes), "an empty chunk at the end")
}

func TestErrorsTellACutFromAFlip(t *testing.T) {
	p := testPolicy(t, AESGCM, Uncompressed)
	a := parts(t, sealed(t, p, "test", noise(3*chunkBytes)), p.Cipher)
	_, err := open(p.Ring, "test", bytes.Join(a[:3], nil))
	if err == nil || err.Error() != "sealed object is damaged: it ends early, after chunk 1" {
		t.Errorf("cut: %v", err)
	}
	_, err = open(p.Ring, "test", append(bytes.Join(a, nil), make([]byte, chunkBytes)...))
	if err == nil || err.Error() != "sealed object is damaged: bytes follow its last chunk" {
		t.Errorf("tail: %v", err)
	}
}

func TestObjectIsBoundToItsContext(t *testing.T) {
	for name, p := range policies(t) {
		if _, err := open(p.Ring, "segment 2", sealed(t, p, "segment 1", nil)); fault.Of(err) != fault.Integrity {
			t.Errorf("%s: segment 1 opens as segment 2: %v", name, err)
		}
	}
}

func TestAnyRecipientOpens(t *testing.T) {
	daily, escrow, other := testKey(t, 1, AESGCM), testKey(t, 2, ChaCha20Poly1305), testKey(t, 3, AESGCM)
	p := Policy{Cipher: AESGCM, Ring: NewRing(daily).with([]Key{escrow})}
	object := sealed(t, p, "test", []byte("secret"))
	for _, k := range []Key{daily, escrow} {
		if got, err := open(NewRing(k), "test", object); err != nil || string(got) != "secret" {
			t.Errorf("%v: %q, %v", k, got, err)
		}
	}
	_, err := open(NewRing(other), "test", object)
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Kind != fault.Forbidden || e.Details["keys"] != daily.ID().String()+","+escrow.ID().String() {
		t.Errorf("with a foreign key: %v", err)
	}
	if bytes.Contains(object, []byte("secret")) {
		t.Error("the plaintext stands in the object")
	}
}

func TestInspectNamesTheKeys(t *testing.T) {
	for name, p := range policies(t) {
		object := sealed(t, p, "test", noise(chunkBytes))
		info, err := Inspect(bytes.NewReader(object[:min(HeadBytes, len(object))]))
		if err != nil || info.Cipher != p.Cipher || info.Compression != p.Compression || len(info.Keys) != len(p.Ring.Recipients()) {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
		for i, k := range p.Ring.Recipients() {
			if info.Keys[i] != k.ID() {
				t.Errorf("%s: key %d is %v, want %v", name, i, info.Keys[i], k)
			}
		}
	}
}

// MaxRecipients of the largest kind must fit into what HeadBytes promises.
func TestHeadBytesAreEnough(t *testing.T) {
	var ring Ring
	for i := range MaxRecipients {
		ring = ring.with([]Key{testKey(t, byte(i+1), AESGCM)})
	}
	object := sealed(t, Policy{Cipher: AESGCM, Ring: ring}, "test", noise(chunkBytes))
	info, err := Inspect(bytes.NewReader(object[:HeadBytes]))
	if err != nil || len(info.Keys) != MaxRecipients {
		t.Errorf("%d keys, %v", len(info.Keys), err)
	}
}

func TestCipherWithoutKeyIsRefused(t *testing.T) {
	if _, err := (Policy{Cipher: AESGCM}).NewWriter(io.Discard, "test"); fault.Of(err) != fault.Invalid {
		t.Errorf("NewWriter = %v", err)
	}
}

func TestWriterRefusesWorkAfterClose(t *testing.T) {
	w, err := Policy{}.NewWriter(io.Discard, "test")
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("Write after Close")
	}
	if err := w.Close(); err == nil {
		t.Error("Close after Close")
	}
}

// brokenSource gives the first n bytes of an object, then fails.
type brokenSource struct {
	r   io.Reader
	err error
}

func (b brokenSource) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

func TestBrokenConnectionIsNotDamage(t *testing.T) {
	for name, p := range policies(t) {
		object := sealed(t, p, "test", noise(2*chunkBytes))
		for _, broken := range []error{io.ErrUnexpectedEOF, os.ErrDeadlineExceeded} {
			for _, n := range []int{0, 10, 100, 5000, len(object) - 1} {
				r, err := p.Ring.NewReader(brokenSource{bytes.NewReader(object[:n]), broken}, "test")
				if err == nil {
					_, err = io.Copy(io.Discard, r)
				}
				if !errors.Is(err, broken) || fault.Of(err) == fault.Integrity {
					t.Errorf("%s: after %d bytes: %v, want %v", name, n, err, broken)
				}
			}
		}
	}
}

// A writer that fails once must not look whole later.
func TestFailedWriteIsNotForgotten(t *testing.T) {
	for name, p := range policies(t) {
		limit := &limitedWriter{left: 4096}
		w, err := p.NewWriter(limit, "test")
		if err != nil {
			t.Fatal(err)
		}
		_, writeErr := w.Write(noise(40 * chunkBytes))
		limit.left = 1 << 30
		if closeErr := w.Close(); closeErr == nil {
			t.Errorf("%s: Write said %v and Close nothing", name, writeErr)
		}
	}
}

type limitedWriter struct{ left int }

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.left < len(p) {
		return 0, io.ErrShortWrite
	}
	l.left -= len(p)
	return len(p), nil
}
