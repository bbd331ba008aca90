package blobtest

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// An Op is a method of a Store, for faults.
type Op string

const (
	Put    Op = "put"
	Get    Op = "get"
	Stat   Op = "stat"
	List   Op = "list"
	Delete Op = "delete"
)

// A Fault makes calls fail.
type Fault struct {
	Op     Op            // "" means any
	Prefix string        // of the name (of the prefix for a list)
	After  int64         // bytes that still pass through a put or get before Err; a list yields so many names
	Delay  time.Duration // before anything happens; cut short by the context
	Err    error         // nil: only the delay
	Count  int           // calls it is for; 0 means all from now on
}

// Errors as a bucket gives them.
var (
	ErrForbidden = fault.New(fault.Forbidden, "memory: access denied").WithHint("grant the permission")
	ErrBusy      = fault.New(fault.Overloaded, "memory: slow down")
	ErrBroken    = fault.New(fault.Unreachable, "memory: connection reset by peer")
)

// Memory is a Store in memory. It may be used in a synctest bubble.
type Memory struct {
	mu      sync.Mutex
	objects map[string]object
	gone    map[string]object // deleted ones, for stale lists
	faults  []*Fault
	stale   time.Duration
}

type object struct {
	data            []byte
	stored, deleted time.Time
}

// NewMemory is an empty store.
func NewMemory() *Memory {
	return &Memory{objects: map[string]object{}, gone: map[string]object{}}
}

// Inject adds a fault; the first that fits a call strikes.
func (m *Memory) Inject(f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, &f)
}

// Heal removes all faults and the staleness.
func (m *Memory) Heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults, m.stale = nil, 0
}

// StaleLists makes lists show the store as it was that long ago.
func (m *Memory) StaleLists(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stale = d
}

// Names is every object, sorted, without faults.
func (m *Memory) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.objects))
}

// Bytes is the content of an object, nil if there is none, without faults.
func (m *Memory) Bytes(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.objects[name].data)
}

// Set stores an object, or removes it if data is nil, without faults.
func (m *Memory) Set(name string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	if data != nil {
		m.objects[name] = object{data: bytes.Clone(data), stored: time.Now()}
	}
}

// String is "memory".
func (m *Memory) String() string { return "memory" }

// strike waits and fails as a fault says; it returns how many bytes may pass before
// the error that comes then.
func (m *Memory) strike(ctx context.Context, op Op, name string) (after int64, later, err error) {
	f := m.next(op, name)
	if f == nil {
		return 0, nil, ctx.Err()
	}
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil || f.After == 0 {
		return 0, nil, cmp.Or(err, f.Err)
	}
	return f.After, f.Err, nil
}

func (m *Memory) next(op Op, name string) *Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, f := range m.faults {
		if f.Op != "" && f.Op != op || !strings.HasPrefix(name, f.Prefix) {
			continue
		}
		if f.Count == 1 {
			m.faults = slices.Delete(m.faults, i, i+1)
		} else if f.Count > 1 {
			f.Count--
		}
		return new(*f)
	}
	return nil
}

// Put implements blob.Store.
func (m *Memory) Put(ctx context.Context, name string, body io.Reader, when blob.Condition) error {
	if err := blob.ValidName(name); err != nil {
		return err
	}
	after, later, err := m.strike(ctx, Put, name)
	if err != nil {
		return err
	}
	if later != nil {
		if _, err := io.CopyN(io.Discard, body, after); err != nil && err != io.EOF {
			return err
		}
		return later
	}
	data, err := io.ReadAll(body)
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.objects[name]; there && when == blob.IfAbsent {
		return fault.New(fault.Conflict, "memory has an object %s already", name)
	}
	m.objects[name] = object{data: data, stored: time.Now()}
	return nil
}

func (m *Memory) find(name string) (object, error) {
	if err := blob.ValidName(name); err != nil {
		return object{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[name]
	if !ok {
		return o, fault.New(fault.NotFound, "memory has no object %s", name)
	}
	return o, nil
}

// Get implements blob.Store.
func (m *Memory) Get(ctx context.Context, name string, r blob.Range) (io.ReadCloser, error) {
	after, later, err := m.strike(ctx, Get, name)
	if err != nil {
		return nil, err
	}
	o, err := m.find(name)
	if err != nil {
		return nil, err
	}
	data := o.data[min(r.Offset, int64(len(o.data))):]
	if r.Length > 0 {
		data = data[:min(r.Length, int64(len(data)))]
	}
	body := io.Reader(bytes.NewReader(data))
	if later != nil {
		body = io.MultiReader(bytes.NewReader(data[:min(after, int64(len(data)))]), failing{later})
	}
	return io.NopCloser(body), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Stat implements blob.Store.
func (m *Memory) Stat(ctx context.Context, name string) (blob.Info, error) {
	if _, _, err := m.strike(ctx, Stat, name); err != nil {
		return blob.Info{}, err
	}
	o, err := m.find(name)
	if err != nil {
		return blob.Info{}, err
	}
	return blob.Info{Name: name, Size: int64(len(o.data)), Modified: o.stored}, nil
}

// List implements blob.Store.
func (m *Memory) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		limit, later, err := m.strike(ctx, List, prefix)
		if err != nil {
			yield(blob.Info{}, err)
			return
		}
		for i, info := range m.list(prefix, after) {
			if later != nil && int64(i) == limit {
				break
			}
			if !yield(info, nil) {
				return
			}
		}
		if err := cmp.Or(ctx.Err(), later); err != nil {
			yield(blob.Info{}, err)
		}
	}
}

func (m *Memory) list(prefix, after string) []blob.Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	then := time.Now().Add(-m.stale)
	seen := map[string]object{}
	for name, o := range m.gone {
		if o.deleted.After(then) {
			seen[name] = o
		}
	}
	for name, o := range m.objects {
		if !o.stored.After(then) {
			seen[name] = o
		}
	}
	var list []blob.Info
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if strings.HasPrefix(name, prefix) && name > after {
			list = append(list, blob.Info{Name: name, Size: int64(len(seen[name].data)), Modified: seen[name].stored})
		}
	}
	return list
}

// Delete implements blob.Store.
func (m *Memory) Delete(ctx context.Context, name string) error {
	if err := blob.ValidName(name); err != nil {
		return err
	}
	if _, _, err := m.strike(ctx, Delete, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if o, ok := m.objects[name]; ok {
		o.deleted = time.Now()
		m.gone[name] = o
		delete(m.objects, name)
	}
	return nil
}
