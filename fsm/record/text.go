package record

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of text fields, in bytes.
const (
	MaxKey           = 512
	MaxName          = 63 // node names, claim names
	MaxAlias         = 16
	MaxLocation      = 2048
	MaxURL           = 2048
	MaxPrincipal     = 512 // issuer and subject, each
	MaxClientID      = 256
	MaxSessionID     = 128
	MaxReason        = 256
	MaxMetadataPairs = 64
	MaxMetadataKey   = 128
	MaxMetadataValue = 4096
	MaxMetadataBytes = 64 << 10
)

// text checks a field that people or foreign programs chose: valid UTF-8, no
// control characters (so that NUL can end a key part), at most limit bytes.
func (p *problems) text(field, value string, limit int, required bool) {
	switch {
	case isPlain(value) && len(value) <= limit && (value != "" || !required):
	case value == "" && required:
		p.add(field, "is missing")
	case len(value) > limit:
		p.add(field, "has %d bytes, the limit is %d", len(value), limit)
	case !utf8.ValidString(value):
		p.add(field, "is not valid UTF-8")
	case strings.ContainsFunc(value, unicode.IsControl):
		p.add(field, "contains a control character")
	}
}

// isPlain reports whether s is printable ASCII, as almost all texts are: a quick
// answer to all that text asks of characters.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// name checks a lower-case name: [a-z0-9][a-z0-9-]*, at most limit bytes.
func (p *problems) name(field, value string, limit int) {
	switch {
	case value == "":
		p.add(field, "is missing")
	case len(value) > limit:
		p.add(field, "has %d bytes, the limit is %d", len(value), limit)
	case !isName(value):
		p.add(field, "%q is not a name: use a-z, 0-9 and -, not - first", value)
	}
}

// reference checks the name of something in the configuration of a node: a name
// that may hold "_", too.
func (p *problems) reference(field, value string) {
	if strings.HasPrefix(value, "_") {
		p.add(field, "%q is not a name: use a-z, 0-9, - and _, not - or _ first", value)
		return
	}
	p.name(field, strings.ReplaceAll(value, "_", "-"), MaxName)
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' && i > 0 {
			continue
		}
		return false
	}
	return s != ""
}

// ValidNode reports why name cannot be the name of a node, or nil.
func ValidNode(name string) error { return validName("node", name) }

// ValidCommand reports why name cannot be the name of a command of a node, or nil.
func ValidCommand(name string) error {
	p := problems{noun: "command"}
	p.reference("name", name)
	return p.err()
}

// ValidCluster reports why name cannot be the name of a cluster, or nil.
func ValidCluster(name string) error { return validName("cluster", name) }

func validName(noun, name string) error {
	p := problems{noun: noun + " name"}
	p.name(noun, name, MaxName)
	return p.err()
}

// ValidText reports why value cannot stand in the field of that name, or nil:
// it must be valid UTF-8 without control characters, of 1 to limit bytes.
func ValidText(field, value string, limit int) error {
	p := problems{noun: field}
	p.text(field, value, limit, true)
	return p.err()
}

// ValidSessionID reports why id cannot name a session, or nil.
func ValidSessionID(id string) error {
	p := problems{noun: "session id"}
	p.sessionID("id", id)
	return p.err()
}

// ValidAlias reports why alias cannot name an upstream, or nil.
func ValidAlias(alias string) error {
	p := problems{noun: "alias"}
	p.name("alias", alias, MaxAlias)
	return p.err()
}

// ValidMetadata reports why m cannot be the metadata of a record, or nil.
func ValidMetadata(m map[string]string) error {
	p := problems{noun: "metadata"}
	p.metadata("metadata", m)
	return p.err()
}

func (p *problems) metadata(field string, m map[string]string) {
	if len(m) > MaxMetadataPairs {
		p.add(field, "has %d pairs, the limit is %d", len(m), MaxMetadataPairs)
		return
	}
	total, plain := 0, true
	for k, v := range m { // order: a sum has none
		total += len(k) + len(v)
		plain = plain && k != "" && len(k) <= MaxMetadataKey && len(v) <= MaxMetadataValue && isPlain(k) && isPlain(v)
	}
	if total > MaxMetadataBytes {
		p.add(field, "has %d bytes, the limit is %d", total, MaxMetadataBytes)
	}
	if plain {
		return
	}
	// Sorted, so that the message is the same on every node.
	for _, k := range sortedKeys(m) {
		p.text(field+" key", k, MaxMetadataKey, true)
		v := m[k]
		if len(v) > MaxMetadataValue {
			p.add(field+"."+k, "has %d bytes, the limit is %d", len(v), MaxMetadataValue)
		} else if !utf8.ValidString(v) {
			p.add(field+"."+k, "is not valid UTF-8")
		}
	}
}
