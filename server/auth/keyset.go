package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/strictjson"
)

const (
	maxKeySetBytes = 256 << 10
	maxKeySetKeys  = 64
	maxKeySetDepth = 16
	minRSABits     = 2048
	maxRSABits     = 8192 // a longer one costs too much for each forged token
)

// A keySet finds public keys by the id that a token names. keyfunc asks it, and
// then compares the key's own alg and use.
type keySet struct{ *jwkset.MemoryJWKSet }

func newKeySet(keys []jwkset.JWK) (keySet, error) {
	set := keySet{jwkset.NewMemoryStorage()}
	return set, set.KeyReplaceAll(context.Background(), keys)
}

// KeyRead is the key of that id; if there is but one key, it need not be named by
// the token, nor have a name.
func (s keySet) KeyRead(ctx context.Context, kid string) (jwkset.JWK, error) {
	all, err := s.KeyReadAll(ctx)
	if err != nil {
		return jwkset.JWK{}, err
	}
	for _, k := range all {
		if kid != "" && k.Marshal().KID == kid {
			return k, nil
		}
	}
	if len(all) == 1 && (kid == "" || all[0].Marshal().KID == "") {
		return all[0], nil
	}
	return jwkset.JWK{}, jwkset.ErrKeyNotFound
}

// newKeyfunc is keyfunc over storage, for keys that are meant for signatures or
// for nothing in particular.
func newKeyfunc(storage jwkset.Storage) (keyfunc.Keyfunc, error) {
	return keyfunc.New(keyfunc.Options{Storage: storage, UseWhitelist: []jwkset.USE{jwkset.UseSig, ""}})
}

// ParseKeys reads public keys: one in PEM (PKIX, PKCS #1, or a certificate), a
// JWK, or a JWK set. Keys that cannot verify a signature of Methods are left out;
// it is an error if none is left, or if a private key is among them.
func ParseKeys(text []byte) ([]jwkset.JWK, error) {
	if len(text) > maxKeySetBytes {
		return nil, fmt.Errorf("keys of %d bytes, the limit is %d", len(text), maxKeySetBytes)
	}
	if strings.HasPrefix(strings.TrimSpace(string(text)), "{") {
		return parseJWKs(text)
	}
	return parsePEM(text)
}

func parsePEM(text []byte) ([]jwkset.JWK, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("neither PEM nor a JWK")
	}
	if another, _ := pem.Decode(rest); another != nil {
		return nil, errors.New("more than one key in PEM: a token could not say which; use a JWK set with kid")
	}
	key, err := publicKey(block)
	if err != nil {
		return nil, err
	}
	k, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", block.Type, err)
	}
	return []jwkset.JWK{k}, usable(key)
}

func publicKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("%s is no public key", block.Type)
}

func parseJWKs(text []byte) ([]jwkset.JWK, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	rules := strictjson.Rules{Depth: maxKeySetDepth, AllowUnknown: true}
	if err := rules.DecodeBytes(text, &set); err != nil {
		return nil, err
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{text}
	}
	if len(set.Keys) > maxKeySetKeys {
		return nil, fmt.Errorf("%d keys, the limit is %d", len(set.Keys), maxKeySetKeys)
	}
	var keys []jwkset.JWK
	var skipped []error
	for _, raw := range set.Keys {
		k, err := parseJWK(raw)
		if errors.Is(err, errPrivate) {
			return nil, err
		}
		if err != nil {
			skipped = append(skipped, err)
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.Join(append(skipped, errors.New("no key that can verify a signature"))...)
	}
	return keys, nil
}

var errPrivate = errors.New("a private or shared key where public ones belong: whoever reads it can sign tokens")

func parseJWK(raw []byte) (jwkset.JWK, error) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &m); err != nil {
		return jwkset.JWK{}, err
	}
	if m.D != "" || m.K != "" {
		return jwkset.JWK{}, errPrivate
	}
	// Certificates beside a key say nothing about the issuer that the set does not.
	m.X5U, m.X5C, m.X5T, m.X5TS256 = "", nil, "", ""
	k, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return jwkset.JWK{}, err
	}
	return k, usable(k.Key())
}

// usable reports why no method can use key.
func usable(key any) error {
	for _, m := range Methods {
		if fits(m, key) {
			return nil
		}
	}
	if k, ok := key.(*rsa.PublicKey); ok {
		return fmt.Errorf("an RSA key of %d bits, want %d to %d", k.N.BitLen(), minRSABits, maxRSABits)
	}
	return fmt.Errorf("a key of type %T", key)
}

// fits reports whether a method is one for keys of this type and size.
func fits(method string, key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return (strings.HasPrefix(method, "RS") || strings.HasPrefix(method, "PS")) && bits >= minRSABits && bits <= maxRSABits
	case *ecdsa.PublicKey:
		return method == "ES256" && k.Params().BitSize == 256 || method == "ES384" && k.Params().BitSize == 384
	case ed25519.PublicKey:
		return method == "EdDSA"
	}
	return false
}

// errKeysUnknown says that an issuer's keys were never fetched: nobody can know
// yet whether a token is good.
var errKeysUnknown = fault.New(fault.Unavailable, "the keys of the token's issuer are not known yet").
	WithHint("try again in some seconds; if this stays, the node's log says why they cannot be fetched")
