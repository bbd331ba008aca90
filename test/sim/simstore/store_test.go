package simstore_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
	"github.com/mcpraft/mcpraft/raftnode/logstore/logstoretest"
	"github.com/mcpraft/mcpraft/test/sim/simstore"
)

func TestSimulatedStoreKeepsTheContract(t *testing.T) {
	logstoretest.Run(t, func(*testing.T) logstoretest.Place {
		disk := vfs.NewCrashableMem()
		return func() (logstore.Base, error) { return simstore.Open(disk, "node/log") }
	})
}

// TestCrashKeepsWhatWasSynced crashes after every write with a random part of
// the unsynced bytes on disk. All that was acknowledged must be there.
func TestCrashKeepsWhatWasSynced(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		disk := vfs.NewCrashableMem()
		var last, term uint64
		for range 20 {
			s := open(t, disk)
			if got, _ := s.LastIndex(); got < last {
				t.Fatalf("seed %d: last entry %d after a crash, %d was acknowledged", seed, got, last)
			}
			if got, err := s.GetUint64([]byte("term")); term > 0 && (err != nil || got < term) {
				t.Fatalf("seed %d: term %d, %v after a crash, %d was acknowledged", seed, got, err, term)
			}
			last, _ = s.LastIndex()
			for range r.IntN(4) {
				if err := s.StoreLogs(batch(last+1, last+1+r.Uint64N(5), 3000)); err != nil {
					t.Fatal(err)
				}
				last, _ = s.LastIndex()
			}
			term++
			if err := s.SetUint64([]byte("term"), term); err != nil {
				t.Fatal(err)
			}
			disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCrashInTheMiddleOfAWriteLosesOnlyThatWrite takes the disk as a crash
// leaves it while another goroutine writes.
func TestCrashInTheMiddleOfAWriteLosesOnlyThatWrite(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	disk := vfs.NewCrashableMem()
	s := open(t, disk)
	var acknowledged atomic.Uint64
	var wg sync.WaitGroup
	written := make(chan struct{})
	wg.Go(func() {
		defer close(written)
		for index := uint64(1); index < 300; index += 3 {
			if err := s.StoreLogs(batch(index, index+2, 5000)); err != nil {
				t.Errorf("store: %v", err)
				return
			}
			acknowledged.Store(index + 2)
		}
	})
	for more := true; more; {
		before := acknowledged.Load()
		crashed := open(t, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: r}))
		if last, _ := crashed.LastIndex(); last < before {
			t.Errorf("last entry %d after a crash, %d was acknowledged", last, before)
		}
		select {
		case <-written:
			more = false
		default:
		}
	}
	wg.Wait()
}

func open(t *testing.T, disk vfs.FS) *simstore.Store {
	t.Helper()
	s, err := simstore.Open(disk, "log")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func batch(first, last uint64, size int) []*raft.Log {
	var logs []*raft.Log
	for i := first; i <= last; i++ {
		data := make([]byte, size)
		copy(data, fmt.Sprint(i))
		logs = append(logs, &raft.Log{Index: i, Term: 1, Data: data})
	}
	return logs
}

// change rewrites the store's file as damage says.
func change(t *testing.T, disk vfs.FS, damage func([]byte) []byte) {
	t.Helper()
	const path = "log/raft.log"
	f, err := disk.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	g, err := disk.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Write(damage(data)); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}

// three is a disk with three acknowledged entries, one record each.
func three(t *testing.T) vfs.FS {
	t.Helper()
	disk := vfs.NewMem()
	s := open(t, disk)
	for i := range uint64(3) {
		if err := s.StoreLogs(batch(i+1, i+1, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return disk
}

func TestTornTailIsDropped(t *testing.T) {
	for cut := 1; cut < 120; cut += 7 {
		disk := three(t)
		change(t, disk, func(b []byte) []byte { return b[:len(b)-cut] })
		s := open(t, disk)
		if last, _ := s.LastIndex(); last != 2 {
			t.Errorf("%d bytes cut off: last entry %d, want 2", cut, last)
		}
		if err := s.StoreLogs(batch(3, 3, 10)); err != nil {
			t.Errorf("%d bytes cut off: append: %v", cut, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, disk)
		if last, _ := s.LastIndex(); last != 3 {
			t.Errorf("%d bytes cut off: last entry %d after the append, want 3", cut, last)
		}
	}
}

func TestDamageInTheMiddleIsRefused(t *testing.T) {
	disk := three(t)
	change(t, disk, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	if _, err := simstore.Open(disk, "log"); fault.Of(err) != fault.Integrity {
		t.Errorf("open = %v, want an integrity error", err)
	}
}

func TestHoleIsRefused(t *testing.T) {
	disk := three(t)
	change(t, disk, func(b []byte) []byte {
		size := len(b) / 3 // three records of one size
		return append(b[:size:size], b[2*size:]...)
	})
	if _, err := simstore.Open(disk, "log"); fault.Of(err) != fault.Integrity {
		t.Errorf("open = %v, want an integrity error", err)
	}
}
