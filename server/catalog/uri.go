package catalog

import (
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
)

const (
	wrapScheme = "gw://"
	viewScheme = "ui://" // of views that hosts show: they look at the scheme
)

// WrapURI is what the aggregate calls a URI, or URI template, of an upstream:
// gw://<alias>/ and the original behind it as it is, so that expanding a wrapped
// template gives the wrapped expansion. ui://x becomes ui://<alias>/x, because
// hosts know views by their scheme.
func WrapURI(alias, uri string) string {
	if rest, ok := strings.CutPrefix(uri, viewScheme); ok {
		return viewScheme + alias + "/" + rest
	}
	return wrapScheme + alias + "/" + uri
}

// UnwrapURI is the reverse of WrapURI; ok is false for what it did not make. The
// alias need not be that of an upstream.
func UnwrapURI(wrapped string) (alias, uri string, ok bool) {
	scheme := wrapScheme
	rest, ok := strings.CutPrefix(wrapped, wrapScheme)
	if !ok {
		scheme = viewScheme
		if rest, ok = strings.CutPrefix(wrapped, viewScheme); !ok {
			return "", "", false
		}
	}
	alias, uri, ok = strings.Cut(rest, "/")
	if !ok || record.ValidAlias(alias) != nil {
		return "", "", false
	}
	if scheme == viewScheme {
		uri = viewScheme + uri
	}
	return alias, uri, uri != ""
}
