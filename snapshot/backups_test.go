package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
)

var testCluster = record.ID{0xc1}

func testState(index uint64) State {
	return State{
		Cluster: testCluster, ClusterName: "prod", Timeline: record.Timeline{Number: 1, Salt: 0x5f3a90c1}, Index: index, Term: 3,
		LogTime: record.LogTimeAt(time.Date(2026, 5, 12, 14, 2, 10, 0, time.UTC)) + 7, Digest: Digest{1, 2, 3},
		Counts: map[string]uint64{"sessions": 4, "upstreams": 2},
	}
}

// content is n bytes that are the same in every run.
func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

func sealedPolicy(t testing.TB) seal.Policy {
	t.Helper()
	key, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return seal.Policy{Compression: seal.Zstd, Cipher: seal.AESGCM, Ring: seal.NewRing(key)}
}

func newBackups(store blob.Store, p seal.Policy) Backups {
	return Backups{Store: store, Cluster: testCluster, Policy: p, PartBytes: 1000}
}

// save takes a backup of n bytes. bytes.NewReader is an io.WriterTo.
func save(t *testing.T, b Backups, index uint64, n int) Manifest {
	t.Helper()
	m, err := b.Save(t.Context(), testState(index), bytes.NewReader(content(n)), Origin{"n1", "test"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func readState(ctx context.Context, b Backups, m Manifest) ([]byte, error) {
	r, err := b.Open(ctx, m)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func list(t *testing.T, b Backups) []Backup {
	t.Helper()
	backups, err := b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return backups
}

func TestWhatIsSavedIsRead(t *testing.T) {
	for _, p := range []seal.Policy{{}, {Compression: seal.Zstd}, sealedPolicy(t)} {
		for n, parts := range map[int]int{0: 1, 1: 1, 999: 1, 1000: 1, 1001: 2, 3500: 4} {
			b := newBackups(blobtest.NewMemory(), p)
			m := save(t, b, 88120, n)
			if len(m.Files) != parts || m.Size != int64(n) || m.Cipher != p.Cipher.String() || len(m.Keys) != len(p.Ring.Recipients()) {
				t.Errorf("%v, %d bytes: manifest is %+v", p.Cipher, n, m)
			}
			shown, err := b.Show(t.Context(), m.ID)
			if err != nil || shown.State.At != m.State.LogTime.Time() || shown.State.Digest != m.State.Digest || !shown.Created.Equal(m.Created) {
				t.Errorf("%v, %d bytes: shown as %+v, %v", p.Cipher, n, shown, err)
			}
			if got, err := readState(t.Context(), b, shown.Manifest); err != nil || !bytes.Equal(got, content(n)) {
				t.Errorf("%v, %d bytes came back as %d, %v", p.Cipher, n, len(got), err)
			}
		}
	}
}

func TestListIsByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackups(blobtest.NewMemory(), seal.Policy{})
		var want []string
		for _, index := range []uint64{900, 1000, 10} {
			want = append(want, save(t, b, index, 10).ID)
			time.Sleep(time.Minute)
		}
		var got []string
		for _, x := range list(t, b) {
			got = append(got, x.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("List = %v, want %v", got, want)
		}
	})
}

func TestOtherClustersAreNotSeen(t *testing.T) {
	m := blobtest.NewMemory()
	save(t, newBackups(m, seal.Policy{}), 1, 10)
	other := newBackups(m, seal.Policy{})
	other.Cluster = record.ID{0xc2}
	if backups := list(t, other); len(backups) != 0 {
		t.Errorf("List = %v", backups)
	}
	if _, err := other.Save(t.Context(), testState(1), bytes.NewReader(nil), Origin{}); fault.Of(err) != fault.Invalid {
		t.Errorf("a state of another cluster is saved: %v", err)
	}
}

// brokenStream fails in the middle.
type brokenStream struct {
	n   int
	err error
}

func (s brokenStream) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(content(s.n))
	if err == nil {
		err = s.err
	}
	return int64(n), err
}

func TestAFailedSaveIsNoBackup(t *testing.T) {
	broken := errors.New("the state broke")
	for _, n := range []int{0, 10, 2500} {
		m := blobtest.NewMemory()
		b := newBackups(m, sealedPolicy(t))
		if _, err := b.Save(t.Context(), testState(1), brokenStream{n, broken}, Origin{}); !errors.Is(err, broken) {
			t.Errorf("broken after %d bytes: %v", n, err)
		}
		if names := m.Names(); len(names) != 0 {
			t.Errorf("broken after %d bytes: left is %v", n, names)
		}
	}
}

// A destination that fails at any request fails the backup, with its own error, and
// what was stored goes.
func TestAFailingDestinationFailsTheSave(t *testing.T) {
	for _, f := range []blobtest.Fault{
		{Op: blobtest.Put, Prefix: "v1/" + testCluster.String() + "/state", Err: blobtest.ErrBusy},
		{Op: blobtest.Put, Prefix: "v1/" + testCluster.String() + "/state", After: 100, Err: blobtest.ErrBroken},
		{Op: blobtest.Put, Prefix: "v1/" + testCluster.String() + "/manifest", Err: blobtest.ErrForbidden},
		{Op: blobtest.Put, Prefix: "v1/" + testCluster.String() + "/manifest", After: 10, Err: blobtest.ErrBroken},
		{Op: blobtest.Stat, Err: blobtest.ErrBusy},
	} {
		m := blobtest.NewMemory()
		m.Inject(f)
		b := newBackups(m, sealedPolicy(t))
		if _, err := b.Save(t.Context(), testState(1), bytes.NewReader(content(2500)), Origin{}); !errors.Is(err, f.Err) {
			t.Errorf("%+v: %v", f, err)
		}
		if names := m.Names(); len(names) != 0 {
			t.Errorf("%+v: left is %v", f, names)
		}
	}
}

// losing is a store that says that it stored what it did not.
type losing struct {
	*blobtest.Memory
	suffix string
}

func (l losing) Put(ctx context.Context, name string, body io.Reader, when blob.Condition) error {
	if strings.HasSuffix(name, l.suffix) {
		body = io.LimitReader(body, 50)
	}
	err := l.Memory.Put(ctx, name, body, when)
	if rest, ok := body.(*io.LimitedReader); ok {
		_, _ = io.Copy(io.Discard, rest.R)
	}
	return err
}

func TestATruncatedUploadIsNoticed(t *testing.T) {
	b := newBackups(losing{blobtest.NewMemory(), "0002.state"}, sealedPolicy(t))
	_, err := b.Save(t.Context(), testState(1), bytes.NewReader(content(2500)), Origin{})
	if fault.Of(err) != fault.Integrity || !strings.Contains(err.Error(), "0002.state") {
		t.Errorf("Save = %v", err)
	}
}

// At every step of the file system, unsynced bytes may be gone: each backup that is
// there is whole, and one that was acknowledged is there.
func TestACrashAtAnyStepLosesNoBackup(t *testing.T) {
	mem := vfs.NewCrashableMem()
	type crash struct {
		op    string
		fs    *vfs.MemFS
		acked int
	}
	var crashes []crash
	acked := 0
	hook := errorfs.InjectorFunc(func(op errorfs.Op) error {
		crashes = append(crashes, crash{fmt.Sprintf("%v %s", op.Kind, op.Path), mem.CrashClone(vfs.CrashCloneCfg{}), acked})
		return nil
	})
	open := func(fsys vfs.FS) Backups {
		folder, err := blob.OpenFolder("/backups", fsys)
		if err != nil {
			t.Fatal(err)
		}
		return newBackups(folder, seal.Policy{})
	}
	b := open(errorfs.Wrap(mem, hook))
	var ids []string
	for index := range uint64(3) {
		ids = append(ids, save(t, b, index+1, 1500).ID)
		acked++
	}
	if err := b.remove(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	if len(crashes) < 100 {
		t.Errorf("only %d steps", len(crashes))
	}
	for _, c := range crashes {
		b := open(c.fs)
		backups := list(t, b)
		for _, x := range backups {
			if _, err := b.Verify(t.Context(), x.Manifest, LevelDecode, nil); err != nil || x.Damage != nil {
				t.Fatalf("crash before %s: backup %s is damaged: %v %v", c.op, x.ID, err, x.Damage)
			}
		}
		for _, id := range ids[1:max(c.acked, 1)] {
			if !slices.ContainsFunc(backups, func(x Backup) bool { return x.ID == id }) {
				t.Fatalf("crash before %s: the acknowledged backup %s is gone", c.op, id)
			}
		}
	}
}

func TestEveryFlippedBitOfAManifestIsDamage(t *testing.T) {
	m := blobtest.NewMemory()
	b := newBackups(m, sealedPolicy(t))
	id := save(t, b, 1, 10).ID
	name := b.object(manifests, id)
	data := m.Bytes(name)
	for bit := range 8 * (len(data) - 1) { // the newline at the end says nothing
		data[bit/8] ^= 1 << (bit % 8)
		m.Set(name, data)
		if x, err := b.Show(t.Context(), id); err != nil || x.Damage == nil || x.Good() {
			t.Fatalf("bit %d of %s: %v, damage %v", bit, data, err, x.Damage)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
	for n := range len(data) - 1 {
		m.Set(name, data[:n:n])
		if x, err := b.Show(t.Context(), id); err != nil || x.Damage == nil || x.Created.IsZero() {
			t.Fatalf("cut to %d: %v, damage %v", n, err, x.Damage)
		}
	}
	m.Set(name, nil)
	if _, err := b.Show(t.Context(), id); fault.Of(err) != fault.NotFound {
		t.Errorf("missing: %v", err)
	}
}

func TestAManifestUnderAnotherNameIsDamage(t *testing.T) {
	m := blobtest.NewMemory()
	b := newBackups(m, seal.Policy{})
	x, y := save(t, b, 1, 10), save(t, b, 2, 10)
	m.Set(b.object(manifests, x.ID), m.Bytes(b.object(manifests, y.ID)))
	if shown, err := b.Show(t.Context(), x.ID); err != nil || shown.Damage == nil {
		t.Errorf("Show = %+v, %v", shown, err)
	}
}

// damages is every way in which a stored file can be wrong.
func damages(object, other []byte) map[string][]byte {
	flipped := map[string][]byte{"missing": nil, "empty": {}, "cut": object[:len(object)-1], "longer": append(bytes.Clone(object), 0), "swapped": other}
	for i := range object {
		b := bytes.Clone(object)
		b[i] ^= 0x10
		flipped[fmt.Sprintf("byte %d flipped", i)] = b
	}
	return flipped
}

func TestVerifyFindsEveryDamageAndNamesTheObject(t *testing.T) {
	for _, p := range []seal.Policy{{}, sealedPolicy(t)} {
		m := blobtest.NewMemory()
		b := newBackups(m, p)
		b.PartBytes = 300
		manifest := save(t, b, 1, 900)
		for i, f := range manifest.Files {
			name, other := b.file(manifest.ID, f.Name), b.file(manifest.ID, manifest.Files[(i+1)%3].Name)
			object := m.Bytes(name)
			for how, data := range damages(object, m.Bytes(other)) {
				m.Set(name, data)
				check, err := b.Verify(t.Context(), manifest, LevelDecode, nil)
				if fault.Of(err) != fault.Integrity || !strings.Contains(err.Error(), name) || check == nil || check.Passed() {
					t.Errorf("%v, %s %s: %v, check %+v", p.Cipher, f.Name, how, err, check)
				}
				got, err := readState(t.Context(), b, manifest)
				if fault.Of(err) != fault.Integrity || !bytes.HasPrefix(content(900), got) {
					t.Errorf("%v, %s %s: %d bytes were read, %v", p.Cipher, f.Name, how, len(got), err)
				}
				_, err = b.Verify(t.Context(), manifest, LevelFiles, nil)
				if sizeDiffers := len(data) != len(object); sizeDiffers != (fault.Of(err) == fault.Integrity) {
					t.Errorf("%v, %s %s: at level files %v", p.Cipher, f.Name, how, err)
				}
			}
			m.Set(name, object)
		}
		check, err := b.Verify(t.Context(), manifest, LevelDecode, nil)
		if err != nil || !check.Passed() || check.Bytes != 900 {
			t.Errorf("undamaged: %+v, %v", check, err)
		}
	}
}

// A file that was sealed for this very place, but is another: the manifest's hash
// decides.
func TestAFileThatWasMadeAgainIsDamage(t *testing.T) {
	m := blobtest.NewMemory()
	b := newBackups(m, seal.Policy{})
	manifest := save(t, b, 1, 500)
	name := manifest.Files[0].Name
	var again bytes.Buffer
	w, err := b.Policy.NewWriter(&again, b.context(manifest.ID, name))
	if err == nil {
		_, err = w.Write(content(500))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	m.Set(b.file(manifest.ID, name), again.Bytes())
	if _, err := b.Verify(t.Context(), manifest, LevelDecode, nil); fault.Of(err) != fault.Integrity {
		t.Errorf("Verify = %v", err)
	}
}

func TestVerifyGivesTheStateToTheDecoder(t *testing.T) {
	b := newBackups(blobtest.NewMemory(), seal.Policy{})
	m := save(t, b, 1, 2500)
	var got []byte
	check, err := b.Verify(t.Context(), m, LevelDecode, func(r io.Reader) (err error) {
		got, err = io.ReadAll(r)
		return err
	})
	if err != nil || !check.Passed() || !bytes.Equal(got, content(2500)) {
		t.Errorf("%d bytes, %+v, %v", len(got), check, err)
	}
	nonsense := fault.New(fault.Integrity, "record 7 does not decode")
	check, err = b.Verify(t.Context(), m, LevelDecode, func(io.Reader) error { return nonsense })
	if !errors.Is(err, nonsense) || check.Problem != "record 7 does not decode" {
		t.Errorf("%+v, %v", check, err)
	}
}

// What cannot be verified has no result, so that nobody takes it for damage.
func TestAnInconclusiveCheckHasNoResult(t *testing.T) {
	m := blobtest.NewMemory()
	b := newBackups(m, sealedPolicy(t))
	manifest := save(t, b, 1, 10)
	stranger := newBackups(m, seal.Policy{})
	if check, err := stranger.Verify(t.Context(), manifest, LevelDecode, nil); check != nil || fault.Of(err) != fault.Forbidden {
		t.Errorf("without a key: %+v, %v", check, err)
	}
	m.Inject(blobtest.Fault{Op: blobtest.Get, After: 30, Err: blobtest.ErrBroken})
	if check, err := b.Verify(t.Context(), manifest, LevelDecode, nil); check != nil || fault.Of(err) != fault.Unreachable {
		t.Errorf("with a broken connection: %+v, %v", check, err)
	}
	if check, err := b.Verify(t.Context(), manifest, LevelDrill, nil); check != nil || fault.Of(err) != fault.Invalid {
		t.Errorf("a drill: %+v, %v", check, err)
	}
}

func TestChecksAndHoldsAreKeptBesideTheBackup(t *testing.T) {
	b := newBackups(blobtest.NewMemory(), seal.Policy{})
	id := save(t, b, 1, 10).ID
	bad := Check{Level: LevelDecode, At: time.Now().UTC().Truncate(time.Second), TookMS: 1500, Problem: "broken"}
	good := Check{Level: LevelDrill, At: bad.At}
	for _, c := range []Check{bad, good} {
		if err := b.Note(t.Context(), id, c); err != nil {
			t.Fatal(err)
		}
		x, err := b.Show(t.Context(), id)
		if err != nil || *x.Checked != c || x.Good() != c.Passed() {
			t.Errorf("shown is %+v, %v, want %+v", x.Checked, err, c)
		}
	}
	hold := Hold{Reason: "audit", By: "alice", Since: bad.At}
	if err := b.Hold(t.Context(), id, hold); err != nil {
		t.Fatal(err)
	}
	if x, err := b.Show(t.Context(), id); err != nil || *x.Hold != hold {
		t.Errorf("shown is %+v, %v", x.Hold, err)
	}
	if err := b.Release(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if x, err := b.Show(t.Context(), id); err != nil || x.Hold != nil {
		t.Errorf("after the release: %+v, %v", x.Hold, err)
	}
	if err := b.Hold(t.Context(), newID(time.Now(), 7), hold); fault.Of(err) != fault.NotFound {
		t.Errorf("a hold on nothing: %v", err)
	}
	if _, err := b.Show(t.Context(), "../x"); fault.Of(err) != fault.Invalid {
		t.Errorf("a name that is none: %v", err)
	}
}

// A hold that cannot be read still holds.
func TestADamagedHoldHolds(t *testing.T) {
	m := blobtest.NewMemory()
	b := newBackups(m, seal.Policy{})
	id := save(t, b, 1, 10).ID
	m.Set(b.object(holds, id), []byte("{"))
	if x, err := b.Show(t.Context(), id); err != nil || x.Hold == nil {
		t.Errorf("Show = %+v, %v", x, err)
	}
}
