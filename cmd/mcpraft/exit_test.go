package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// docs/cli.md tells scripts which exit code to expect for each kind of error.
func TestExitCodesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]string) // by code of an error: exit code
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		for code := range strings.SplitSeq(cells[3], ",") {
			documented[strings.Trim(code, " `")] = strings.TrimSpace(cells[1])
		}
	}
	for kind := fault.Kind(1); kind.Known(); kind++ {
		if want := fmt.Sprint(kind.Exit()); documented[kind.String()] != want {
			t.Errorf("%s ends a command with %s, docs/cli.md says %q", kind, want, documented[kind.String()])
		}
	}
}
