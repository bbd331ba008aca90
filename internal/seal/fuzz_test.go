package seal

import (
	"bytes"
	"io"
	"testing"
)

// Whatever is read, what comes out is a beginning of what went in: nobody without
// the key makes an object that says something else.
func FuzzReader(f *testing.F) {
	plain := noise(chunkBytes + 100)
	all := policies(f)
	ring := all["aes_gcm/none"].Ring
	for _, p := range all {
		if p.Cipher != None {
			f.Add(sealed(f, p, "test", plain))
			f.Add(sealed(f, p, "test", nil))
		}
	}
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, object []byte) {
		if info, err := Inspect(bytes.NewReader(object)); err != nil || info.Cipher == None {
			return
		}
		r, err := ring.NewReader(bytes.NewReader(object), "test")
		if err != nil {
			return
		}
		got, err := io.ReadAll(io.LimitReader(r, 1<<20))
		if !bytes.HasPrefix(plain, got) {
			t.Errorf("%d bytes that were never sealed, %v", len(got), err)
		}
	})
}

// Without a cipher anybody can make an object: it must neither panic nor take more
// memory than its windows.
func FuzzReaderWithoutCipher(f *testing.F) {
	for _, z := range []Compression{Uncompressed, Zstd} {
		f.Add(sealed(f, Policy{Compression: z}, "test", noise(1000)), uint8(z))
	}
	f.Fuzz(func(t *testing.T, body []byte, z uint8) {
		// What the fuzzer makes is sealed, so that it reaches the decompressor.
		h, key, err := newHeader(Policy{Compression: Compression(z % 2)}, "test")
		if err != nil {
			t.Fatal(err)
		}
		a, err := h.chunkAEAD(key)
		if err != nil {
			t.Fatal(err)
		}
		var object bytes.Buffer
		object.Write(append(h.encode(), h.auth[:]...))
		w := &chunkWriter{w: &object, chunkState: chunkState{aead: a, auth: h.auth}, plain: make([]byte, 0, chunkBytes)}
		_, _ = w.Write(body)
		_ = w.Close()
		for _, b := range [][]byte{body, object.Bytes()} {
			if r, err := (Ring{}).NewReader(bytes.NewReader(b), "test"); err == nil {
				_, _ = io.Copy(io.Discard, io.LimitReader(r, 64<<20))
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	ring := NewRing(testKey(f, 1, AESGCM), testKey(f, 2, ChaCha20Poly1305))
	value, err := ring.Seal("test", nil, []byte("secret"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Fuzz(func(t *testing.T, value []byte) {
		if got, err := ring.Open("test", nil, value); err == nil && string(got) != "secret" {
			t.Errorf("%q was never sealed", got)
		}
	})
}

// A key file that is read can be written, and is then read as the same keys.
func FuzzParseKeys(f *testing.F) {
	f.Add(FormatKeys(testKey(f, 1, AESGCM), testKey(f, 2, ChaCha20Poly1305)))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ParseKeys(text)
		if err != nil {
			return
		}
		again, err := ParseKeys(FormatKeys(keys...))
		if err != nil || !sameKeys(keys, again) {
			t.Errorf("%v became %v, %v", keys, again, err)
		}
	})
}
