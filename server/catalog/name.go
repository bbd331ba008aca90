package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

const (
	// MaxPublicName is the length of a tool's or prompt's name in the aggregate.
	// Models take 64 bytes, and clients put prefixes of their own before it.
	MaxPublicName = 50

	separator  = "__"
	hashDigits = 8 // of a name that does not stand for itself; more only if that collides
)

// publicNames are the names of one upstream's tools, or prompts, in the aggregate:
// <alias>__<name>, with '_' for each character that models do not take. A name
// that is cut, and one that shares its public name with another, ends in a hash of
// the original; of those that share one, the name that needed no change keeps it.
// So what a name becomes depends only on the alias and the set of names, and no
// other upstream can take it: no alias contains '_'.
func publicNames(alias string, names []string) map[string]string {
	plain := make(map[string]int, len(names)) // how many names want it
	for _, name := range names {
		plain[plainName(alias, name)]++
	}
	public := make(map[string]string, len(names))
	taken := make(map[string]bool, len(names))
	keep := func(name, p string) { public[name], taken[p] = p, true }
	var others []string
	for _, name := range names {
		p := plainName(alias, name)
		exact := p == alias+separator+name
		if fits := len(p) <= MaxPublicName; fits && (exact || plain[p] == 1) {
			keep(name, p)
			continue
		}
		others = append(others, name)
	}
	slices.Sort(others)
	for _, name := range slices.Compact(others) {
		digits := hashDigits
		p := hashedName(alias, name, digits)
		for taken[p] && digits < 2*sha256.Size {
			digits++
			p = hashedName(alias, name, digits)
		}
		keep(name, p)
	}
	return public
}

// plainName is a name with the prefix of its upstream and only characters that
// models take.
func plainName(alias, name string) string {
	return alias + separator + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		default:
			return '_'
		}
	}, name)
}

// hashedName is plainName cut to make room for digits of the name's hash.
func hashedName(alias, name string, digits int) string {
	sum := sha256.Sum256([]byte(name))
	end := "_" + hex.EncodeToString(sum[:])[:digits]
	p := plainName(alias, name)
	keep := max(MaxPublicName-len(end), len(alias)+len(separator))
	return p[:min(len(p), keep)] + end
}
