package wal

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob"
)

// A Label is a point of the log with a name, as it is archived: as the name of an
// object, so that the points are known from a list when no node is left to ask.
// The entry at its index is the command that made it.
type Label struct {
	Cluster  record.ID
	Timeline record.Timeline
	Index    uint64
	LogTime  record.LogTime // cut to the millisecond
	Name     string         // record.ValidLabel
}

func labelFolder(cluster record.ID) string { return "v1/" + cluster.String() + "/label/" }

// Object is the name of the object that holds l.
func (l Label) Object() string {
	return fmt.Sprintf("%s%s/%020d_%s_%s", labelFolder(l.Cluster), l.Timeline, l.Index, l.LogTime.Time().Format(timeLayout), l.Name)
}

// ParseLabel reads the name of the object that holds a label; ok is false for
// anything that Object does not write.
func ParseLabel(object string) (l Label, ok bool) {
	parts := strings.Split(object, "/")
	if len(parts) != 5 {
		return Label{}, false
	}
	var err error
	if l.Cluster, err = record.ParseID(parts[1]); err != nil {
		return Label{}, false
	}
	if l.Timeline, err = record.ParseTimeline(parts[3]); err != nil {
		return Label{}, false
	}
	fields := strings.SplitN(parts[4], "_", 3)
	if len(fields) != 3 {
		return Label{}, false
	}
	if l.Index, err = strconv.ParseUint(fields[0], 10, 64); err != nil {
		return Label{}, false
	}
	at, err := time.Parse(timeLayout, fields[1])
	if err != nil {
		return Label{}, false
	}
	l.LogTime, l.Name = record.LogTimeAt(at), fields[2]
	return l, l.Index > 0 && record.ValidLabel(l.Name) == nil && l.Object() == object
}

// Labels reads the archived labels of a cluster, by timeline and index. Objects with
// other names are passed over.
func Labels(ctx context.Context, s blob.Store, cluster record.ID) ([]Label, error) {
	var list []Label
	for info, err := range s.List(ctx, labelFolder(cluster), "") {
		if err != nil {
			return nil, err
		}
		if l, ok := ParseLabel(info.Name); ok {
			list = append(list, l)
		}
	}
	slices.SortStableFunc(list, func(a, b Label) int { return CompareTimelines(a.Timeline, b.Timeline) })
	return list, nil
}

// PutLabel archives l. That it is there already is no error.
func PutLabel(ctx context.Context, s blob.Store, l Label) error {
	return s.Put(ctx, l.Object(), strings.NewReader(l.Name+"\n"), blob.Replace)
}
