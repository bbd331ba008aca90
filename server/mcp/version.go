package mcp

import "slices"

// A Version is a revision of the protocol, by its date. Dates order as their
// texts do.
type Version string

// The revisions that are known.
const (
	V20241105 Version = "2024-11-05"
	V20250326 Version = "2025-03-26"
	V20250618 Version = "2025-06-18"
	V20251125 Version = "2025-11-25"
	V20260728 Version = "2026-07-28"
)

// Assumed is the revision of a legacy request that does not tell.
const Assumed = V20250326

// NewestLegacy is the highest revision that initialize negotiates.
const NewestLegacy = V20251125

// Versions are the revisions that are known, the newest first.
func Versions() []Version {
	return []Version{V20260728, V20251125, V20250618, V20250326, V20241105}
}

// LegacyVersions are those with sessions, the newest first.
func LegacyVersions() []Version { return Versions()[1:] }

// ModernVersions are those without, the newest first.
func ModernVersions() []Version { return Versions()[:1] }

// Known reports whether v is one of Versions.
func (v Version) Known() bool { return slices.Contains(Versions(), v) }

// Modern reports whether v claims the stateless era, known or not.
func (v Version) Modern() bool { return v.AtLeast(V20260728) && len(v) == len(V20260728) }

// AtLeast reports whether v is not older than other.
func (v Version) AtLeast(other Version) bool { return v >= other }

// Batches reports whether v has JSON-RPC batches. 2024-11-05 does not mention
// them; taking them harms nobody.
func (v Version) Batches() bool { return v == V20250326 || v == V20241105 }

// NegotiateLegacy is the answer to the revision that initialize asks for: that one
// if it is legacy and known, otherwise the newest legacy one.
func NegotiateLegacy(requested string) Version {
	if v := Version(requested); slices.Contains(LegacyVersions(), v) {
		return v
	}
	return NewestLegacy
}

// UnsupportedVersion is the error for a modern claim of a revision that is not
// known.
func UnsupportedVersion(requested string) *Error {
	data, err := Marshal(map[string]any{"supported": Versions(), "requested": requested})
	if err != nil {
		data = nil // texts always marshal
	}
	return &Error{Code: CodeUnsupportedVersion, Message: "unsupported protocol version", Data: data}
}
