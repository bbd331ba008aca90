package fsm

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// The directory of a Machine holds one Pebble database per subdirectory
// db-NNNNNN and the file CURRENT, which names the one that counts. A restore
// builds the next one beside it and then replaces CURRENT, by rename, so that a
// crash leaves either the old state or the new one, whole. Everything that
// CURRENT does not name is rubbish of such a crash and is removed at Open.
//
// db-000001 is the empty database that Open makes: CURRENT names it before it
// exists. All others are complete before CURRENT names them, so a missing one
// means that the disk lost it.

const (
	pointerName = "CURRENT"
	pointerTemp = "CURRENT.tmp"
	dbPrefix    = "db-"
	firstDB     = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func dbName(number uint64) string { return fmt.Sprintf("%s%06d", dbPrefix, number) }

// readPointer is the number of the current database, 0 if there is no state.
func readPointer(fs vfs.FS, dir string) (uint64, error) {
	f, err := fs.Open(fs.PathJoin(dir, pointerName))
	if isNotExist(err) {
		return 0, refuseOrphans(fs, dir)
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, err
	}
	return parsePointer(data)
}

// refuseOrphans makes sure that a directory without CURRENT is a new one.
func refuseOrphans(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, dbPrefix) {
			return fault.New(fault.Integrity, "%s holds %s and no file %s to say that it counts", dir, name, pointerName).
				WithHint("the disk lost a file: re-seed this node from its peers, or restore a backup")
		}
	}
	return nil
}

// The pointer is one line: name of the database, CRC32C of that name in
// hexadecimal.
func formatPointer(number uint64) []byte {
	name := dbName(number)
	return fmt.Appendf(nil, "%s %08x\n", name, crc32.Checksum([]byte(name), castagnoli))
}

func parsePointer(data []byte) (uint64, error) {
	var number uint64
	if _, err := fmt.Sscanf(string(data), dbPrefix+"%d ", &number); err == nil && number > 0 &&
		string(formatPointer(number)) == string(data) {
		return number, nil
	}
	return 0, fault.New(fault.Integrity, "%s holds %q, which does not verify", pointerName, data).
		WithHint("the disk damaged a file: re-seed this node from its peers, or restore a backup")
}

// writePointer makes the database of that number the current one. When it
// returns, this survives a power failure.
func writePointer(fs vfs.FS, dir string, number uint64) error {
	temp := fs.PathJoin(dir, pointerTemp)
	if err := writeFile(fs, temp, formatPointer(number)); err != nil {
		return err
	}
	if err := fs.Rename(temp, fs.PathJoin(dir, pointerName)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func writeFile(fs vfs.FS, name string, data []byte) error {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

// removeStale removes what earlier restores left behind.
func removeStale(fs vfs.FS, dir string, current uint64) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		stale := strings.HasPrefix(name, dbPrefix) && name != dbName(current) || name == pointerTemp
		if !stale {
			continue
		}
		if err := fs.RemoveAll(fs.PathJoin(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }
