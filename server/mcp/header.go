package mcp

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf8"
)

// The HTTP headers of the protocol.
const (
	HeaderSession     = "Mcp-Session-Id"       // legacy
	HeaderVersion     = "MCP-Protocol-Version" // since 2025-06-18
	HeaderMethod      = "Mcp-Method"           // modern
	HeaderName        = "Mcp-Name"             // modern
	HeaderParamPrefix = "Mcp-Param-"           // modern: what an argument's header begins with
	HeaderLastEventID = "Last-Event-ID"        // legacy
)

const (
	sentinelOpen  = "=?base64?"
	sentinelClose = "?="
)

// EncodeHeader is value as it stands in Mcp-Name and Mcp-Param-*: plain if it is
// printable ASCII without blanks at its ends and does not look encoded, otherwise
// in base64 between the sentinels.
func EncodeHeader(value string) string {
	if isPlainHeader(value) && !looksEncoded(value) {
		return value
	}
	return sentinelOpen + base64.StdEncoding.EncodeToString([]byte(value)) + sentinelClose
}

// DecodeHeader is the inverse of EncodeHeader. Blanks at the ends of a plain value
// are those of the header's syntax and dropped.
func DecodeHeader(header string) (string, error) {
	header = strings.Trim(header, " \t")
	if !looksEncoded(header) {
		if !isPlainHeader(header) {
			return "", errors.New("the value has characters that a header cannot hold; it must be encoded as =?base64?…?=")
		}
		return header, nil
	}
	encoded := header[len(sentinelOpen) : len(header)-len(sentinelClose)]
	plain, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", errors.New("the text between =?base64? and ?= is not base64")
	}
	if !utf8.Valid(plain) {
		return "", errors.New("the text between =?base64? and ?= does not stand for UTF-8")
	}
	return string(plain), nil
}

func looksEncoded(s string) bool {
	return len(s) >= len(sentinelOpen)+len(sentinelClose) && strings.HasPrefix(s, sentinelOpen) && strings.HasSuffix(s, sentinelClose)
}

// isPlainHeader reports that s is empty, or printable ASCII with blanks only
// inside.
func isPlainHeader(s string) bool {
	for i := range len(s) {
		blank := s[i] == ' ' || s[i] == '\t'
		if blank && (i == 0 || i == len(s)-1) || !blank && (s[i] < 0x21 || s[i] > 0x7e) {
			return false
		}
	}
	return true
}
