package blob

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	// incoming is where objects are written before they get their name. It begins
	// with a dot, so no object can be in it.
	incoming = ".incoming"
	// abandonedAfter is the age at which what a crash left there is removed.
	abandonedAfter = 24 * time.Hour
	folderMode     = 0o700
)

// A Folder is a Store in a directory, usually of a mounted file server. Each object
// is a file of the same name; one is written in .incoming, fsynced, and given its
// name by a rename (or a hard link, which unlike a rename never replaces: the file
// system must have them). Several processes may share a Folder.
type Folder struct {
	dir string
	fs  vfs.FS
}

// OpenFolder opens the store in dir, which is made if it does not exist. A nil fsys
// means the disk. What crashes left behind more than a day ago is removed.
func OpenFolder(dir string, fsys vfs.FS) (*Folder, error) {
	if fsys == nil {
		fsys = vfs.Default
	}
	f := &Folder{dir: dir, fs: fsys}
	err := f.makeRoot(dir)
	if err == nil {
		err = fsys.MkdirAll(f.path(incoming), folderMode)
	}
	if err != nil {
		return nil, f.fault("open", "", err)
	}
	return f, f.sweep(time.Now())
}

// String is the path of the folder.
func (f *Folder) String() string { return "folder " + f.dir }

func (f *Folder) path(name string) string { return f.fs.PathJoin(f.dir, name) }

// sweep removes what was never finished. Another process may do the same.
func (f *Folder) sweep(now time.Time) error {
	names, err := f.fs.List(f.path(incoming))
	if err != nil {
		return f.fault("open", "", err)
	}
	for _, name := range names {
		file := f.path(path.Join(incoming, name))
		info, err := f.fs.Stat(file)
		if err == nil && now.Sub(info.ModTime()) > abandonedAfter {
			err = f.fs.Remove(file)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f.fault("clean up", "", err)
		}
	}
	return nil
}

// makeRoot makes f.dir, and directories above it that do not exist, durably.
func (f *Folder) makeRoot(dir string) error {
	if _, err := f.fs.Stat(dir); err == nil {
		return nil
	}
	parent := f.fs.PathDir(dir)
	if parent != dir {
		if err := f.makeRoot(parent); err != nil {
			return err
		}
	}
	if err := f.fs.MkdirAll(dir, folderMode); err != nil {
		return err
	}
	return f.sync(parent)
}

// syncDirs makes the entries of dir and of all above it durable, up to the root of
// the store. Directories above may be new as well, made a moment ago by another
// Put that has not synced them yet.
func (f *Folder) syncDirs(dir string) error {
	for ; ; dir = path.Dir(dir) {
		if err := f.sync(f.path(dir)); err != nil || dir == "." {
			return err
		}
	}
}

