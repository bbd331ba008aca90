package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// MaxValueBytes bounds what Seal takes.
const MaxValueBytes = 1 << 20

// A sealed value (docs/format/seal.md):
//
//	version u8, key id [8], salt [16], ciphertext
const (
	valueVersion = 1
	saltBytes    = 16
	valueHead    = 1 + len(KeyID{}) + saltBytes
)

// Seal encrypts a small secret by the newest key of r. The purpose says what kind
// of secret it is and aad which one (an id, the name of the record it lies in);
// neither is stored, and Open needs the same: a sealed value that is moved to
// another record does not open there.
func (r Ring) Seal(purpose string, aad, plaintext []byte) ([]byte, error) {
	if len(plaintext) > MaxValueBytes {
		return nil, fault.New(fault.TooLarge, "a secret of %d bytes cannot be sealed, the limit is %d", len(plaintext), MaxValueBytes)
	}
	k, err := r.Newest()
	if err != nil {
		return nil, err
	}
	head := make([]byte, valueHead, valueHead+len(plaintext)+64)
	head[0] = valueVersion
	copy(head[1:], k.id[:])
	rand.Read(head[1+len(k.id):])
	a, err := k.valueAEAD(head)
	if err != nil {
		return nil, err
	}
	return a.Seal(head, nonce(a, 0), plaintext, valueAAD(head, purpose, aad)), nil
}

// Open is the plaintext of what Seal made, if purpose and aad are the same and r
// has its key. The error is Forbidden when the key is missing and Integrity when
// the value does not verify.
func (r Ring) Open(purpose string, aad, sealed []byte) ([]byte, error) {
	id, err := SealedBy(sealed)
	if err != nil {
		return nil, err
	}
	k, ok := r.Find(id)
	if !ok {
		return nil, r.noKey(id)
	}
	head, body := sealed[:valueHead:valueHead], sealed[valueHead:]
	a, err := k.valueAEAD(head)
	if err != nil {
		return nil, err
	}
	plaintext, err := a.Open(nil, nonce(a, 0), body, valueAAD(head, purpose, aad))
	if err != nil {
		return nil, fault.New(fault.Integrity, "a sealed %s does not verify: it is damaged, or it belongs to another record", purpose)
	}
	return plaintext, nil
}

// SealedBy is the key that opens a sealed value. Nothing is verified.
func SealedBy(sealed []byte) (KeyID, error) {
	if len(sealed) < valueHead {
		return KeyID{}, fault.New(fault.Integrity, "a sealed value has at least %d bytes, this one has %d", valueHead, len(sealed))
	}
	if sealed[0] != valueVersion {
		return KeyID{}, fault.New(fault.Unsupported, "a sealed value has version %d, this binary reads %d", sealed[0], valueVersion)
	}
	return KeyID(sealed[1:]), nil
}

// valueAEAD is the cipher for the value with that head: its key is for this value
// alone.
func (k Key) valueAEAD(head []byte) (cipher.AEAD, error) {
	key, err := derive(k.secret(), head[valueHead-saltBytes:valueHead], "value")
	if err != nil {
		return nil, err
	}
	return k.cipher.aead(key)
}

func valueAAD(head []byte, purpose string, aad []byte) []byte {
	b := make([]byte, 0, valueHead+8+len(purpose)+len(aad))
	b = append(b, head[:valueHead]...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(purpose)))
	b = append(b, purpose...)
	return append(b, aad...)
}
