package snapshot

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"slices"

	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
)

// Open reads the state of a backup as the stream that was saved. io.EOF means that
// all of it verified; what was read before an error is a beginning of it, no more.
// Damage is of kind Integrity and names the object. The caller closes it.
func (b Backups) Open(ctx context.Context, m Manifest) (io.ReadCloser, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if err := b.hasKey(m); err != nil {
		return nil, err
	}
	return &stateReader{ctx: ctx, backups: b, manifest: m, whole: sha256.New()}, nil
}

// hasKey says early that no key opens a backup.
func (b Backups) hasKey(m Manifest) error {
	if len(m.Keys) == 0 || slices.ContainsFunc(m.Keys, func(id seal.KeyID) bool { _, ok := b.Policy.Ring.Find(id); return ok }) {
		return nil
	}
	return fault.New(fault.Forbidden, "none of the given keys opens backup %s; it was sealed for %v", m.ID, m.Keys).
		WithHint("give the key file that holds one of these ids")
}

// A stateReader reads the files of a backup one after the other.
type stateReader struct {
	ctx      context.Context
	backups  Backups
	manifest Manifest
	next     int // file
	open     *fileReader
	whole    hash.Hash
	err      error
}

// A fileReader reads one file.
type fileReader struct {
	Part
	body   io.ReadCloser
	stored hash.Hash
	plain  io.Reader
	read   int64
}

func (r *stateReader) Read(p []byte) (n int, err error) {
	for n == 0 && r.err == nil && len(p) > 0 {
		n, r.err = r.read(p)
	}
	r.whole.Write(p[:n])
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}

// read reads from the open file, or goes on to the next.
func (r *stateReader) read(p []byte) (n int, err error) {
	if r.open == nil {
		if r.next == len(r.manifest.Files) {
			return 0, r.end()
		}
		r.next++
		return 0, r.begin(r.manifest.Files[r.next-1])
	}
	n, err = r.open.plain.Read(p)
	r.open.read += int64(n)
	if err == io.EOF {
		err = r.finish()
	}
	if err != nil {
		return n, r.damage(err)
	}
	return n, nil
}

func (r *stateReader) begin(f Part) error {
	body, err := r.backups.Store.Get(r.ctx, r.backups.file(r.manifest.ID, f.Name), blob.Range{})
	if fault.Of(err) == fault.NotFound {
		return r.backups.missing(r.manifest.ID, f)
	}
	if err != nil {
		return err
	}
	r.open = &fileReader{Part: f, body: body, stored: sha256.New()}
	r.open.plain, err = r.backups.Policy.Ring.NewReader(io.TeeReader(body, r.open.stored), r.backups.context(r.manifest.ID, f.Name))
	if err != nil {
		return r.explain(err)
	}
	return nil
}

// explain tells a file that this binary or these keys cannot read from one whose
// header was changed so that it looks like that: the manifest has its hash.
func (r *stateReader) explain(err error) error {
	if k := fault.Of(err); k != fault.Unsupported && k != fault.Forbidden {
		return r.damage(err)
	}
	if _, readErr := io.Copy(r.open.stored, r.open.body); readErr != nil {
		return readErr
	}
	if Hash(r.open.stored.Sum(nil)) != r.open.SHA256 {
		err = r.damage(fault.New(fault.Integrity, "its SHA-256 does not match: bytes were changed"))
	}
	return err
}

// finish compares a file that has been read with its manifest.
func (r *stateReader) finish() error {
	f := r.open
	if sum := f.stored.Sum(nil); Hash(sum) != f.SHA256 || f.read != f.Plain {
		return fault.New(fault.Integrity, "it is another one than the manifest names (%d bytes of the state, SHA-256 %x)", f.read, sum)
	}
	r.open = nil
	return f.body.Close()
}

// end compares the whole state with the manifest.
func (r *stateReader) end() error {
	if sum := Hash(r.whole.Sum(nil)); sum != r.manifest.SHA256 {
		return fault.New(fault.Integrity, "backup %s is damaged: its state has the SHA-256 %v, the manifest says %v", r.manifest.ID, sum, r.manifest.SHA256)
	}
	return io.EOF
}

// damage names the object in an error that means damage.
func (r *stateReader) damage(err error) error {
	if fault.Of(err) != fault.Integrity {
		return err
	}
	return r.backups.damaged(r.manifest.ID, r.manifest.Files[r.next-1], err)
}

// Close ends the connection to the store.
func (r *stateReader) Close() error {
	if r.err == nil {
		r.err = errClosed
	}
	if r.open == nil {
		return nil
	}
	body := r.open.body
	r.open = nil
	return body.Close()
}

var errClosed = errors.New("snapshot: the reader is closed")

const useAnother = "this backup cannot be restored; use another one (`mcpraft backup ls`), and take a new one now"

func (b Backups) missing(id string, f Part) error {
	return fault.New(fault.Integrity, "backup %s is damaged: %s is missing in %s", id, b.file(id, f.Name), b.Store).WithHint(useAnother)
}

func (b Backups) damaged(id string, f Part, err error) error {
	return fault.New(fault.Integrity, "backup %s is damaged: %s in %s: %v", id, b.file(id, f.Name), b.Store, err).WithHint(useAnother)
}