func (f *Folder) sync(dir string) error {
	d, err := f.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Put implements Store.
func (f *Folder) Put(ctx context.Context, name string, body io.Reader, when Condition) error {
	if err := ValidName(name); err != nil {
		return err
	}
	temporary := path.Join(incoming, rand.Text())
	if err := f.write(ctx, temporary, body); err != nil {
		return errors.Join(err, f.remove(temporary))
	}
	err := f.name(temporary, name, when)
	if errors.Is(err, fs.ErrNotExist) { // a Delete has removed the empty directory
		err = f.name(temporary, name, when)
	}
	if err == nil {
		err = f.syncDirs(path.Dir(name))
	}
	if errors.Is(err, fs.ErrExist) {
		return errors.Join(exists(f, name), f.remove(temporary))
	}
	if err != nil {
		return errors.Join(f.fault("store", name, err), f.remove(temporary))
	}
	return f.remove(temporary) // after a rename it is gone already
}

// write copies body into the file of that name and syncs it. An error of body is
// returned as it is.
func (f *Folder) write(ctx context.Context, name string, body io.Reader) error {
	file, err := f.fs.Create(f.path(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return f.fault("store", name, err)
	}
	source := &bodyReader{ctx: ctx, body: body}
	_, err = io.Copy(writerOnly{file}, source)
	if source.err != nil {
		return errors.Join(source.err, file.Close())
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return f.fault("store", name, err)
	}
	return nil
}

// writerOnly keeps io.Copy from everything but Write.
type writerOnly struct{ io.Writer }

// name gives a written file its name.
func (f *Folder) name(temporary, name string, when Condition) error {
	if err := f.fs.MkdirAll(f.path(path.Dir(name)), folderMode); err != nil {
		return err
	}
	if when == IfAbsent {
		return f.fs.Link(f.path(temporary), f.path(name))
	}
	return f.fs.Rename(f.path(temporary), f.path(name))
}

// remove is for files that may be gone.
func (f *Folder) remove(name string) error {
	if err := f.fs.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.fault("delete", name, err)
	}
	return nil
}

// Get implements Store.
func (f *Folder) Get(ctx context.Context, name string, r Range) (io.ReadCloser, error) {
	info, err := f.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	file, err := f.fs.Open(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(f, name)
	}
	if err != nil {
		return nil, f.fault("read", name, err)
	}
	length := max(info.Size-r.Offset, 0)
	if r.Length > 0 {
		length = min(length, r.Length)
	}
	body := &bodyReader{ctx: ctx, body: io.NewSectionReader(file, r.Offset, length)}
	return struct {
		io.Reader
		io.Closer
	}{body, file}, nil
}

// Stat implements Store.
func (f *Folder) Stat(ctx context.Context, name string) (Info, error) {
	if err := cmp.Or(ctx.Err(), ValidName(name)); err != nil {
		return Info{}, err
	}
	info, err := f.fs.Stat(f.path(name))
	if notThere(err) || err == nil && info.IsDir() {
		return Info{}, notFound(f, name)
	}
	if err != nil {
		return Info{}, f.fault("read", name, err)
	}
	return Info{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Delete implements Store. Directories that become empty go with the object.
func (f *Folder) Delete(ctx context.Context, name string) error {
	if err := cmp.Or(ctx.Err(), ValidName(name)); err != nil {
		return err
	}
	if _, err := f.Stat(ctx, name); fault.Of(err) == fault.NotFound {
		return nil
	}
	if err := f.remove(name); err != nil {
		return err
	}
	dir := path.Dir(name)
	for ; dir != "." && f.fs.Remove(f.path(dir)) == nil; dir = path.Dir(dir) {
		continue
	}
	if err := f.sync(f.path(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.fault("delete", name, err)
	}
	return nil
}

// List implements Store. It holds the names of one directory and of those above
// it.
func (f *Folder) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) { f.walk(ctx, "", prefix, after, yield) }
}

// walk yields what lies below dir, which is "" or ends with "/". It reports
// whether to go on.
func (f *Folder) walk(ctx context.Context, dir, prefix, after string, yield func(Info, error) bool) bool {
	entries, err := f.entries(ctx, dir, prefix, after)
	if err != nil {
		yield(Info{}, err)
		return false
	}
	for _, info := range entries {
		if strings.HasSuffix(info.Name, "/") {
			if !f.walk(ctx, info.Name, prefix, after, yield) {
				return false
			}
		} else if !yield(info, nil) {
			return false
		}
	}
	return true
}

// entries is what of dir can be or hold a name with prefix that is greater than
// after: files as they are, directories with a "/" behind, which puts them where
// their objects are in the order of names.
func (f *Folder) entries(ctx context.Context, dir, prefix, after string) ([]Info, error) {
	names, err := f.fs.List(f.path(dir))
	if err != nil && !notThere(err) {
		return nil, f.fault("list", dir, err)
	}
	var entries []Info
	for _, name := range names {
		if name = dir + name; ValidName(name) != nil {
			continue // not ours, or incoming
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		info, err := f.fs.Stat(f.path(name))
		if notThere(err) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, f.fault("list", name, err)
		}
		if info.IsDir() {
			name += "/"
			if mayHold(name, prefix, after) {
				entries = append(entries, Info{Name: name})
			}
		} else if strings.HasPrefix(name, prefix) && name > after {
			entries = append(entries, Info{Name: name, Size: info.Size(), Modified: info.ModTime()})
		}
	}
	slices.SortFunc(entries, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// mayHold reports whether names that begin with dir can begin with prefix and be
// greater than after.
func mayHold(dir, prefix, after string) bool {
	return (strings.HasPrefix(dir, prefix) || strings.HasPrefix(prefix, dir)) && (dir > after || strings.HasPrefix(after, dir))
}

// notThere reports whether err says that a file, or a directory above it, does not
// exist.
func notThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// fault gives an error of the file system its kind.
func (f *Folder) fault(act, name string, err error) error {
	kind := fault.Unavailable
	if errors.Is(err, fs.ErrPermission) {
		kind = fault.Forbidden
	}
	return fault.New(kind, "%s: cannot %s %s: %v", f, act, cmp.Or(name, "it"), err)
}

// A bodyReader ends with its context, and keeps the error of body apart from
// others.
type bodyReader struct {
	ctx  context.Context
	body io.Reader
	err  error // of body or ctx, not io.EOF
}

func (b *bodyReader) Read(p []byte) (n int, err error) {
	if err = b.ctx.Err(); err == nil {
		n, err = b.body.Read(p)
	}
	if err != nil && err != io.EOF {
		b.err = err
		// A library that takes io.ErrUnexpectedEOF for the end would store half an
		// object and call it whole.
		err = &bodyError{err}
	}
	return n, err
}

type bodyError struct{ error }

func (e *bodyError) Unwrap() error { return e.error }
