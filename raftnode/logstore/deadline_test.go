package logstore_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
)

// disk is a base in memory whose operations wait while it hangs.
type disk struct {
	*raft.InmemStore
	writes, reads chan struct{} // nil: goes on; else waits for the channel to close
	stored        int
	err           error
}

func newDisk() *disk { return &disk{InmemStore: raft.NewInmemStore()} }

func wait(c chan struct{}) {
	if c != nil {
		<-c
	}
}

func (d *disk) StoreLogs(logs []*raft.Log) error {
	wait(d.writes)
	if d.err != nil {
		return d.err
	}
	d.stored += len(logs)
	return d.InmemStore.StoreLogs(logs)
}

func (d *disk) GetLog(index uint64, log *raft.Log) error {
	wait(d.reads)
	return d.InmemStore.GetLog(index, log)
}

func (d *disk) Get(key []byte) ([]byte, error) {
	wait(d.reads)
	if d.err != nil {
		return nil, d.err
	}
	return d.InmemStore.Get(key)
}

func (d *disk) Close() error { return d.err }

// watched puts a chain around d and counts what it tells Fatal.
func watched(d *disk) (*logstore.Store, *[]error) {
	fatals := new([]error)
	return logstore.Chain(d, logstore.Options{Path: "/data/raft", Fatal: func(err error) { *fatals = append(*fatals, err) }}), fatals
}

func TestHungWriteEndsTheStoreAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		s, fatals := watched(d)
		if err := s.StoreLogs(entries(1, 1, 1)); err != nil {
			t.Fatal(err)
		}
		d.writes = make(chan struct{})
		start := time.Now()
		err := s.StoreLogs(entries(2, 3, 1))
		if took := time.Since(start); took != logstore.DefaultDeadline {
			t.Errorf("gave up after %v, want %v", took, logstore.DefaultDeadline)
		}
		for _, word := range []string{"/data/raft", "entries 2 to 3", "5s", "hangs"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("error %q does not say %q", err, word)
			}
		}
		if fault.As(err).Hint == "" {
			t.Error("error does not say what to do")
		}
		if len(*fatals) != 1 || (*fatals)[0] != err { //nolint:errorlint // the same error
			t.Errorf("fatal was told %v, want once %v", *fatals, err)
		}

		close(d.writes) // the disk comes back: too late
		synctest.Wait()
		stored := d.stored
		if again := s.StoreLogs(entries(4, 4, 1)); again != err { //nolint:errorlint // the same error
			t.Errorf("later write = %v, want the same error", again)
		}
		if again := s.SetUint64([]byte("CurrentTerm"), 9); again != err { //nolint:errorlint // the same error
			t.Errorf("later vote = %v, want the same error", again)
		}
		if d.stored != stored || len(*fatals) != 1 {
			t.Errorf("wrote %d entries and told fatal %d times after the end", d.stored-stored, len(*fatals))
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// TestWaitingWriteIsNotRunAfterAFailure: a write that waited behind the one
// that failed must not reach the disk.
func TestWaitingWriteIsNotRunAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.writes = make(chan struct{})
		s, fatals := watched(d)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- s.StoreLogs(entries(1, 1, 1)) }()
		synctest.Wait()
		time.Sleep(time.Second)
		go func() { second <- s.SetUint64([]byte("CurrentTerm"), 1) }()
		synctest.Wait()
		d.err = errors.New("input/output error")
		close(d.writes)
		err := <-first
		if got := <-second; got != err || !errors.Is(err, d.err) { //nolint:errorlint // the same error
			t.Errorf("waiting write = %v, want the failure %v", got, err)
		}
		if term, _ := d.GetUint64([]byte("CurrentTerm")); term != 0 {
			t.Error("the waiting write reached the disk")
		}
		if len(*fatals) != 1 {
			t.Errorf("fatal was told %d times", len(*fatals))
		}
		_ = s.Close()
	})
}

func TestHungReadEndsTheStoreAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		s, fatals := watched(d)
		d.reads = make(chan struct{})
		start := time.Now()
		_, err := s.Get([]byte("LastVoteCand"))
		if took := time.Since(start); took != logstore.DefaultDeadline || fault.Of(err) != fault.Unavailable {
			t.Errorf("got %v after %v, want a failure after %v", err, took, logstore.DefaultDeadline)
		}
		// No more reads pile up behind it, and nothing is written.
		start = time.Now()
		if again := s.GetLog(1, new(raft.Log)); again != err { //nolint:errorlint // the same error
			t.Errorf("later read = %v, want the same error", again)
		}
		if again := s.StoreLogs(entries(1, 1, 1)); again != err { //nolint:errorlint // the same error
			t.Errorf("later write = %v, want the same error", again)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("later operations waited %v", took)
		}
		if len(*fatals) != 1 {
			t.Errorf("fatal was told %d times", len(*fatals))
		}
		close(d.reads)
		_ = s.Close()
	})
}

func TestFailedReadEndsTheStore(t *testing.T) {
	d := newDisk()
	d.err = errors.New("input/output error")
	s, fatals := watched(d)
	if _, err := s.Get([]byte("LastVoteCand")); !errors.Is(err, d.err) || len(*fatals) != 1 {
		t.Errorf("read = %v with %d fatals, want the disk's error and one", err, len(*fatals))
	}
	if err := s.StoreLogs(entries(1, 1, 1)); !errors.Is(err, d.err) || d.stored != 0 {
		t.Errorf("write after it = %v, want the same error and nothing stored", err)
	}
}

func TestCloseWaitsForTheDiskUpToTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.writes = make(chan struct{})
		s, _ := watched(d)
		stored := make(chan error, 1)
		go func() { stored <- s.StoreLogs(entries(1, 1, 1)) }()
		synctest.Wait()
		go func() {
			time.Sleep(time.Second)
			close(d.writes)
		}()
		start := time.Now()
		if err := s.Close(); err != nil || time.Since(start) != time.Second {
			t.Errorf("close = %v after %v, want it to wait 1s for the write", err, time.Since(start))
		}
		if err := <-stored; err != nil {
			t.Errorf("write under way = %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		s, _ := watched(d)
		d.reads = make(chan struct{})
		go func() { _, _ = s.Get([]byte("k")) }()
		synctest.Wait()
		start := time.Now()
		if err := s.Close(); fault.Of(err) != fault.Unavailable || time.Since(start) != logstore.DefaultDeadline {
			t.Errorf("close of a hung disk = %v after %v, want an error after %v", err, time.Since(start), logstore.DefaultDeadline)
		}
		if _, err := s.LastIndex(); fault.Of(err) != fault.Unavailable {
			t.Errorf("read after it = %v, want an error that says so", err)
		}
		close(d.reads) // let the test end
	})
}

func TestDamageInMemoryIsNotSentOn(t *testing.T) {
	d := newDisk()
	s, fatals := watched(d)
	logs := entries(1, 3, 1)
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	logs[1].Data = bytes.Clone(logs[1].Data)
	logs[1].Data[3] ^= 0x80
	if err := s.GetLog(2, new(raft.Log)); fault.Of(err) != fault.Integrity || !strings.Contains(err.Error(), "memory") {
		t.Errorf("damaged entry read from memory: %v, want an integrity error that says memory", err)
	}
	if len(*fatals) != 1 {
		t.Errorf("fatal was told %d times", len(*fatals))
	}
	_ = s.Close()
}
