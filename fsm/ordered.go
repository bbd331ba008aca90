package fsm

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// orderedFS syncs a directory before Pebble makes a marker file in it. Pebble
// creates a manifest, then the marker that names it, and syncs the directory once
// for both: where names reach the disk in no order, a power failure may leave the
// marker alone, and the database never opens again.
type orderedFS struct{ vfs.FS }

func (fs orderedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(fs.PathBase(name), "marker.") {
		if err := syncDir(fs.FS, fs.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return fs.FS.Create(name, category)
}
