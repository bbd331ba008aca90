package record

// Bounds of a token.
const (
	TokenHashBytes = 32
	MaxTokenScopes = 32
)

// A Token is an API token by its name. The secret is known to its holder alone;
// the state has a keyed hash of it.
type Token struct {
	Name      string    `cbor:"1,keyasint"` // [a-z0-9][a-z0-9-]*, part of the token's text
	Hash      []byte    `cbor:"2,keyasint"` // HMAC of the secret, TokenHashBytes long
	KeyID     uint32    `cbor:"3,keyasint"` // which key of the ring made the hash
	Principal Principal `cbor:"4,keyasint"` // who its holder is
	ClientID  string    `cbor:"5,keyasint,omitempty"`
	Admin     bool      `cbor:"6,keyasint,omitempty"` // may use the admin API
	Scopes    []string  `cbor:"7,keyasint,omitempty"`
	Created   LogTime   `cbor:"8,keyasint,omitempty"`  // set when applied
	Expires   LogTime   `cbor:"9,keyasint,omitempty"`  // 0: never
	Revision  uint64    `cbor:"10,keyasint,omitempty"` // set when applied
}

// Validate reports every mistake of t.
func (t *Token) Validate() error {
	p := problems{noun: "token"}
	p.name("name", t.Name, MaxName)
	if len(t.Hash) != TokenHashBytes {
		p.add("hash", "has %d bytes, want %d", len(t.Hash), TokenHashBytes)
	}
	p.principal("principal", t.Principal)
	p.text("client_id", t.ClientID, MaxClientID, false)
	if len(t.Scopes) > MaxTokenScopes {
		p.add("scopes", "has %d, the limit is %d", len(t.Scopes), MaxTokenScopes)
	}
	for _, scope := range t.Scopes {
		p.text("scopes", scope, MaxName, true)
	}
	return p.err()
}

// ValidTokenName reports why name cannot name a token, or nil.
func ValidTokenName(name string) error { return validName("token", name) }

// MaxKeyRing bounds the sealed keys of the cluster, in bytes.
const MaxKeyRing = 16 << 10

// A KeyRing is the cluster's own keys (of ids, of sealed records), sealed under a
// key that only the nodes' files hold.
type KeyRing struct {
	Sealed   []byte  `cbor:"1,keyasint"`
	Updated  LogTime `cbor:"2,keyasint,omitempty"` // set when applied
	Revision uint64  `cbor:"3,keyasint,omitempty"` // set when applied
}

// Validate reports every mistake of r.
func (r *KeyRing) Validate() error {
	p := problems{noun: "key ring"}
	if len(r.Sealed) == 0 || len(r.Sealed) > MaxKeyRing {
		p.add("sealed", "has %d bytes, want 1 to %d", len(r.Sealed), MaxKeyRing)
	}
	return p.err()
}
