package raftnode

import (
	"bytes"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// rot changes a record in the state of a node that does not run, the way no
// checksum of the database sees it: bad memory at the moment of writing.
func (h *host) rot(was, is string) {
	t := h.cluster.t
	t.Helper()
	db, err := pebble.Open("data/fsm/db-000001", &pebble.Options{FS: h.fs, FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		t.Fatal(err)
	}
	all, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for all.First(); all.Valid(); all.Next() {
		if now := bytes.Replace(all.Value(), []byte(was), []byte(is), 1); !bytes.Equal(now, all.Value()) {
			changed++
			if err := db.Set(bytes.Clone(all.Key()), now, pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := all.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if changed == 0 {
		t.Fatalf("no record holds %q", was)
	}
}

// The digest is kept along the way, so it differs from the others' as soon as the
// record is written again.
func TestRecordThatRottedIsFoundWhenItChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, func(c *Config) { c.DigestInterval = 5 * time.Second })
		defer c.closeAll()
		r := c.leader().put("a")
		f := c.follower()
		c.sameState(three...)
		f.close()
		f.rot("here", "hers")
		f.start(3, three...)
		c.ready(f.name)
		again := register("a")
		again.IfRevision = r.Outcome.Revision
		if _, err := c.leader(f.name).node.Propose(t.Context(), Request{Actor: alice, Command: again}); err != nil {
			t.Fatal(err)
		}
		c.eventually(f.name+" is out of service", func() bool {
			_, err := f.has("a", ReadOptions{Mode: Any})
			return fault.Of(err) == fault.Integrity
		})
		c.leader(f.name).put("b")
		for _, name := range three {
			if h := c.host(name); h != f {
				h.mustHave("b", ReadOptions{Mode: Linearizable})
			}
		}
	})
}

// A record that nobody writes again is found by the scrub, without the others.
func TestRecordThatRottedIsFoundByTheScrub(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, func(c *Config) { c.ScrubInterval = 10 * time.Second })
		defer c.closeAll()
		c.leader().put("a")
		f := c.follower()
		c.sameState(three...)
		f.close()
		f.rot("here", "hers")
		f.start(3, three...)
		c.eventually(f.name+" is out of service", func() bool {
			_, err := f.has("a", ReadOptions{Mode: Any})
			return fault.Of(err) == fault.Integrity
		})
		c.leader(f.name).put("b")
	})
}

// The cluster version is raised to what the oldest binary among its servers can
// live with, and not while one of them has not said.
func TestClusterVersionIsThatOfTheOldestBinary(t *testing.T) {
	for name, k := range map[string]struct {
		supports []uint32
		want     uint32
	}{
		"all alike":              {[]uint32{3, 3, 3}, 3},
		"one is older":           {[]uint32{3, 2, 3}, 2},
		"one has not said":       {[]uint32{3, 0, 3}, 0},
		"others are newer":       {[]uint32{5, 4, 9}, fsm.MaxVersion + 3},
		"a cluster of one":       {[]uint32{2}, 2},
		"no servers are no vote": {nil, 0},
	} {
		if got := commonVersion(fsm.MaxVersion+3, k.supports); got != k.want {
			t.Errorf("%s: %d, want %d", name, got, k.want)
		}
	}
}
