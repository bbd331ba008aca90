package seal

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A KeyID names a key. It is derived from the key, so that a key that was copied
// wrongly has another name, and gives nothing of it away. Its text is 16
// lower-case hexadecimal digits.
type KeyID [8]byte

func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// ParseKeyID reads the text form of a KeyID.
func ParseKeyID(s string) (id KeyID, err error) {
	if len(s) != 2*len(id) {
		return id, fault.New(fault.Invalid, "key id %q has %d characters, want %d hexadecimal digits", s, len(s), 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return KeyID{}, fault.New(fault.Invalid, "key id %q: %v", s, err)
	}
	return id, nil
}

// MarshalText and UnmarshalText give a KeyID its text form in JSON.
func (id KeyID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

func (id *KeyID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseKeyID(string(b))
	return err
}

// A Key opens what was sealed for it. It does not change, and prints as its id:
// the secret is only in the text of a key file. Keys are the same if their ids are.
type Key struct {
	id      KeyID
	cipher  Cipher
	created time.Time
	secret  func() []byte // no verb of fmt prints what a function holds, wherever the Key lies
}

// NewKey is a new random key that seals by AES-GCM.
func NewKey() (Key, error) { return AESGCM.NewKey() }

// NewKey is a new random key that seals by c, which must be a cipher.
func (c Cipher) NewKey() (Key, error) {
	var secret [keyBytes]byte
	rand.Read(secret[:])
	return newKey(c, time.Now(), secret)
}

func newKey(c Cipher, created time.Time, secret [keyBytes]byte) (Key, error) {
	if c == None || int(c) >= len(cipherNames) {
		return Key{}, fault.New(fault.Invalid, "a key cannot be for the cipher %v", c).WithHint("use aes_gcm or chacha20_poly1305")
	}
	id, err := derive(secret[:], nil, "id "+c.String())
	if err != nil {
		return Key{}, err
	}
	return Key{id: KeyID(id[:8]), cipher: c, created: created.UTC().Truncate(time.Second), secret: func() []byte { return secret[:] }}, nil
}

// ID is the name of k.
func (k Key) ID() KeyID { return k.id }

// Cipher is how k seals small values and wraps the keys of objects.
func (k Key) Cipher() Cipher { return k.cipher }

// Created is when k was made, to the second, in UTC.
func (k Key) Created() time.Time { return k.created }

// Due reports whether k is older than days at now, so that a newer key should take
// its place. Keys never fall due when days is 0.
func (k Key) Due(now time.Time, days int) bool {
	return days > 0 && !now.Before(k.created.AddDate(0, 0, days))
}

// String is the id, for Go's printing as well.
func (k Key) String() string { return "key " + k.id.String() }

// GoString is String.
func (k Key) GoString() string { return k.String() }

// line is k as a key file holds it.
func (k Key) line() string {
	return fmt.Sprintf("%s %s %s %s", k.id, k.cipher, k.created.Format(time.RFC3339), hex.EncodeToString(k.secret()))
}

// parseKey reads what line writes. Its errors never quote the secret.
func parseKey(line string) (Key, error) {
	f := strings.Fields(line)
	if len(f) != 4 {
		return Key{}, fault.New(fault.Invalid, "a key has 4 fields {id, cipher, created, secret}, this line has %d", len(f))
	}
	id, err := ParseKeyID(f[0])
	if err != nil {
		return Key{}, err
	}
	c, err := ParseCipher(f[1])
	if err != nil {
		return Key{}, err
	}
	created, err := time.Parse(time.RFC3339, f[2])
	if err != nil {
		return Key{}, fault.New(fault.Invalid, "key %v was created at %q, which is no time like 2026-05-12T14:02:10Z", id, f[2])
	}
	var secret [keyBytes]byte
	if len(f[3]) != 2*len(secret) {
		return Key{}, fault.New(fault.Invalid, "the secret of key %v has %d characters, want %d hexadecimal digits", id, len(f[3]), 2*len(secret))
	}
	if _, err := hex.Decode(secret[:], []byte(f[3])); err != nil {
		return Key{}, fault.New(fault.Invalid, "the secret of key %v is not hexadecimal", id)
	}
	k, err := newKey(c, created, secret)
	if err != nil {
		return Key{}, err
	}
	if k.id != id {
		return Key{}, fault.New(fault.Integrity, "the line of key %v holds another key: its id would be %v", id, k.id).
			WithHint("the line was changed or copied wrongly; take it from a copy of the key file")
	}
	return k, nil
}
