package archive

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/test/model/solo"
)

var self = record.Principal{Issuer: "node", Subject: solo.Node}

func newBackups(t *testing.T) (*Backups, *solo.Replica, *blobtest.Memory) {
	t.Helper()
	key, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	replica, store := solo.New(t), blobtest.NewMemory()
	return New(Config{
		Options: Options{Store: store, Policy: seal.Policy{Compression: seal.Zstd, Cipher: seal.AESGCM, Ring: seal.NewRing(key)}},
		Replica: replica, Actor: self, Node: solo.Node, Process: record.ID{1}, Creator: "test", Scratch: t.TempDir(),
	}), replica, store
}

func TestABackupPassesEveryLevel(t *testing.T) {
	b, replica, _ := newBackups(t)
	var told int64
	m, err := b.Run(t.Context(), "request", func(n int64) { told = n })
	if err != nil || told != m.Size || m.Reason != "request" {
		t.Fatalf("Run = %+v, %v, told %d", m, err, told)
	}
	for _, level := range []snapshot.Level{snapshot.LevelFiles, snapshot.LevelDecode, snapshot.LevelDrill} {
		check, err := b.Verify(t.Context(), m.ID, level, nil)
		if err != nil || !check.Passed() || check.Level != level {
			t.Errorf("%s: %+v, %v", level, check, err)
		}
		shown, err := b.Show(t.Context(), m.ID)
		if err != nil || shown.Checked == nil || shown.Checked.Level != level {
			t.Errorf("%s is noted as %+v, %v", level, shown.Checked, err)
		}
	}
	if view, err := replica.Machine.View(); err != nil {
		t.Error(err)
	} else {
		if _, err := view.Claim(claimName); fault.Of(err) != fault.NotFound {
			t.Errorf("the claim is still held: %v", err)
		}
		view.Close()
	}
}

func TestDamageIsNotedAndNamed(t *testing.T) {
	b, _, store := newBackups(t)
	m, err := b.Run(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range store.Names() {
		if strings.HasSuffix(name, ".state") {
			data := bytes.Clone(store.Bytes(name))
			data[len(data)/2] ^= 1
			store.Set(name, data)
		}
	}
	check, err := b.Verify(t.Context(), m.ID, snapshot.LevelDrill, nil)
	if fault.Of(err) != fault.Integrity || check.Passed() || !strings.Contains(err.Error(), "0001.state") {
		t.Errorf("Verify = %+v, %v", check, err)
	}
	if shown, err := b.Show(t.Context(), m.ID); err != nil || shown.Good() {
		t.Errorf("shown as good: %v", err)
	}
}

func TestOneNodeAtATimeWorksOnBackups(t *testing.T) {
	b, replica, store := newBackups(t)
	claim := record.Claim{Name: claimName, Node: "other", Process: record.ID{9}}
	other := record.Member{Node: "other", Disk: record.ID{8}, Process: record.ID{9}, PeerAddr: "h:1"}
	replica.Must(t, self, &fsm.PutMember{Member: other})
	replica.Must(t, self, &fsm.AcquireClaim{Claim: claim})
	if _, err := b.Run(t.Context(), "", nil); fault.Of(err) != fault.Conflict || !strings.Contains(err.Error(), "node other works on the backups") {
		t.Errorf("Run = %v", err)
	}
	if _, err := b.Prune(t.Context(), false); fault.Of(err) != fault.Conflict {
		t.Errorf("Prune = %v", err)
	}
	if names := store.Names(); len(names) > 0 {
		t.Errorf("stored %v", names)
	}
	other.Process = record.ID{10} // it was started again: who held the claim is gone
	replica.Must(t, self, &fsm.PutMember{Member: other})
	if _, err := b.Run(t.Context(), "", nil); err != nil {
		t.Errorf("Run after the holder is gone = %v", err)
	}
}

func TestPruneKeepsWhatIsHeld(t *testing.T) {
	b, _, _ := newBackups(t)
	b.c.Retention = snapshot.Retention{Last: 1}
	var ids []string
	for range 3 {
		m, err := b.Run(t.Context(), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.ID)
	}
	list, err := b.List(t.Context())
	if err != nil || len(list) != 3 {
		t.Fatalf("List = %v, %v", list, err)
	}
	oldest := list[0].ID
	if err := b.Hold(t.Context(), oldest, snapshot.Hold{Reason: "audit"}); err != nil {
		t.Fatal(err)
	}
	p, err := b.Prune(t.Context(), true)
	if err != nil || len(p.Expired()) != 1 || len(p.Deleted) != 0 {
		t.Errorf("a dry run: %v, deleted %v, %v", p.Expired(), p.Deleted, err)
	}
	p, err = b.Prune(t.Context(), false)
	if err != nil || len(p.Deleted) != 1 || p.Deleted[0] == oldest {
		t.Errorf("deleted %v of %v, %v", p.Deleted, ids, err)
	}
	if err := b.Release(t.Context(), oldest); err != nil {
		t.Fatal(err)
	}
	if p, err = b.Prune(t.Context(), false); err != nil || len(p.Deleted) != 1 || p.Deleted[0] != oldest {
		t.Errorf("after the release deleted %v, %v", p.Deleted, err)
	}
}

func TestWithoutADestinationEveryMethodSaysSo(t *testing.T) {
	b, _, _ := newBackups(t)
	b.c.Store = nil
	_, err := b.Run(t.Context(), "", nil)
	_, listErr := b.List(t.Context())
	_, probeErr := b.Probe(t.Context())
	for _, err := range []error{err, listErr, probeErr, b.Release(t.Context(), "x")} {
		if fault.Of(err) != fault.Precondition || !strings.Contains(err.Error(), "no destination") {
			t.Errorf("error = %v", err)
		}
	}
}
