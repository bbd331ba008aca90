package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// Installed is what the log says of a snapshot that it hands over.
type Installed struct {
	Index              uint64 // 0: do not compare; else the stream must be of this index and term
	Term               uint64
	Configuration      []byte // nil: that of the stream
	ConfigurationIndex uint64
}

func (i *Installed) settle(m Meta) (Meta, error) {
	if i.Index != 0 && (i.Index != m.Index || i.Term != m.Term) {
		return m, fault.New(fault.Integrity, "snapshot is of index %d, term %d; index %d, term %d was announced", m.Index, m.Term, i.Index, i.Term)
	}
	if i.Configuration != nil {
		m.Configuration, m.ConfigurationIndex = i.Configuration, i.ConfigurationIndex
	}
	return m, nil
}

// Restore replaces the state by that of a snapshot stream, which must end where
// r ends. It builds a database of its own beside the current one and changes
// over only when everything in the stream has verified and is on disk: after an
// error, or a crash at any point, the old state is there as it was. The old
// database is removed when its last View and Snapshot is closed.
//
// It is called where Apply is called. Memory is bounded, whatever the stream.
func (m *Machine) Restore(r io.Reader, installed Installed) error {
	m.applying.Lock()
	defer m.applying.Unlock()
	if m.broken != nil {
		return m.broken
	}
	old := m.state.store
	s, err := buildStore(m.dir, old.number+1, m.o, m.blocks, r, installed.settle)
	if err != nil {
		return err
	}
	if err := writePointer(m.o.FS, m.dir, s.number); err != nil {
		// Whether the change counts is known only when CURRENT is read again.
		m.broken = fault.New(fault.Integrity, "%s cannot be replaced: %w", pointerName, err).
			WithHint("check the disk, then start the node again")
		s.release()
		return m.broken
	}
	old.retired.Store(true)
	if err := m.adopt(s); err != nil {
		m.broken = err
		s.release()
		return err
	}
	m.retired = append(slices.DeleteFunc(m.retired, (*store).isDrained), old)
	old.release()
	m.o.Changed([]Change{{Noun: ChangedAll}})
	return nil
}

// Seed makes the state of a recovery: a new directory with the pairs of a
// snapshot stream (nil: none) under the given meta, whose timeline is a new one.
// A zero Digest in meta is filled in; any other must be that of the pairs. The
// directory must not hold state.
func Seed(dir string, options Options, meta Meta, from io.Reader) error {
	o := options.withDefaults()
	if err := makeDir(o.FS, dir); err != nil {
		return err
	}
	if err := refuseState(o.FS, dir); err != nil {
		return err
	}
	blocks := newBlockCache(o)
	defer blocks.Unref()
	s, err := buildStore(dir, firstDB+1, o, blocks, from, func(stream Meta) (Meta, error) {
		if meta.Digest != (record.Digest{}) && meta.Digest != stream.Digest {
			return meta, fault.New(fault.Integrity, "the pairs have digest %v, not %v", stream.Digest, meta.Digest)
		}
		meta.Digest = stream.Digest
		return meta, nil
	})
	if err != nil {
		return err
	}
	s.release()
	<-s.drained
	if s.err != nil {
		return s.err
	}
	return writePointer(o.FS, dir, s.number)
}

// refuseState makes sure that dir holds nothing of a Machine.
func refuseState(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == pointerName || strings.HasPrefix(name, dbPrefix) {
			return fault.New(fault.Conflict, "%s holds state already: %s", dir, name).
				WithHint("name a new directory")
		}
	}
	return nil
}

// A builder writes the pairs of a stream as sorted tables and hands them to
// Pebble in one step, which is much cheaper than writing them through its log.
type builder struct {
	fs     vfs.FS
	dir    string // of the tables; removed in the end
	o      *pebble.Options
	tables []string
	w      *sstable.Writer
	size   int // of the pairs in w
}

// tableBytes is how much goes into one table.
const tableBytes = 32 << 20

// buildStore builds and syncs the database of a number from a stream. After an
// error nothing of it is left.
func buildStore(dir string, number uint64, o *Options, cache *pebble.Cache, r io.Reader, settle func(Meta) (Meta, error)) (_ *store, err error) {
	path := o.FS.PathJoin(dir, dbName(number))
	defer func() {
		if err != nil {
			err = errors.Join(err, o.FS.RemoveAll(path))
		}
	}()
	if err := o.FS.RemoveAll(path); err != nil { // of an earlier attempt
		return nil, err
	}
	b := &builder{fs: o.FS, dir: path + ".tables", o: pebbleOptions(o, cache)}
	b.o.EnsureDefaults()
	defer func() { err = errors.Join(err, b.close()) }()

	meta, err := b.readStream(r)
	if err != nil {
		return nil, err
	}
	if meta, err = settle(meta); err != nil {
		return nil, err
	}
	s, err := createStore(dir, number, o, cache)
	if err != nil {
		return nil, err
	}
	err = b.fill(s.db, meta)
	if err = errors.Join(err, s.failure()); err != nil {
		s.release()
		<-s.drained
		return nil, errors.Join(err, s.err)
	}
	return s, syncDir(o.FS, dir)
}

// readStream writes the tables; when it returns nil, all of r has verified.
func (b *builder) readStream(r io.Reader) (Meta, error) {
	if err := b.fs.RemoveAll(b.dir); err != nil {
		return Meta{}, err
	}
	if err := b.fs.MkdirAll(b.dir, 0o700); err != nil {
		return Meta{}, err
	}
	if r == nil {
		return Meta{}, nil
	}
	in := newStreamReader(r)
	meta, err := in.header()
	if err != nil {
		return Meta{}, err
	}
	for {
		p, err := in.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Meta{}, err
		}
		if err := b.add(p); err != nil {
			return Meta{}, err
		}
	}
	if got := in.sum.digest(); got != meta.Digest {
		return Meta{}, damaged("its pairs have digest %v, its meta says %v", got, meta.Digest)
	}
	return meta, b.finishTable()
}

func (b *builder) add(p pair) error {
	if b.w == nil {
		name := b.fs.PathJoin(b.dir, fmt.Sprintf("%06d.sst", len(b.tables)+1))
		f, err := b.fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		b.tables = append(b.tables, name)
		b.w = sstable.NewWriter(objstorageprovider.NewFileWritable(f), b.o.MakeWriterOptions(6, formatVersion.MaxTableFormat()))
		b.size = 0
	}
	if err := b.w.Set(p.key, p.value); err != nil {
		return err
	}
	if b.size += len(p.key) + len(p.value); b.size < tableBytes {
		return nil
	}
	return b.finishTable()
}

func (b *builder) finishTable() error {
	if b.w == nil {
		return nil
	}
	err := b.w.Close() // syncs
	b.w = nil
	return err
}

// fill makes the tables and the meta the content of an empty database.
func (b *builder) fill(db *pebble.DB, meta Meta) error {
	if len(b.tables) > 0 {
		if err := db.Ingest(context.Background(), b.tables); err != nil {
			return err
		}
	}
	batch := db.NewBatch()
	defer batch.Close()
	if err := writeMeta(batch, meta, true); err != nil {
		return err
	}
	return batch.Commit(pebble.Sync)
}

func (b *builder) close() error {
	return errors.Join(b.finishTable(), b.fs.RemoveAll(b.dir))
}
