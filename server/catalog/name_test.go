package catalog

import (
	"slices"
	"strings"
	"testing"
)

func TestNamesOfAnUpstreamArePrefixedAndFitModels(t *testing.T) {
	long := strings.Repeat("long_tool_name_", 10)
	names := []string{"search", "read.file", "read_file", "a b", "a/b", long, long + "2", "日本"}
	public := publicNames("files", names)
	for name, want := range map[string]string{
		"search":    "files__search",
		"read_file": "files__read_file",          // needed no change, and keeps it
		"read.file": "files__read_file_dd32cdf5", // shares it with another
		"a b":       "files__a_b_c8687a08",
		"a/b":       "files__a_b_c14cddc0",
		"日本":        "files____",
	} {
		if got := public[name]; got != want {
			t.Errorf("%q is called %q, want %q", name, got, want)
		}
	}
	seen := make(map[string]bool)
	for name, p := range public {
		if len(p) > MaxPublicName || !strings.HasPrefix(p, "files__") || seen[p] {
			t.Errorf("%q is called %q", name, p)
		}
		seen[p] = true
	}
	slices.Reverse(names)
	for name, p := range publicNames("files", names) {
		if public[name] != p {
			t.Errorf("%q is called %q or %q, by the order of the list", name, public[name], p)
		}
	}
}

func TestWrappedURIsComeBack(t *testing.T) {
	for uri, wrapped := range map[string]string{
		"file:///a%20b?c=d#e":    "gw://files/file:///a%20b?c=d#e",
		"file:///{path}{?rev}":   "gw://files/file:///{path}{?rev}",
		"https://example.com/x":  "gw://files/https://example.com/x",
		"gw://other/note://deep": "gw://files/gw://other/note://deep",
		"ui://clock/face.html":   "ui://files/clock/face.html",
		"no scheme":              "gw://files/no scheme",
	} {
		if got := WrapURI("files", uri); got != wrapped {
			t.Errorf("WrapURI(%q) = %q, want %q", uri, got, wrapped)
		}
		alias, back, ok := UnwrapURI(wrapped)
		if !ok || alias != "files" || back != uri {
			t.Errorf("UnwrapURI(%q) = %q, %q, %v", wrapped, alias, back, ok)
		}
	}
	for _, uri := range []string{"", "file:///a", "gw://", "gw://files", "gw://files/", "gw:///x", "gw://FILES/x", "gw://a_b/x", "ui://files", "GW://files/x"} {
		if alias, back, ok := UnwrapURI(uri); ok {
			t.Errorf("UnwrapURI(%q) = %q, %q", uri, alias, back)
		}
	}
}
