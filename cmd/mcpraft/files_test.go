package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestFileScripts runs the scripts in testdata/files: commands that work on files
// and need no node. Each begins in an empty directory, which is called $HOME.
// Beside what TestScripts knows:
//
//	file NAME [mode]   writes a file; $HOME in it becomes the directory
//	ls                 lists the directory with modes
//	cat NAME           shows a file
func TestFileScripts(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("testdata", "files"))
	if err != nil {
		t.Fatal(err)
	}
	datadriven.Walk(t, root, func(t *testing.T, path string) {
		s := newScript(t)
		t.Chdir(s.env["HOME"])
		delete(s.env, "MCPRAFT_ADDR")
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "file":
				return s.file(t, d)
			case "ls":
				return s.ls(t)
			case "cat":
				return s.cat(t, d)
			default:
				return steady(s.step(t, d))
			}
		})
	})
}

func (s *script) cat(t *testing.T, d *datadriven.TestData) string {
	text, err := os.ReadFile(d.CmdArgs[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	return steady(s.normal(string(text)))
}

// steady is text without what differs from run to run.
func steady(text string) string {
	for _, r := range []struct {
		what *regexp.Regexp
		by   string
	}{{date, "DATE"}, {keyID, "KEY"}, {backup, "TIME.bak"}, {tokenID, "${1}ID"}} {
		text = r.what.ReplaceAllString(text, r.by)
	}
	return text
}

var (
	backup  = regexp.MustCompile(`\b\d{8}-\d{6}\.\d{3}\.bak`)
	tokenID = regexp.MustCompile(`\b((?:mcpraft_)?(?:cursor|codex|claude-code|vscode)-)[a-z2-7]{6}`)
	date    = regexp.MustCompile(`\b20\d\d-\d\d-\d\d\b`)
	keyID   = regexp.MustCompile(`\b[0-9a-f]{16}\b`)
)

func (s *script) file(t *testing.T, d *datadriven.TestData) string {
	name, mode := d.CmdArgs[0].Key, os.FileMode(0o600)
	if d.HasArg("open") {
		mode = 0o644
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(d.Input, "$HOME", s.env["HOME"]) + "\n"
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return ""
}

func (s *script) ls(t *testing.T) string {
	var out strings.Builder
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		out.WriteString(info.Mode().String() + " " + path + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return steady(out.String())
}
