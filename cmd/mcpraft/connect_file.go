package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/clientfile"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// A clientFile is a configuration file of another program, as it was read.
type clientFile struct {
	path string
	text []byte
	mode fs.FileMode // of an existing file
	had  bool        // it exists
}

// openClientFile reads the file at path; one that does not exist is empty.
func openClientFile(path string) (*clientFile, error) {
	f := &clientFile{path: path, mode: 0o600}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fileError(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fault.New(fault.Invalid, "%s is not a file", path)
	}
	if info.Size() > clientfile.MaxBytes {
		return nil, fault.New(fault.TooLarge, "%s has %d bytes, the limit is %d", path, info.Size(), clientfile.MaxBytes)
	}
	f.had, f.mode = true, info.Mode().Perm()
	f.text, err = os.ReadFile(path)
	return f, fileError(path, err)
}

// fileError is err with the file that it is about.
func fileError(path string, err error) error {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		e.Message = path + ": " + e.Message
		return e
	}
	if err != nil {
		return fault.New(fault.Invalid, "%s cannot be edited: %v", path, err)
	}
	return nil
}

// open reports whether others on the machine may read the file.
func (f *clientFile) open() bool { return f.mode&0o044 != 0 }

// backUp copies the file beside itself under the time, and returns the copy's
// path; "" if there is no file.
func (f *clientFile) backUp(now time.Time) (string, error) {
	if !f.had {
		return "", nil
	}
	path := f.path + "." + now.Format("20060102-150405.000") + ".bak"
	if err := os.WriteFile(path, f.text, f.mode); err != nil {
		return "", fileError(f.path, err)
	}
	return path, nil
}

// replace puts text in the place of the file, as a whole or not at all. A file
// that has changed since it was read is left alone: its program is writing, too.
func (f *clientFile) replace(text []byte) error {
	now, err := os.ReadFile(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError(f.path, err)
	}
	if !bytes.Equal(now, f.text) {
		return fault.New(fault.Conflict, "%s has just been changed by another program", f.path).
			WithHint("run the command again")
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fileError(f.path, err)
	}
	if err := writePrivate(f.path, text); err != nil {
		return fileError(f.path, err)
	}
	if err := os.Chmod(f.path, f.mode); err != nil {
		return fmt.Errorf("%s: its mode: %w", f.path, err)
	}
	return nil
}
