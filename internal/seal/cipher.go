package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A Cipher says how bytes are encrypted. Numbers are for ever: they are stored.
type Cipher uint8

const (
	None             Cipher = 0 // not encrypted; accidents are found, attackers are not
	AESGCM           Cipher = 1 // AES-256-GCM with random nonces
	ChaCha20Poly1305 Cipher = 2 // with the number of the message as its nonce
)

// cipherNames are the names in configuration and key files, by number.
var cipherNames = [...]string{"none", "aes_gcm", "chacha20_poly1305"}

func (c Cipher) String() string {
	if int(c) < len(cipherNames) {
		return cipherNames[c]
	}
	return "unknown"
}

// ParseCipher reads the name of a cipher.
func ParseCipher(name string) (Cipher, error) {
	if i := slices.Index(cipherNames[:], name); i >= 0 {
		return Cipher(i), nil
	}
	return 0, fault.New(fault.Invalid, "no cipher is called %q", name).WithHint("use aes_gcm, chacha20_poly1305 or none")
}

// aead is the cipher under a key of 32 bytes. Its nonces are made by nonce.
func (c Cipher) aead(key []byte) (cipher.AEAD, error) {
	switch c {
	case None:
		return sumAEAD{}, nil
	case AESGCM:
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCMWithRandomNonce(block)
	case ChaCha20Poly1305:
		a, err := chacha20poly1305.New(key)
		if err != nil {
			return nil, fault.New(fault.Unsupported, "chacha20_poly1305 cannot be used here: %v", err).WithHint("use aes_gcm")
		}
		return a, nil
	}
	return nil, fault.New(fault.Unsupported, "cipher %d is not known to this binary", uint8(c))
}

// nonce is that of message number under a: nothing for an AEAD that draws its own.
// A key seals each number once.
func nonce(a cipher.AEAD, number uint64) []byte {
	var n [chacha20poly1305.NonceSize]byte
	binary.BigEndian.PutUint64(n[len(n)-8:], number)
	return n[:a.NonceSize()]
}

const keyBytes = 32

// derive is the key for one purpose out of secret. The info says which; it begins
// with the name and version of this construction.
func derive(secret, salt []byte, info string) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, salt, "mcpraft seal 1 "+info, keyBytes)
}

var errSum = errors.New("checksum does not match")

// sumAEAD stands for no cipher: it appends half of a SHA-256 over the additional
// data and the plaintext.
type sumAEAD struct{}

const sumBytes = 16

func (sumAEAD) NonceSize() int { return 0 }

func (sumAEAD) Overhead() int { return sumBytes }

func (sumAEAD) Seal(dst, _, plaintext, aad []byte) []byte {
	sum := sumOf(plaintext, aad)
	return append(append(dst, plaintext...), sum[:sumBytes]...)
}

func (sumAEAD) Open(dst, _, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < sumBytes {
		return nil, errSum
	}
	plaintext, sum := sealed[:len(sealed)-sumBytes], sealed[len(sealed)-sumBytes:]
	want := sumOf(plaintext, aad)
	if subtle.ConstantTimeCompare(sum, want[:sumBytes]) != 1 {
		return nil, errSum
	}
	return append(dst, plaintext...), nil
}

func sumOf(plaintext, aad []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(aad))))
	h.Write(aad)
	h.Write(plaintext)
	h.Sum(sum[:0])
	return sum
}
