package seal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A key file is text (docs/format/key-file.md): the line keyFileHead, then a line
// for each key. Empty lines and those that begin with # say nothing.
const (
	keyFileHead     = "mcpraft-keys 1"
	maxKeyFileBytes = 1 << 20
)

// FormatKeys is the text of a key file with these keys.
func FormatKeys(keys ...Key) []byte {
	var b strings.Builder
	b.WriteString(keyFileHead + "\n" +
		"# Who has this file can read what it protects; without it nobody can.\n" +
		"# Keep a copy in another place, and do not remove old keys: they open old backups.\n" +
		"# id cipher created secret\n")
	for _, k := range keys {
		b.WriteString(k.line() + "\n")
	}
	return []byte(b.String())
}

// ParseKeys reads the text of a key file. Every mistake is reported, with its
// line; a file without keys is one.
func ParseKeys(text []byte) ([]Key, error) {
	if len(text) > maxKeyFileBytes {
		return nil, fault.New(fault.TooLarge, "key file has more than %d bytes", maxKeyFileBytes)
	}
	head, rest, _ := strings.Cut(string(text), "\n")
	if head = strings.TrimSpace(head); head != keyFileHead {
		if strings.HasPrefix(head, "mcpraft-keys ") {
			return nil, fault.New(fault.Unsupported, "key file has the version %q, this binary reads %q", head, keyFileHead)
		}
		return nil, fault.New(fault.Invalid, "this is no key file: its first line is not %q", keyFileHead)
	}
	var keys []Key
	var errs []error
	number, seen := 1, map[KeyID]int{}
	for line := range strings.Lines(rest) {
		number++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		k, err := parseKey(line)
		if first, twice := seen[k.id]; err == nil && twice {
			err = fault.New(fault.Invalid, "%v is on line %d already", k, first)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", number, err))
			continue
		}
		seen[k.id] = number
		keys = append(keys, k)
	}
	if len(keys) == 0 && len(errs) == 0 {
		errs = append(errs, fault.New(fault.Invalid, "there is no key in it"))
	}
	return keys, errors.Join(errs...)
}

// ReadKeyFile reads the key file at path. One that every user of the machine can
// read is refused.
func ReadKeyFile(path string) ([]Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return nil, fault.New(fault.Invalid, "key file %s can be read by every user of this machine (mode %04o)", path, mode).
			WithHint("chmod o= %s", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFileBytes+1))
	if err != nil {
		return nil, err
	}
	keys, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return keys, nil
}

// AddToKeyFile makes k one of the keys of the file at path, which is made if it
// does not exist. The file is replaced as a whole: a crash leaves the old or the
// new one. Comments of the old one are lost. Two callers at once lose a key.
func AddToKeyFile(path string, k Key) (err error) {
	keys, err := ReadKeyFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text := FormatKeys(append(keys, k)...)
	if _, err := ParseKeys(text); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
