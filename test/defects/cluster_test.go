package defects

import (
	"io"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// member is one raft node in memory, made of the bare library unless a test
// replaces a part before start.
type member struct {
	id        raft.ServerID
	config    *raft.Config
	fsm       *machine
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots *raft.InmemSnapshotStore
	wire      *raft.InmemTransport
	transport raft.Transport // what raft gets: wire, or something around it
	raft      *raft.Raft
}

func newMember(id raft.ServerID) *member {
	config := raft.DefaultConfig()
	config.LocalID = id
	config.Logger = hclog.NewNullLogger()
	_, wire := raft.NewInmemTransport(raft.ServerAddress(id))
	store := raft.NewInmemStore()
	return &member{
		id: id, config: config, fsm: new(machine),
		logs: store, stable: store, snapshots: raft.NewInmemSnapshotStore(),
		wire: wire, transport: withoutPipeline{wire},
	}
}

func (m *member) start(t *testing.T) {
	t.Helper()
	r, err := raft.NewRaft(m.config, m.fsm, m.logs, m.stable, m.snapshots, m.transport)
	if err != nil {
		t.Fatal(err)
	}
	m.raft = r
}

func (m *member) stop(t *testing.T) {
	t.Helper()
	if err := m.raft.Shutdown().Error(); err != nil {
		t.Errorf("shut down %s: %v", m.id, err)
	}
}

// voters is the configuration in which all members vote.
func voters(members ...*member) raft.Configuration {
	var c raft.Configuration
	for _, m := range members {
		c.Servers = append(c.Servers, raft.Server{ID: m.id, Address: m.wire.LocalAddr()})
	}
	return c
}

// connect lets all members reach each other.
func connect(members ...*member) {
	for _, a := range members {
		for _, b := range members {
			a.wire.Connect(b.wire.LocalAddr(), b.wire)
		}
	}
}

// cut ends all traffic from and to m, like the end of its process.
func cut(m *member, others ...*member) {
	m.wire.DisconnectAll()
	for _, o := range others {
		o.wire.Disconnect(m.wire.LocalAddr())
	}
}

// boot starts a cluster of new members and returns its leader and the others.
func boot(t *testing.T, members ...*member) (leader *member, others []*member) {
	t.Helper()
	connect(members...)
	for _, m := range members {
		if err := raft.BootstrapCluster(m.config, m.logs, m.stable, m.snapshots, m.transport, voters(members...)); err != nil {
			t.Fatal(err)
		}
		m.start(t)
	}
	return elected(t, members...)
}

// elected waits until one of members leads and its no-op is committed.
func elected(t *testing.T, members ...*member) (leader *member, others []*member) {
	t.Helper()
	for range 600 {
		time.Sleep(100 * time.Millisecond)
		for i, m := range members {
			if m.raft.State() == raft.Leader && m.raft.VerifyLeader().Error() == nil {
				time.Sleep(time.Second)
				return m, append(append([]*member(nil), members[:i]...), members[i+1:]...)
			}
		}
	}
	t.Fatal("no leader within a minute")
	return nil, nil
}

// withoutPipeline is an in-memory transport with MaxRPCsInFlight = 1.
type withoutPipeline struct{ *raft.InmemTransport }

func (withoutPipeline) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// machine is a state machine that remembers nothing. Its hooks may wait.
type machine struct {
	applying  func()
	restoring func()
}

func (m *machine) Apply(*raft.Log) any {
	if m.applying != nil {
		m.applying()
	}
	return nil
}

func (m *machine) Restore(r io.ReadCloser) error {
	if m.restoring != nil {
		m.restoring()
	}
	return r.Close()
}

func (m *machine) Snapshot() (raft.FSMSnapshot, error) { return m, nil }

func (m *machine) Persist(sink raft.SnapshotSink) error { return sink.Close() }

func (m *machine) Release() {}

// disk is an in-memory log store whose appends wait or fail.
type disk struct {
	*raft.InmemStore
	hang func() error // called at each append
}

func (d *disk) StoreLogs(logs []*raft.Log) error {
	if d.hang != nil {
		if err := d.hang(); err != nil {
			return err
		}
	}
	return d.InmemStore.StoreLogs(logs)
}

func (d *disk) Close() error { return nil }
