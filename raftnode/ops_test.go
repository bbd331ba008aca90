package raftnode

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// bodies has one of each body that nodes send each other.
func bodies() []any {
	return []any{
		&hello{Node: "n1", Disk: record.ID{1}, Cluster: "test", PeerAddr: "n1:1", Empty: true, Expect: 3, Sees: []string{"n1/1"}},
		&joinRequest{Member: record.Member{Node: "n1", Disk: record.ID{1}, Process: record.ID{2}, PeerAddr: "n1:1"}, Cluster: "test"},
		&joinAnswer{ClusterID: record.ID{3}, Timeline: record.Timeline{Number: 1, Salt: 2}, Known: []knownNode{{"n1", record.ID{1}, "n1:1"}}},
		&adoptRequest{ClusterID: record.ID{3}, Timeline: record.Timeline{Number: 1, Salt: 2}},
		&inviteRequest{Addr: "n1:1"},
		&forwardRequest{Proposals: [][]byte{{1}, {2, 3}}},
		&forwardAnswer{Answers: []forwarded{{Index: 7}, {Kind: 10, Message: "no", Unknown: true}}},
		&readIndexRequest{Term: 3, Quiet: true},
		&readIndexAnswer{Index: 9, Term: 3},
		&termAnswer{Term: 3, Disk: record.ID{1}},
		&clockAnswer{UnixMilli: 1 << 40},
		&report{Disk: record.ID{1}, Process: record.ID{2}, Applied: 4, LastIndex: 5, Serving: true},
		&changeRequest{Kind: changeRemove, Node: "n1"},
		&replicaRequest{On: true},
		&checksAnswer{Checks: []checkAt{{Index: 4, Digest: record.Digest{5}}}},
		&verdictRequest{Index: 4, Minority: true},
	}
}

// Whatever another node sends: no panic, and what decodes has one spelling.
func FuzzBodies(f *testing.F) {
	for i, body := range bodies() {
		data, err := record.Encode(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), data)
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		all := bodies()
		body := reflect.New(reflect.TypeOf(all[int(kind)%len(all)]).Elem()).Interface()
		if record.Decode(data, body) != nil {
			return
		}
		encoded, err := record.Encode(body)
		if err != nil {
			t.Fatalf("%#v decodes and does not encode: %v", body, err)
		}
		again := reflect.New(reflect.TypeOf(body).Elem()).Interface()
		if err := record.Decode(encoded, again); err != nil {
			t.Fatalf("%#v does not decode again: %v", body, err)
		}
		twice, err := record.Encode(again)
		if err != nil || !bytes.Equal(encoded, twice) {
			t.Errorf("%x became %x, %v", encoded, twice, err)
		}
	})
}

func TestServerIDsHaveOneSpelling(t *testing.T) {
	id := record.ID{1, 2, 3}
	if node, disk, ok := splitServerID(serverID("n1", id)); !ok || node != "n1" || disk != id {
		t.Errorf("round trip = %s, %v, %v", node, disk, ok)
	}
	for _, bad := range []string{"", "n1", "n1/", "n1/12", "/" + id.String()[1:]} {
		if _, _, ok := splitServerID(bad); ok {
			t.Errorf("%q is taken for a server id", bad)
		}
	}
}
