package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// An API token is mcpraft_NAME_SECRET. The name finds its record; the secret is
// of the same form as that of rand.Text, 130 random bits. Secret scanners of code
// hosts find it by its prefix.
const (
	tokenPrefix  = "mcpraft_"
	secretBytes  = 26
	tokenPurpose = "api token" // of the hash
)

// A Secret is a new API token: Text is for its holder alone, Hash and KeyID go
// into its record.
type Secret struct {
	Text  string
	Hash  []byte
	KeyID uint32
}

// NewToken makes the secret of the API token of that name.
func (k *KeyRing) NewToken(name string) (Secret, error) {
	if err := record.ValidTokenName(name); err != nil {
		return Secret{}, err
	}
	known := k.keys.Load()
	if known == nil {
		return Secret{}, k.Err()
	}
	secret := rand.Text()
	return Secret{
		Text:  tokenPrefix + name + "_" + secret,
		Hash:  known.current.tokenHash(name, secret),
		KeyID: known.current.ID,
	}, nil
}

func (k *ringKey) tokenHash(name, secret string) []byte {
	return k.hmac(nil, tokenPurpose, [][]byte{[]byte(name), []byte(secret)})
}

// parseToken takes an API token apart; ok is false for anything else. No part of
// a name has an underscore.
func parseToken(text string) (name, secret string, ok bool) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return "", "", false
	}
	name, secret, ok = strings.Cut(rest, "_")
	return name, secret, ok && len(secret) == secretBytes && base32Text(secret) && record.ValidTokenName(name) == nil
}

func base32Text(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// verifyToken reports whether secret is that of t.
func (k *KeyRing) verifyToken(t *record.Token, secret string) (bool, error) {
	known := k.keys.Load()
	if known == nil {
		return false, k.Err()
	}
	key := known.byID[t.KeyID]
	if key == nil {
		return false, fault.New(fault.Unavailable, "this node does not know the key that token %s was made with", t.Name).
			WithHint("it follows the cluster's key ring within moments; if this stays, make the token anew")
	}
	return subtle.ConstantTimeCompare(key.tokenHash(t.Name, secret), t.Hash) == 1, nil
}
