package raftnode

import (
	"sync"
	"sync/atomic"

	"github.com/mcpraft/mcpraft/fsm"
)

// watchers are told what the state machine changed.
type watchers struct {
	mu   sync.Mutex // taken to add one
	list atomic.Pointer[[]func([]fsm.Change)]
}

func (w *watchers) add(watch func([]fsm.Change)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []func([]fsm.Change)
	if old := w.list.Load(); old != nil {
		list = append(list, *old...)
	}
	list = append(list, watch)
	w.list.Store(&list)
}

func (w *watchers) tell(changes []fsm.Change) {
	list := w.list.Load()
	if list == nil {
		return
	}
	for _, watch := range *list {
		watch(changes)
	}
}

// Watch has watch told of every change of a followed record on this replica: see
// fsm.Options.Changed, for when and where it is called. It must not block, nor
// keep or change the list. There is no way to end a watch but to close the node.
//
// A cache that is filled from a View while a change comes in must not keep what
// it read: the change may be newer than the view.
func (n *Node) Watch(watch func(changes []fsm.Change)) { n.watchers.add(watch) }
