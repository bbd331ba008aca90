// Package failpoint lets tests make chosen places of the program fail: return an
// error, wait, panic, or end the process right there. Random kills rarely hit the
// moment between an append and its acknowledgement; a failpoint always does.
//
//	if err := failpoint.Eval("logstore/store"); err != nil {
//		return err
//	}
//
// Without the build tag failpoint, [Eval] is an empty function that the compiler
// removes, and no setting can bring a failure about. Released binaries are built
// without it; a test that needs one builds with -tags failpoint.
//
// # Settings
//
// A process reads its failpoints from MCPRAFT_FAILPOINTS, a test calls [Set]:
//
//	raftnode/apply=sleep(5s);logstore/store=3#2*error(ENOSPC);admin/answer=exit(3)
//
// A term is [first#][count*]action, where first is the number of the hit that it
// begins with (from 1; default 1) and count how many hits it is for (default all):
//
//	error(TEXT)    Eval returns an error that says TEXT; it is that error of the
//	               operating system if TEXT is ENOSPC or EIO
//	sleep(5s)      Eval returns nil after that time; delay(5s) is the same
//	pause          Eval returns nil once the point is set again or cleared
//	panic(TEXT)    Eval panics; the text may be left out
//	exit(CODE)     the process ends at once, as if killed: nothing is closed
//	off            nothing
//
// A name that is not in the list of this package is refused, with the list.
package failpoint

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Variable is the environment variable that [FromEnvironment] reads.
const Variable = "MCPRAFT_FAILPOINTS"

// ErrInjected is what every error of a failpoint is, for errors.Is.
var ErrInjected = errors.New("injected by a failpoint")

// names is every failpoint of the program and the moment it stands for. A name is
// PACKAGE/MOMENT. Add a line here with each new call of Eval.
var names = map[string]string{
	"admin/answer":      "a change is committed and its caller has not been told",
	"archive/sealed":    "a segment is cut and nothing of it is stored",
	"archive/stored":    "a segment is stored and was not read back",
	"archive/verified":  "a segment was read back and its labels are not stored",
	"archive/labelled":  "a segment and its labels are stored and the cluster does not know",
	"archive/prune":     "a segment is deleted and the next is not",
	"archive/advanced":  "a segment was taken up and its archiver was not told",
	"logstore/store":    "before entries of the log are written",
	"logstore/stored":   "entries of the log are durable and raft has not been told",
	"raftnode/apply":    "entries are committed and not yet in the state machine",
	"raftnode/applied":  "entries are in the state machine and nobody has been told",
	"raftnode/install":  "a snapshot has arrived and is not yet installed",
	"raftnode/propose":  "an envelope is full and not yet given to raft",
	"raftnode/snapshot": "a snapshot is about to be taken",
	"recovery/rename":   "a recovered state is complete and has not got its name",
	"recovery/segment":  "a segment of the archive is replayed",
	"snapshot/file":     "a snapshot file is written and has not got its name",
	"snapshot/files":    "the files of a backup are stored and its manifest is not",
	"snapshot/manifest": "a backup is stored and nobody has been told",
	"snapshot/prune":    "the manifest of a backup is deleted and its files are not",
}

// check says whether name is a failpoint.
func check(name string) error {
	if _, ok := names[name]; ok {
		return nil
	}
	known := slices.Sorted(maps.Keys(names))
	return fmt.Errorf("no failpoint is called %q; there are %s", name, strings.Join(known, ", "))
}
