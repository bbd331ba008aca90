package failpoint

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var evalCall = regexp.MustCompile(`failpoint\.Eval\(("[^"]*")?`)

// Every call of Eval in the repository names a failpoint of the list, by a literal
// so that it can be found, and every failpoint of the list is reached somewhere.
func TestCallsAndNamesAreTheSame(t *testing.T) {
	called := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.Contains(path, "internal/failpoint/") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, call := range evalCall.FindAllStringSubmatch(string(source), -1) {
			name := strings.Trim(call[1], `"`)
			if err := check(name); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			called[name] = called[name] || !strings.HasSuffix(path, "_test.go")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range names {
		if !called[name] {
			t.Errorf("nothing reaches failpoint %s", name)
		}
	}
}

func TestUnknownNameIsRefusedWithTheList(t *testing.T) {
	err := Set("raftnode/aply", "off")
	if err == nil || !strings.Contains(err.Error(), `"raftnode/aply"`) || !strings.Contains(err.Error(), "raftnode/apply, ") {
		t.Errorf("Set = %v", err)
	}
}

func TestNamesAreWellFormed(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+/[a-z]+$`)
	for name, moment := range names {
		if !form.MatchString(name) || moment == "" {
			t.Errorf("%q: %q", name, moment)
		}
	}
}
