package archive

import (
	"context"
	"math"
	"sync/atomic"
)

// A Floor says up to where a node may cut its log: to where it is archived, until
// what waits is more than may wait. It is made before the node, which asks it, and
// then told of the node; before that nothing may be cut.
type Floor struct {
	pitr PITR
	on   atomic.Pointer[floorOn]
}

type floorOn struct {
	replica Replica
	log     Log
}

// NewFloor makes a Floor.
func NewFloor(p PITR) *Floor { return &Floor{pitr: p.withDefaults()} }

// Attach tells f of its node.
func (f *Floor) Attach(replica Replica, log Log) { f.on.Store(&floorOn{replica, log}) }

// Index is the newest entry that may be cut. It is called by the node whenever it
// cuts its log, from any goroutine.
func (f *Floor) Index() uint64 {
	on := f.on.Load()
	if on == nil {
		return 0
	}
	if !f.pitr.KeepSpool && on.log.LogBytes() > f.pitr.SpoolBytes {
		return math.MaxUint64 // the archiver finds out, and says what is lost
	}
	b := Backups{c: Config{Replica: on.replica}}
	at, err := b.place(context.Background()) // a look at this replica waits for nobody
	if err != nil {
		return 0
	}
	return at.Last
}
