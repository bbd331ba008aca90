package snapshot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
)

const (
	defaultPartBytes = 256 << 20
	cleanUpTimeout   = 30 * time.Second
)

// An Origin says who took a snapshot and why, for people.
type Origin struct {
	Creator string
	Reason  string
}

// Save takes a backup: it writes the state to the destination, checks that all of
// it arrived, and then writes the manifest. When Save fails there is no backup; what
// was uploaded is removed if the destination can be reached, and by Prune otherwise.
// Memory is constant.
func (b Backups) Save(ctx context.Context, s State, stream io.WriterTo, o Origin) (Manifest, error) {
	if s.Cluster != b.Cluster {
		return Manifest{}, fault.New(fault.Invalid, "a state of cluster %s cannot be a backup of cluster %s", s.Cluster, b.Cluster)
	}
	s.At = s.LogTime.Time()
	if err := s.Validate(); err != nil {
		return Manifest{}, err
	}
	if err := b.Policy.Validate(); err != nil {
		return Manifest{}, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	m := Manifest{
		ID: newID(now, s.Index), State: s, Created: now, Creator: o.Creator, Reason: o.Reason,
		Cipher: b.Policy.Cipher.String(), Compression: b.Policy.Compression.String(),
	}
	if b.Policy.Cipher != seal.None {
		for _, k := range b.Policy.Ring.Recipients() {
			m.Keys = append(m.Keys, k.ID())
		}
	}
	if err := b.save(ctx, &m, stream); err != nil {
		b.cleanUp(ctx, m)
		return Manifest{}, err
	}
	return m, nil
}

func (b Backups) save(ctx context.Context, m *Manifest, stream io.WriterTo) error {
	w := &fileWriter{ctx: ctx, backups: b, id: m.ID, whole: sha256.New()}
	_, err := stream.WriteTo(w)
	if err = w.close(err); err != nil {
		return err
	}
	m.Files, m.Size = w.files, w.size
	w.whole.Sum(m.SHA256[:0])
	if err := b.verifyFiles(ctx, *m); err != nil {
		return err
	}
	if err := failpoint.Eval("snapshot/files"); err != nil {
		return err
	}
	if err := m.Validate(); err != nil {
		return err
	}
	if err := b.put(ctx, b.object(manifests, m.ID), m, blob.IfAbsent); err != nil {
		return err
	}
	return failpoint.Eval("snapshot/manifest")
}

// cleanUp removes what a failed Save has uploaded, the manifest first: an error may
// have come after it was stored.
func (b Backups) cleanUp(ctx context.Context, m Manifest) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	_ = b.remove(ctx, m.ID)
}

// file is the name of a file of a backup in the destination.
func (b Backups) file(id, name string) string { return folder(b.Cluster, states) + id + "/" + name }

// context binds a sealed file to its place.
func (b Backups) context(id, name string) string {
	return fmt.Sprintf("mcpraft backup %s %s %s", b.Cluster, id, name)
}

// A fileWriter cuts a stream into sealed files and uploads each while it is
// written.
type fileWriter struct {
	ctx     context.Context
	backups Backups
	id      string
	open    *fileUpload // nil: none
	files   []Part
	whole   hash.Hash
	size    int64
	err     error // the first; a source that does not mind it gets it again
}

// A fileUpload is one file on its way. One goroutine, which the fileWriter waits
// for, takes what is written and puts it into the store.
type fileUpload struct {
	Part
	pipe   *io.PipeWriter
	stored hash.Hash
	sealed *seal.Writer
	done   chan error // has the error of Put, once
}

func (w *fileWriter) begin() error {
	name := fileName(len(w.files))
	if len(w.files) == maxFiles {
		return fault.New(fault.TooLarge, "a backup has at most %d files", maxFiles)
	}
	r, pipe := io.Pipe()
	u := &fileUpload{Part: Part{Name: name}, pipe: pipe, stored: sha256.New(), done: make(chan error, 1)}
	go func() {
		err := w.backups.Store.Put(w.ctx, w.backups.file(w.id, name), r, blob.IfAbsent)
		r.CloseWithError(cmp.Or(err, io.ErrClosedPipe)) // whoever still writes is told
		u.done <- err
	}()
	w.open = u
	var err error
	u.sealed, err = w.backups.Policy.NewWriter(u, w.backups.context(w.id, name))
	return err
}

// Write takes what is stored, below the seal.
func (u *fileUpload) Write(p []byte) (int, error) {
	n, err := u.pipe.Write(p)
	u.stored.Write(p[:n])
	u.Size += int64(n)
	return n, err
}

func (w *fileWriter) Write(p []byte) (n int, err error) {
	if w.err == nil {
		n, w.err = w.write(p)
	}
	return n, w.err
}

func (w *fileWriter) write(p []byte) (n int, err error) {
	limit := cmp.Or(w.backups.PartBytes, defaultPartBytes)
	for len(p) > 0 {
		if w.open != nil && w.open.Plain == limit {
			if err := w.finish(nil); err != nil {
				return n, err
			}
		}
		if w.open == nil {
			if err := w.begin(); err != nil {
				return n, err
			}
		}
		part := p[:min(int64(len(p)), limit-w.open.Plain)]
		if _, err := w.open.sealed.Write(part); err != nil {
			return n, err
		}
		w.whole.Write(part)
		w.open.Plain += int64(len(part))
		w.size += int64(len(part))
		p, n = p[len(part):], n+len(part)
	}
	return n, nil
}

// finish ends the open file and waits for its upload; with an error it gives it up.
func (w *fileWriter) finish(err error) error {
	u := w.open
	w.open = nil
	if err == nil {
		err = u.sealed.Close()
	}
	u.pipe.CloseWithError(err) // nil is the end
	if putErr := <-u.done; err == nil || !errors.Is(putErr, err) {
		err = cmp.Or(putErr, err)
	}
	u.stored.Sum(u.SHA256[:0])
	w.files = append(w.files, u.Part)
	return err
}

// close ends the stream; err is the one of its source. An empty stream has one
// empty file.
func (w *fileWriter) close(err error) error {
	err = cmp.Or(err, w.err)
	if err == nil && len(w.files) == 0 && w.open == nil {
		err = w.begin()
	}
	if w.open != nil {
		err = w.finish(err)
	}
	return err
}
