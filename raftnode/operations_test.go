package raftnode

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	opConstant = regexp.MustCompile(`(?m)^\top(\w+) +uint16 = (\d+) +// (.+)$`)
	opHandler  = regexp.MustCompile(`(?m)^\thandle\(n, op(\w+),.*$`)
	opRow      = regexp.MustCompile(`(?m)^\| (\d+) \| ([a-z ]+): (.+) \| (yes)? ?\|$`)
	capital    = regexp.MustCompile(`[A-Z]`)
)

// docs/format/peer.md lists the operations of ops.go: number, name, what it says,
// and whether a node without a cluster answers. 0 is package peer's.
func TestPeerPageListsTheOperations(t *testing.T) {
	source, err := os.ReadFile("ops.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/format/peer.md")
	if err != nil {
		t.Fatal(err)
	}
	before := map[string]bool{} // any membership, by name
	for _, m := range opHandler.FindAllStringSubmatch(string(source), -1) {
		before[m[1]] = strings.Contains(m[0], "peer.BeforeMembership()")
	}
	var want []string
	for _, m := range opConstant.FindAllStringSubmatch(string(source), -1) {
		open, handled := before[m[1]]
		if !handled {
			t.Errorf("nobody serves op%s", m[1])
		}
		name := strings.TrimSpace(capital.ReplaceAllStringFunc(m[1], func(c string) string { return " " + strings.ToLower(c) }))
		want = append(want, fmt.Sprintf("%s %s: %s %t", m[2], name, m[3], open))
	}
	if len(want) != int(opVerdict) || len(before) != len(want) {
		t.Fatalf("%d operations in ops.go, %d served, the last is %d", len(want), len(before), opVerdict)
	}
	var got []string
	for _, m := range opRow.FindAllStringSubmatch(string(page), -1) {
		if n, _ := strconv.Atoi(m[1]); n > 0 && n < int(FirstOp) {
			got = append(got, fmt.Sprintf("%s %s: %s %t", m[1], m[2], m[3], m[4] == "yes"))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page and ops.go differ\npage:   %q\nops.go: %q", got, want)
	}
}
