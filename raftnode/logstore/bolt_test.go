package logstore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
	"github.com/mcpraft/mcpraft/raftnode/logstore/logstoretest"
)

func TestBoltKeepsTheContract(t *testing.T) {
	logstoretest.Run(t, func(t *testing.T) logstoretest.Place {
		path := filepath.Join(t.TempDir(), "log")
		return func() (logstore.Base, error) { return logstore.OpenBolt(path) }
	})
}

// chain opens the log at path for writing.
func chain(t *testing.T, path string) *logstore.Store {
	t.Helper()
	base, err := logstore.OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	s := logstore.Chain(base, logstore.Options{Path: path, Fatal: func(err error) { t.Logf("fatal: %v", err) }})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func entries(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := first; i <= last; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Data: bytes.Repeat([]byte{'a' + byte(i)}, 100)})
	}
	return logs
}

func TestSecondProcessIsToldWhoHoldsTheFile(t *testing.T) {
	t.Parallel() // it waits for the lock
	path := filepath.Join(t.TempDir(), "log")
	s := chain(t, path)
	for name, open := range map[string]func() error{
		"server": func() error { _, err := logstore.OpenBolt(path); return err },
		"reader": func() error { _, err := logstore.OpenReadOnly(path); return err },
	} {
		err := open()
		if fault.Of(err) != fault.Conflict || !strings.Contains(err.Error(), path) || fault.As(err).Hint == "" {
			t.Errorf("%s on a held file: %v, want a conflict that names the file and says what to do", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := logstore.OpenBolt(path)
	if err != nil {
		t.Fatalf("after the first process: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReaderTellsWhatTheNodeHad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := chain(t, path)
	if err := s.SetUint64([]byte("CurrentTerm"), 5); err != nil {
		t.Fatal(err)
	}
	if err := s.StoreLogs(entries(40, 50, 3)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := logstore.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := logstore.OpenReadOnly(path)
	if err != nil {
		t.Fatalf("a second reader: %v", err)
	}
	defer second.Close()
	want := logstore.Tail{FirstIndex: 40, LastIndex: 50, LastTerm: 3, CurrentTerm: 5}
	if got, err := r.Tail(); err != nil || got != want {
		t.Errorf("tail = %v, %v, want %v", got, err, want)
	}
	n := 0
	for l, err := range r.Entries(45) {
		if err != nil || l.Index != 45+uint64(n) {
			t.Fatalf("entry %d: %v", l.Index, err)
		}
		n++
	}
	if n != 6 {
		t.Errorf("read %d entries, want 6", n)
	}
	if err := r.GetLog(51, new(raft.Log)); err != raft.ErrLogNotFound { //nolint:errorlint // as raft compares it
		t.Errorf("entry past the end: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("reading changed the file (%v)", err)
	}
}

func TestReaderOfNothingSaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent", "log")
	if _, err := logstore.OpenReadOnly(path); fault.Of(err) != fault.NotFound {
		t.Errorf("read an absent file: %v, want not found", err)
	}
	if _, err := logstore.OpenBolt(path); fault.Of(err) != fault.NotFound || fault.As(err).Hint == "" {
		t.Errorf("open in an absent directory: %v, want not found with a hint", err)
	}
}

// damage changes the file at path.
func damage(t *testing.T, path string, change func([]byte)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFlippedBitInTheFileIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := chain(t, path)
	logs := entries(1, 9, 1)
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, path, func(b []byte) {
		at := bytes.LastIndex(b, logs[4].Data)
		if at < 0 {
			t.Fatal("entry 5 is not in the file as it is")
		}
		b[at+17] ^= 0x04
	})
	r, err := logstore.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	var read uint64
	for l, err := range r.Entries(1) {
		if err == nil {
			read = l.Index
			continue
		}
		if fault.Of(err) != fault.Integrity || !strings.Contains(err.Error(), "entry 5") || fault.As(err).Hint == "" {
			t.Errorf("damaged entry: %v, want an integrity error that names entry 5 and says what to do", err)
		}
	}
	if read != 4 {
		t.Errorf("read up to entry %d, want 4", read)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s = chain(t, path)
	if err := s.GetLog(5, new(raft.Log)); fault.Of(err) != fault.Integrity {
		t.Errorf("server reads the damaged entry: %v, want an integrity error", err)
	}
	if fault.Of(s.Err()) != fault.Integrity {
		t.Errorf("the server goes on after it: %v", s.Err())
	}
}

// TestDamagedPagesAreErrors overwrites one page of the file after the other:
// whatever bbolt makes of it, the process gets an error or the right entries.
func TestDamagedPagesAreErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := chain(t, path)
	logs := entries(1, 300, 1)
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(b []byte, at int) {
		t.Helper()
		if _, err := f.WriteAt(b, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	used, found := 0, 0
	for at, size := 0, os.Getpagesize(); at < len(whole); at += size {
		page := whole[at : at+size]
		if !slices.ContainsFunc(page, func(b byte) bool { return b != 0 }) {
			continue // the file grows ahead of the data
		}
		used++
		damaged := bytes.Clone(page)
		for i := range damaged {
			damaged[i] ^= 0xa5
		}
		write(damaged, at)
		if err := readAll(path, logs); err != nil {
			found++
			if fault.Of(err) != fault.Integrity {
				t.Errorf("page %d: %v, want an integrity error", at/size, err)
			}
		}
		write(page, at)
	}
	if found == 0 || found == used {
		t.Errorf("%d of %d damaged pages were found, want those in use, and not the old ones", found, used)
	}
}

// readAll reads the log at path and reports an error unless it begins with want.
func readAll(path string, want []*raft.Log) error {
	r, err := logstore.OpenReadOnly(path)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, w := range want {
		var l raft.Log
		if err := r.GetLog(w.Index, &l); err != nil {
			if err == raft.ErrLogNotFound { //nolint:errorlint // as raft compares it
				return fault.New(fault.Integrity, "entry %d is gone", w.Index)
			}
			return err
		}
		if !bytes.Equal(l.Data, w.Data) {
			return fault.New(fault.Internal, "entry %d has other data", w.Index)
		}
	}
	return nil
}

func TestFileThatIsNoLogIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, bytes.Repeat([]byte("not a log\n"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := logstore.OpenBolt(path); fault.Of(err) != fault.Integrity || fault.As(err).Hint == "" {
		t.Errorf("open: %v, want an integrity error that says what to do", err)
	}
}
