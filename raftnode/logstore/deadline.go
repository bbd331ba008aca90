package logstore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// errClosed answers whoever still asks after Close. It is no failure.
var errClosed = fault.New(fault.Unavailable, "the raft log is closed")

// deadline runs every operation of the base on a goroutine of its own and gives
// up waiting after a while. Writes run one after the other on one goroutine;
// each read has its own, so there are at most as many as callers, and after a
// missed deadline no new ones.
type deadline struct {
	base    Base
	limit   time.Duration
	path    string
	metrics *Metrics
	failure *failure
	hung    atomic.Bool // a deadline was missed: do not touch the disk again

	writes chan write
	closed chan error // what closing the base said; the writer's last act

	mu      sync.RWMutex // orders the start of a read or write before close
	closing bool
	stop    chan struct{} // closed with closing
	reads   sync.WaitGroup
}

// write is one operation for the writer.
type write struct {
	act  string // for messages
	do   func() error
	done chan error // room for one
}

func newDeadline(base Base, o Options, f *failure) *deadline {
	d := &deadline{
		base:    base,
		limit:   o.Deadline,
		path:    o.Path,
		metrics: o.Metrics,
		failure: f,
		writes:  make(chan write),
		closed:  make(chan error, 1),
		stop:    make(chan struct{}),
	}
	go d.run() // close waits for it
	return d
}

// run is the writer. It ends when the store is closed, and closes the base.
func (d *deadline) run() {
	for {
		select {
		case w := <-d.writes:
			w.done <- d.commit(w)
		case <-d.stop:
			d.reads.Wait()
			d.closed <- d.base.Close()
			return
		}
	}
}

// commit runs one write unless an earlier one failed while it waited. An error
// is a failure before the next write begins.
func (d *deadline) commit(w write) error {
	if err := d.failure.get(); err != nil {
		return err
	}
	start := time.Now()
	err := w.do()
	d.metrics.commit.Observe(time.Since(start).Seconds())
	if err != nil {
		return d.failed(w.act, err)
	}
	return nil
}

func (d *deadline) write(act string, do func() error) error {
	if err := d.failure.get(); err != nil {
		return err
	}
	left := newCountdown(d.limit)
	defer left.timer.Stop()
	w := write{act, do, make(chan error, 1)}
	writes, tripped, stop := d.writes, d.failure.tripped, d.stop // nil once the writer has it
	for {
		select {
		case writes <- w:
			writes, tripped, stop = nil, nil, nil
		case <-tripped:
			return d.failure.get()
		case <-stop:
			return errClosed
		case err := <-w.done:
			return err
		case <-left.timer.C:
			if left.over() {
				return d.missed(act)
			}
		}
	}
}

// read runs do with the deadline. What raft expects to happen (an entry or a
// key that is not there) passes as it is; any other error is a failure.
func read[T any](d *deadline, act string, do func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if err := d.failure.get(); err != nil && d.hung.Load() {
		return none, err
	}
	done := make(chan answer, 1)
	if !d.start(func() {
		v, err := do()
		done <- answer{v, err}
	}) {
		return none, errClosed
	}
	left := newCountdown(d.limit)
	defer left.timer.Stop()
	for {
		select {
		case a := <-done:
			if a.err != nil && !isAbsent(a.err) {
				return none, d.failed(act, a.err)
			}
			return a.value, a.err
		case <-left.timer.C:
			if left.over() {
				return none, d.missed(act)
			}
		}
	}
}

// start runs f on a goroutine that close waits for, or reports that the store
// is closed.
func (d *deadline) start(f func()) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closing {
		return false
	}
	d.reads.Go(f)
	return true
}

// isAbsent reports what raft takes for an answer rather than for an error.
func isAbsent(err error) bool {
	return errors.Is(err, raft.ErrLogNotFound) || err.Error() == "not found"
}

func (d *deadline) missed(act string) error {
	d.hung.Store(true)
	return d.failure.trip(fault.New(fault.Unavailable,
		"raft log%s: %s took longer than %v: the disk hangs", at(d.path), act, d.limit).
		WithHint("this process exits without writing the log again and the other nodes choose a new leader; " +
			"check the disk (kernel log, SMART, iostat), then start the node again: it re-reads its log"))
}

func (d *deadline) failed(act string, err error) error {
	kind, hint := fault.Unavailable, hintUnknown
	if fault.Of(err) == fault.Integrity {
		kind, hint = fault.Integrity, hintDamaged
	}
	return d.failure.trip(fault.New(kind, "raft log%s: %s: %w", at(d.path), act, err).WithHint("%s", hint))
}

const hintUnknown = "this process exits without writing the log again, because what is on the disk is not known after an error; " +
	"free space or repair the disk, then start the node again: it re-reads its log"

func (d *deadline) close() error {
	d.mu.Lock()
	again := d.closing
	d.closing = true
	d.mu.Unlock()
	if again {
		return nil
	}
	close(d.stop)
	timer := time.NewTimer(d.limit)
	defer timer.Stop()
	select {
	case err := <-d.closed:
		return err
	case <-timer.C:
		return fault.New(fault.Unavailable, "raft log%s: closing took longer than %v: the disk hangs", at(d.path), d.limit).
			WithHint("end this process; the log is as safe as its last finished write")
	}
}

// The operations of the base, each with its deadline.

func (d *deadline) FirstIndex() (uint64, error) {
	return read(d, "read the first index", d.base.FirstIndex)
}

func (d *deadline) LastIndex() (uint64, error) {
	return read(d, "read the last index", d.base.LastIndex)
}

// GetLog reads into a Log of its own: a read that comes back after its deadline
// must not write into the caller's.
func (d *deadline) GetLog(index uint64, log *raft.Log) error {
	l, err := read(d, fmt.Sprintf("read entry %d", index), func() (*raft.Log, error) {
		l := new(raft.Log)
		return l, d.base.GetLog(index, l)
	})
	if err != nil {
		return err
	}
	*log = *l
	return nil
}

func (d *deadline) StoreLog(log *raft.Log) error { return d.StoreLogs([]*raft.Log{log}) }

func (d *deadline) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	act := fmt.Sprintf("store entries %d to %d", logs[0].Index, logs[len(logs)-1].Index)
	return d.write(act, func() error {
		if err := failpoint.Eval("logstore/store"); err != nil {
			return err
		}
		if err := d.base.StoreLogs(logs); err != nil {
			return err
		}
		return failpoint.Eval("logstore/stored")
	})
}

func (d *deadline) DeleteRange(first, last uint64) error {
	act := fmt.Sprintf("delete entries %d to %d", first, last)
	return d.write(act, func() error { return d.base.DeleteRange(first, last) })
}

func (d *deadline) Set(key, value []byte) error {
	return d.write(fmt.Sprintf("set %s", key), func() error { return d.base.Set(key, value) })
}

func (d *deadline) SetUint64(key []byte, value uint64) error {
	return d.write(fmt.Sprintf("set %s", key), func() error { return d.base.SetUint64(key, value) })
}

func (d *deadline) Get(key []byte) ([]byte, error) {
	return read(d, fmt.Sprintf("get %s", key), func() ([]byte, error) { return d.base.Get(key) })
}

func (d *deadline) GetUint64(key []byte) (uint64, error) {
	return read(d, fmt.Sprintf("get %s", key), func() (uint64, error) { return d.base.GetUint64(key) })
}
