package wal

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// A Tag is the beginning of the SHA-256 of a stored segment: enough to tell
// segments apart and to link them, in a name that people can still read. Readers
// compare whole hashes. The zero Tag is no segment: what the first one follows.
type Tag [8]byte

func (t Tag) String() string { return hex.EncodeToString(t[:]) }

// TagOf is the tag of the segment with that hash.
func TagOf(hash [32]byte) Tag { return Tag(hash[:]) }

// A Ref is what the name of a segment says, so that the whole chain is known from a
// list of the destination, without reading anything. Nothing of it is verified
// until the segment is read.
type Ref struct {
	Cluster     record.ID
	Timeline    record.Timeline
	Sequence    uint64         // 1 for the first of a timeline, then one more for each
	First, Last uint64         // indexes of the log that it covers, both included; not each has an entry
	FirstTime   record.LogTime // of the header, cut to the millisecond
	Tag         Tag            // of the segment itself
	Previous    Tag            // of the segment before it; zero for sequence 1
	Size        int64          // bytes in the destination; not part of the name
}

// Covers reports whether index lies in the segment.
func (r Ref) Covers(index uint64) bool { return r.First <= index && index <= r.Last }

// timeLayout is a time that sorts, has milliseconds and is no trouble in a name.
const timeLayout = "20060102T150405.000Z"

const suffix = ".seg"

// Folder is where the segments of a cluster are, with "/" at the end. Each timeline
// has a folder in it.
func Folder(cluster record.ID) string { return "v1/" + cluster.String() + "/wal/" }

// Name is the name of the object.
func (r Ref) Name() string {
	return fmt.Sprintf("%s%s/%010d_%020d-%020d_%s_%s_%s%s", Folder(r.Cluster), r.Timeline, r.Sequence, r.First, r.Last,
		r.FirstTime.Time().Format(timeLayout), r.Previous, r.Tag, suffix)
}

// String is the part of the name that tells r from others of its timeline.
func (r Ref) String() string {
	return fmt.Sprintf("segment %d of timeline %s (indexes %d to %d)", r.Sequence, r.Timeline, r.First, r.Last)
}

// ParseName reads the name of a segment; ok is false for anything that Name does
// not write.
func ParseName(name string) (r Ref, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 5 {
		return Ref{}, false
	}
	var err error
	if r.Cluster, err = record.ParseID(parts[1]); err != nil {
		return Ref{}, false
	}
	if r.Timeline, err = record.ParseTimeline(parts[3]); err != nil {
		return Ref{}, false
	}
	fields := strings.Split(strings.TrimSuffix(parts[4], suffix), "_")
	if len(fields) != 5 {
		return Ref{}, false
	}
	first, last, _ := strings.Cut(fields[1], "-")
	for _, number := range []struct {
		text string
		into *uint64
	}{{fields[0], &r.Sequence}, {first, &r.First}, {last, &r.Last}} {
		if *number.into, err = strconv.ParseUint(number.text, 10, 64); err != nil {
			return Ref{}, false
		}
	}
	at, err := time.Parse(timeLayout, fields[2])
	if err != nil {
		return Ref{}, false
	}
	r.FirstTime = record.LogTimeAt(at)
	if !parseTag(fields[3], &r.Previous) || !parseTag(fields[4], &r.Tag) {
		return Ref{}, false
	}
	return r, r.Sequence > 0 && r.First > 0 && r.First <= r.Last && r.Name() == name
}

func parseTag(s string, t *Tag) bool {
	n, err := hex.Decode(t[:], []byte(s[:min(len(s), 2*len(t))]))
	return err == nil && n == len(t)
}
