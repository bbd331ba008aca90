package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGateHoldsLinesUntilItIsOpened(t *testing.T) {
	var out bytes.Buffer
	g := &devGate{out: &out}
	for range devHeldLines + 3 {
		g.Print("early")
	}
	if out.Len() != 0 {
		t.Fatalf("shown before the gate is open: %q", out.String())
	}
	g.Open()
	g.Print("late")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if n := len(lines); n != devHeldLines+2 || lines[n-2] != "… and 3 more lines, see the log files" || lines[n-1] != "late" {
		t.Errorf("%d lines, the last ones %q", n, lines[n-2:])
	}
}

func TestLogOfANodeIsKeptAndWarningsAreShown(t *testing.T) {
	var out bytes.Buffer
	gate := &devGate{out: &out, open: true}
	path := filepath.Join(t.TempDir(), "node.log")
	l, err := openDevLog(path, "dev-1", gate)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info := "time=2026-01-01T00:00:00Z level=INFO msg=\"level=WARN\"\n"
	warn := "time=2026-01-01T00:00:00Z level=WARN msg=low self=dev-1 node=dev-2\n"
	text := info + warn + "panic: \x1b[31mred\n"
	for i := range len(text) { // however the pipe cuts it
		if _, err := l.Write([]byte{text[i]}); err != nil {
			t.Fatal(err)
		}
	}
	if want := "dev-1 | WARN msg=low node=dev-2\ndev-1 | panic: \\x1b[31mred\n"; out.String() != want {
		t.Errorf("shown:\n%swant:\n%s", out.String(), want)
	}
	if kept, err := os.ReadFile(path); err != nil || string(kept) != text {
		t.Errorf("kept:\n%s%v\nwant:\n%s", kept, err, text)
	}
}

func TestLogOfANodeIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.log")
	l, err := openDevLog(path, "dev-1", &devGate{out: new(bytes.Buffer)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.size = devLogBytes + 1
	long := "time=x level=INFO " + strings.Repeat("y", 2*devLineBytes) + "\n"
	if _, err := l.Write([]byte(long)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != devLineBytes+1 {
		t.Errorf("the new file: %v, %v, want one line of %d bytes", info, err, devLineBytes)
	}
	if _, err := os.Stat(path + ".1"); err != nil {
		t.Errorf("the old file was not kept: %v", err)
	}
}
