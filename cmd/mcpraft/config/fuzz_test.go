package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzConfig: whatever the file holds, it is taken or refused with a report, and
// what was taken is the same when its own values are read again.
func FuzzConfig(f *testing.F) {
	seeds, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(seeds, samples+"mcpraft.example.yaml", samples+"mcpraft.minimal.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := loadBytes(text, nil)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || len(e.Problems) == 0 || e.Report() == "" {
				t.Fatalf("refused without a report: %v", err)
			}
			return
		}
		var set []string
		for _, s := range first.Settings() {
			value := s.Value
			if isList(s.Path) {
				value = value[1 : len(value)-1]
			}
			set = append(set, s.Path+"="+value)
		}
		second, err := loadBytes(nil, set)
		if err != nil {
			t.Fatalf("its own values are refused: %v", err)
		}
		a, errA := first.Config.MarshalJSON()
		b, errB := second.Config.MarshalJSON()
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Fatalf("read again:\n%s\nwant:\n%s", b, a)
		}
	})
}

func loadBytes(text []byte, set []string) (*Loaded, error) {
	return load(func(l *loader) error {
		l.decodeFile("fuzz.yaml", text)
		return nil
	}, Layers{Set: set, Hostname: namedHost("node-1")})
}

// isList reports whether the value at path is a list, which --set takes without
// its brackets.
func isList(path string) bool {
	switch path[strings.LastIndexByte(path, '.')+1:] {
	case "join", "allowed_origins", "audience", "methods", "scopes", "key_files":
		return true
	}
	return false
}
