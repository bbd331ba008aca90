package raftnode

import (
	"sync"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// maxKnown bounds what is remembered of nodes that are no members yet.
const maxKnown = 64

// directory tells where nodes are. Members say it in their records; before a
// record is there, and when a record no longer holds, what a node said itself
// counts: it stands until the record changes.
type directory struct {
	member func(node string) (record.Member, bool) // from the state

	mu   sync.Mutex
	said map[string]said
}

// said is what a node told us of itself.
type said struct {
	disk     record.ID
	addr     string
	revision uint64 // of the member's record at the time; 0 when there was none
}

func newDirectory(member func(string) (record.Member, bool)) *directory {
	return &directory{member: member, said: make(map[string]said)}
}

// learn notes where a node is.
func (d *directory) learn(k knownNode) {
	if record.ValidNode(k.Node) != nil || k.Disk.IsZero() || k.Addr == "" {
		return
	}
	m, _ := d.member(k.Node)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.said[k.Node]; !ok && len(d.said) >= maxKnown {
		return
	}
	d.said[k.Node] = said{disk: k.Disk, addr: k.Addr, revision: m.Revision}
}

// resolve is where node is now, and which disk it has.
func (d *directory) resolve(node string) (addr string, disk record.ID, ok bool) {
	m, isMember := d.member(node)
	d.mu.Lock()
	s, heard := d.said[node]
	d.mu.Unlock()
	switch {
	case heard && s.revision == m.Revision:
		return s.addr, s.disk, true
	case isMember:
		return m.PeerAddr, m.Disk, true
	default:
		return "", record.ID{}, false
	}
}

// known lists what can be told to others about the nodes named.
func (d *directory) known(nodes []string) []knownNode {
	var list []knownNode
	for _, node := range nodes {
		if addr, disk, ok := d.resolve(node); ok {
			list = append(list, knownNode{Node: node, Disk: disk, Addr: addr})
		}
	}
	return list
}
