package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// A Store is the folder of one run.
type Store struct{ Dir string }

// Create makes the folder, which must be empty or not exist.
func Create(dir string) (*Store, error) {
	if old, err := os.ReadDir(dir); err == nil && len(old) > 0 {
		return nil, fmt.Errorf("%s is not empty: name a new folder", dir)
	}
	if err := os.MkdirAll(filepath.Join(dir, "clients"), 0o755); err != nil {
		return nil, err
	}
	return &Store{dir}, nil
}

// A Writer appends lines to one file. Any goroutine may use it.
type Writer struct {
	mu   sync.Mutex
	file *os.File
	buf  *bufio.Writer
	err  error
}

// Client opens the file of one client.
func (s *Store) Client(name string) (*Writer, error) {
	return open(filepath.Join(s.Dir, "clients", name+".jsonl"))
}

// Faults opens the fault log.
func (s *Store) Faults() (*Writer, error) { return open(filepath.Join(s.Dir, "faults.jsonl")) }

func open(path string) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return &Writer{file: f, buf: bufio.NewWriter(f)}, nil
}

// Add appends v. Close tells of an error.
func (w *Writer) Add(v any) {
	line, err := json.Marshal(v)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		_, err = w.buf.Write(append(line, '\n'))
	}
	w.err = errors.Join(w.err, err)
}

// Close ends the file.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.err, w.buf.Flush(), w.file.Close())
}

// SaveRun writes the description of the run.
func (s *Store) SaveRun(r *Run) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, "run.json"), append(text, '\n'), 0o644)
}

// Load reads everything that a run left, operations in the order of their calls.
func Load(dir string) (*Run, []Operation, []Fault, error) {
	text, err := os.ReadFile(filepath.Join(dir, "run.json"))
	if err != nil {
		return nil, nil, nil, err
	}
	run := new(Run)
	if err := json.Unmarshal(text, run); err != nil {
		return nil, nil, nil, fmt.Errorf("run.json: %w", err)
	}
	faults, err := lines[Fault](filepath.Join(dir, "faults.jsonl"))
	if err != nil {
		return nil, nil, nil, err
	}
	files, err := os.ReadDir(filepath.Join(dir, "clients"))
	if err != nil {
		return nil, nil, nil, err
	}
	var ops []Operation
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".jsonl") {
			continue
		}
		some, err := lines[Operation](filepath.Join(dir, "clients", f.Name()))
		if err != nil {
			return nil, nil, nil, err
		}
		ops = append(ops, some...)
	}
	slices.SortFunc(ops, func(a, b Operation) int { return int(a.Call - b.Call) })
	return run, ops, faults, nil
}

func lines[T any](path string) ([]T, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []T
	for d := json.NewDecoder(bufio.NewReaderSize(f, 64<<10)); ; {
		var v T
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, len(list)+1, err)
		}
		list = append(list, v)
	}
}
