package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// The header of a sealed object (docs/format/seal.md):
//
//	magic [8], format u16, cipher u8, compression u8, salt [16], recipients u8,
//	for each: key id [8], n u8, the object's key sealed by that key [n],
//	authenticator [32]
//
// All integers are big-endian. The authenticator is an HMAC-SHA-256, under a key
// that is derived from the object's, of everything before it and the context.
const (
	magic       = "mcpraftE"
	format      = 1
	fixedBytes  = len(magic) + 2 + 1 + 1 + saltBytes + 1
	authBytes   = sha256.Size
	maxWrapped  = 64
	maxHeadSize = fixedBytes + MaxRecipients*(len(KeyID{})+1+maxWrapped) + authBytes
)

// HeadBytes is enough of the beginning of any sealed object for Inspect.
const HeadBytes = maxHeadSize

type recipient struct {
	id      KeyID
	wrapped []byte
}

// A header is what stands before the chunks.
type header struct {
	cipher      Cipher
	compression Compression
	salt        [saltBytes]byte
	recipients  []recipient
	auth        [authBytes]byte
}

// newHeader makes a key for a new object and the header that holds it.
func newHeader(p Policy, context string) (h header, key []byte, err error) {
	h = header{cipher: p.Cipher, compression: p.Compression}
	rand.Read(h.salt[:])
	key = make([]byte, keyBytes) // zero, and no secret, without a cipher
	if p.Cipher != None {
		rand.Read(key)
		for _, k := range p.Ring.Recipients() {
			wrapped, err := k.wrap(key, h.salt[:])
			if err != nil {
				return h, nil, err
			}
			h.recipients = append(h.recipients, recipient{k.id, wrapped})
		}
	}
	h.auth, err = h.authenticator(key, context)
	return h, key, err
}

// wrapAEAD is the cipher that wraps the key of the object with that salt for k.
func (k Key) wrapAEAD(salt []byte) (cipher.AEAD, error) {
	key, err := derive(k.secret(), salt, "wrap")
	if err != nil {
		return nil, err
	}
	return k.cipher.aead(key)
}

func (k Key) wrap(key, salt []byte) ([]byte, error) {
	a, err := k.wrapAEAD(salt)
	if err != nil {
		return nil, err
	}
	return a.Seal(nil, nonce(a, 0), key, k.id[:]), nil
}

func (k Key) unwrap(wrapped, salt []byte) ([]byte, error) {
	a, err := k.wrapAEAD(salt)
	if err != nil {
		return nil, err
	}
	key, err := a.Open(nil, nonce(a, 0), wrapped, k.id[:])
	if err != nil || len(key) != keyBytes {
		return nil, damaged("the key in its header does not open with key %v", k.id)
	}
	return key, nil
}

// encode is the header without its authenticator.
func (h *header) encode() []byte {
	b := make([]byte, 0, maxHeadSize)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, format)
	b = append(b, byte(h.cipher), byte(h.compression))
	b = append(b, h.salt[:]...)
	b = append(b, byte(len(h.recipients)))
	for _, r := range h.recipients {
		b = append(b, r.id[:]...)
		b = append(b, byte(len(r.wrapped)))
		b = append(b, r.wrapped...)
	}
	return b
}

func (h *header) authenticator(key []byte, context string) (sum [authBytes]byte, err error) {
	macKey, err := derive(key, h.salt[:], "header")
	if err != nil {
		return sum, err
	}
	mac := hmac.New(sha256.New, macKey)
	mac.Write(h.encode())
	mac.Write([]byte(context))
	mac.Sum(sum[:0])
	return sum, nil
}

// open finds the object's key in h and verifies that h is of context.
func (h *header) open(ring Ring, context string) (key []byte, err error) {
	key = make([]byte, keyBytes)
	if h.cipher != None {
		if key, err = h.unwrap(ring); err != nil {
			return nil, err
		}
	}
	want, err := h.authenticator(key, context)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(want[:], h.auth[:]) {
		return nil, damaged("its header does not verify: it was changed, or this is not the object %q", context)
	}
	return key, nil
}

func (h *header) unwrap(ring Ring) ([]byte, error) {
	for _, r := range h.recipients {
		if k, ok := ring.Find(r.id); ok {
			return k.unwrap(r.wrapped, h.salt[:])
		}
	}
	return nil, ring.noKey(h.ids()...)
}

func (h *header) ids() []KeyID {
	var ids []KeyID
	for _, r := range h.recipients {
		ids = append(ids, r.id)
	}
	return ids
}

// readHeader reads a header and trusts nothing in it.
func readHeader(r io.Reader) (h header, err error) {
	var b [fixedBytes]byte
	if err := readAll(r, b[:]); err != nil {
		return h, err
	}
	rest, ok := bytes.CutPrefix(b[:], []byte(magic))
	if !ok {
		return h, damaged("it begins with %x, which is no sealed object", b[:len(magic)])
	}
	if f := binary.BigEndian.Uint16(rest); f != format {
		return h, fault.New(fault.Unsupported, "sealed object has format %d, this binary reads %d", f, format)
	}
	h.cipher, h.compression = Cipher(rest[2]), Compression(rest[3])
	copy(h.salt[:], rest[4:])
	count := int(rest[4+saltBytes])
	if int(h.cipher) >= len(cipherNames) || int(h.compression) >= len(compressionNames) {
		return h, fault.New(fault.Unsupported, "sealed object has cipher %d and compression %d, this binary does not know them", uint8(h.cipher), uint8(h.compression))
	}
	if count > MaxRecipients || (count == 0) != (h.cipher == None) {
		return h, damaged("its cipher is %v and it is for %d keys", h.cipher, count)
	}
	for range count {
		var rec recipient
		if rec, err = readRecipient(r); err != nil {
			return h, err
		}
		h.recipients = append(h.recipients, rec)
	}
	return h, readAll(r, h.auth[:])
}

func readRecipient(r io.Reader) (rec recipient, err error) {
	var b [len(KeyID{}) + 1]byte
	if err := readAll(r, b[:]); err != nil {
		return rec, err
	}
	rec.id = KeyID(b[:])
	n := int(b[len(rec.id)])
	if n > maxWrapped {
		return rec, damaged("the key in its header has %d bytes", n)
	}
	rec.wrapped = make([]byte, n)
	return rec, readAll(r, rec.wrapped)
}

// An Info is what the header of a sealed object says. It is not verified.
type Info struct {
	Cipher      Cipher
	Compression Compression
	Keys        []KeyID // any one of them opens it; none is needed without a cipher
}

// Inspect reads the header of a sealed object, at most HeadBytes.
func Inspect(r io.Reader) (Info, error) {
	h, err := readHeader(r)
	if err != nil {
		return Info{}, err
	}
	return Info{h.cipher, h.compression, h.ids()}, nil
}

// damaged is the error of an object that does not verify.
func damaged(format string, args ...any) error {
	return fault.New(fault.Integrity, "sealed object is damaged: "+format, args...)
}
