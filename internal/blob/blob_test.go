package blob_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	blobtest.Test(t, func(*testing.T) blob.Store { return blobtest.NewMemory() })
}

func TestProbeNamesEveryMissingPermission(t *testing.T) {
	for name, c := range map[string]struct {
		faults []blobtest.Fault
		kind   fault.Kind
		failed []string
		grant  []string
	}{
		"no delete":    {[]blobtest.Fault{{Op: blobtest.Delete, Err: blobtest.ErrForbidden}}, fault.Forbidden, []string{"delete"}, []string{"s3:DeleteObject"}},
		"only read":    {[]blobtest.Fault{{Op: blobtest.Put, Err: blobtest.ErrForbidden}, {Op: blobtest.Delete, Err: blobtest.ErrForbidden}}, fault.Forbidden, []string{"put", "get", "range", "list", "multipart", "conditional put", "delete"}, []string{"s3:PutObject", "s3:DeleteObject"}},
		"no list":      {[]blobtest.Fault{{Op: blobtest.List, Err: blobtest.ErrForbidden}}, fault.Forbidden, []string{"list"}, []string{"s3:ListBucket"}},
		"busy":         {[]blobtest.Fault{{Op: blobtest.Put, Err: blobtest.ErrBusy, Count: 1}}, fault.Overloaded, []string{"put", "get", "range", "list", "conditional put"}, nil},
		"breaks early": {[]blobtest.Fault{{Op: blobtest.Put, After: 1 << 20, Err: blobtest.ErrBroken, Count: 3}}, fault.Unreachable, []string{"put"}, nil},
		"stale lists":  {nil, fault.Integrity, []string{"list"}, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := blobtest.NewMemory()
			for _, f := range c.faults {
				m.Inject(f)
			}
			if name == "stale lists" {
				m.StaleLists(time.Minute)
			}
			steps, err := blob.Probe(t.Context(), m)
			var failed []string
			for _, s := range steps {
				if s.Err != nil {
					failed = append(failed, s.Name)
				}
			}
			e, _ := errors.AsType[*fault.Error](err)
			if e == nil || e.Kind != c.kind || !slices.Equal(failed, c.failed) {
				t.Fatalf("%s: %v failed with %v, want %v", name, failed, err, c.failed)
			}
			for _, permission := range c.grant {
				if !strings.Contains(e.Hint, permission) {
					t.Errorf("%s: the hint %q does not name %s", name, e.Hint, permission)
				}
			}
		})
	}
}

func TestListsOfMemoryCanBeStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := blobtest.NewMemory()
		list := func() (names []string) {
			for info, err := range m.List(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, info.Name)
			}
			return names
		}
		m.Set("old", []byte("x"))
		time.Sleep(time.Hour)
		m.StaleLists(time.Minute)
		if err := m.Put(t.Context(), "new", strings.NewReader("x"), blob.Replace); err != nil {
			t.Fatal(err)
		}
		if err := m.Delete(t.Context(), "old"); err != nil {
			t.Fatal(err)
		}
		if got := list(); !slices.Equal(got, []string{"old"}) {
			t.Errorf("at once: %v", got)
		}
		time.Sleep(time.Minute)
		if got := list(); !slices.Equal(got, []string{"new"}) {
			t.Errorf("a minute later: %v", got)
		}
	})
}

func FuzzValidName(f *testing.F) {
	for _, s := range []string{"a/b", "..", "a/../b", "v1/0.seg"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if blob.ValidName(name) == nil && (strings.Contains(name, "..") && strings.Contains("/"+name, "/..") || strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\\\x00 ")) {
			t.Errorf("%q is valid", name)
		}
	})
}
