package session

import (
	"testing"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// idleNode is a node on which nothing happens.
type idleNode struct{ Node }

func (idleNode) Handle(uint16, peer.Handler) {}
func (idleNode) Watch(func([]fsm.Change))    {}
func (idleNode) Status() raftnode.Status     { return raftnode.Status{} }
func (idleNode) Timeline() record.Timeline   { return timeline }

// BenchmarkRequest is what a request of a known session costs here: finding it,
// opening its call and finishing it with a plain answer.
func BenchmarkRequest(b *testing.B) {
	s := New(Config{Node: idleNode{}, Self: "a", Keys: testKeys{}, Sealer: testKeys{}, Activity: NewActivity(ActivityConfig{})})
	ids := make([]string, 256)
	for i := range ids {
		recordID := newRecordID()
		ids[i] = formatSessionID(testKeys{}, recordID, timeline, 1)
		l := &Live{ID: ids[i], Record: record.Session{ID: recordID, Principal: alice, State: record.Active, TTL: 1_800_000, Protocol: string(mcp.V20251125)}}
		s.shard(recordID).keep(l, 0)
	}
	answer := answerTo("1")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			l, err := s.Get(b.Context(), ids[i%len(ids)], alice)
			if err != nil {
				b.Fatal(err)
			}
			c, err := s.OpenCall(b.Context(), l, "1", nil, CallOptions{})
			if err != nil {
				b.Fatal(err)
			}
			if c.Finish(answer).Message == nil {
				b.Fatal("no answer")
			}
		}
	})
}
