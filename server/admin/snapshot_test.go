package admin

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/snapshot/recovery"
	"github.com/mcpraft/mcpraft/test/model/solo"
)

func TestTheStateIsSentAsASnapshotFile(t *testing.T) {
	replica := solo.New(t)
	f := newFixture(t, replica)
	for _, query := range []string{"", "?compression=none", "?consistency=any&min_index=1"} {
		w := f.do(t, http.MethodGet, adminapi.SnapshotPath+query, "")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != adminapi.SnapshotType || w.Header().Get("Mcpraft-Index") != "2" {
			t.Fatalf("%s: %d %v", query, w.Code, w.Header())
		}
		s, err := snapshot.NewStream(bytes.NewReader(w.Body.Bytes()), seal.Ring{})
		if err != nil {
			t.Fatal(err)
		}
		meta := replica.Machine.Meta()
		if s.State.Index != meta.Index || s.State.Digest != snapshot.Digest(meta.Digest) || s.State.ClusterName != "test" {
			t.Errorf("%s: description %+v of %+v", query, s.Description, meta)
		}
		if err := recovery.Drill(t.Context(), recovery.Copy{State: s.State, Stream: s}, t.TempDir()+"/drill"); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
	if w := f.do(t, http.MethodGet, adminapi.SnapshotPath, ""); w.Header().Get("Mcpraft-Consistency") != "linearizable" {
		t.Errorf("without options it is %v", w.Header())
	}
}

func TestASnapshotIsRefusedWithAReason(t *testing.T) {
	f := newFixture(t, refusing{})
	for target, want := range map[string]int{
		adminapi.SnapshotPath:                     fault.Stale.Status(),
		adminapi.SnapshotPath + "?compression=xz": fault.Invalid.Status(),
		adminapi.SnapshotPath + "?from=1":         fault.Invalid.Status(),
	} {
		if w := f.do(t, http.MethodGet, target, ""); w.Code != want {
			t.Errorf("%s: %d %s, want %d", target, w.Code, w.Body, want)
		}
	}
	for range maxSaves {
		f.api.saves <- struct{}{}
	}
	if w := f.do(t, http.MethodGet, adminapi.SnapshotPath, ""); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "60" {
		t.Errorf("beyond the limit: %d %v", w.Code, w.Header())
	}
}

// A client never takes what was cut off for all.
func TestASnapshotThatBreaksIsCutOff(t *testing.T) {
	f := newFixture(t, solo.New(t)) // whose end waits for every view to be closed
	w := &breaking{ResponseRecorder: httptest.NewRecorder(), left: 40}
	r := httptest.NewRequest(http.MethodGet, adminapi.SnapshotPath, nil)
	r.Header.Set("Authorization", "Bearer "+secret)
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v, want the connection to be cut", v)
		}
		if len(f.api.saves) != 0 {
			t.Error("it still counts")
		}
	}()
	f.api.ServeHTTP(w, r)
}

// breaking is a connection that breaks after some bytes.
type breaking struct {
	*httptest.ResponseRecorder
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, http.ErrBodyNotAllowed
	}
	return b.ResponseRecorder.Write(p)
}
