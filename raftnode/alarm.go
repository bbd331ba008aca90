package raftnode

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Names of alarms. The list is closed.
const (
	AlarmDisk     = "disk"     // the file system of the data directory is almost full
	AlarmClock    = "clock"    // the wall clock is far ahead of the others
	AlarmDigest   = "digest"   // the digests of the nodes differ
	AlarmDiverged = "diverged" // this node's state is wrong
	AlarmRemoved  = "removed"  // this node is no member any more
	AlarmArchive  = "archive"  // the log is not archived
	AlarmBackup   = "backup"   // a backup that is due cannot be taken
	AlarmVerify   = "verify"   // the newest backup did not pass, or cannot be verified
	AlarmGap      = "gap"      // entries were lost before they were archived, and no backup has closed the gap yet
)

// An Alarm is something that an operator must look at.
type Alarm struct {
	Name    string    `cbor:"1,keyasint" json:"name"`
	Message string    `cbor:"2,keyasint" json:"message"`
	Since   time.Time `cbor:"3,keyasint" json:"since"`
}

// alarms is the set that is raised now.
type alarms struct {
	log     *slog.Logger
	metrics *Metrics

	mu  sync.Mutex
	set map[string]Alarm
}

func newAlarms(log *slog.Logger, m *Metrics) *alarms {
	return &alarms{log: log, metrics: m, set: make(map[string]Alarm)}
}

// raise raises name, or changes its message; it is logged when it is new.
func (a *alarms) raise(name, format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	alarm, old := a.set[name]
	if !old {
		alarm = Alarm{Name: name, Since: time.Now().UTC()}
	}
	alarm.Message = fmt.Sprintf(format, args...)
	a.set[name] = alarm
	a.metrics.alarms.WithLabelValues(name).Set(1)
	if !old {
		a.log.Error("alarm raised", "alarm", name, "message", alarm.Message)
	}
}

func (a *alarms) clear(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.set[name]; !ok {
		return
	}
	delete(a.set, name)
	a.metrics.alarms.WithLabelValues(name).Set(0)
	a.log.Info("alarm cleared", "alarm", name)
}

// Raise raises an alarm of the parts above this package, or changes its message.
// Name is one of the list.
func (n *Node) Raise(name, message string) { n.alarms.raise(name, "%s", message) }

// Clear ends it; one that is not raised is no mistake.
func (n *Node) Clear(name string) { n.alarms.clear(name) }

// list is the alarms by name.
func (a *alarms) list() []Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]Alarm, 0, len(a.set))
	for _, alarm := range a.set {
		list = append(list, alarm)
	}
	slices.SortFunc(list, func(x, y Alarm) int { return strings.Compare(x.Name, y.Name) })
	return list
}
