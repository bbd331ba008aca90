package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/archive"
	"github.com/mcpraft/mcpraft/test/model/solo"
)

func newBackups(t testing.TB, replica Replica) *archive.Archiver {
	log, ok := replica.(archive.Log)
	if !ok {
		log = solo.New(t)
	}
	return archive.NewArchiver(archive.New(archive.Config{
		Options: archive.Options{Store: blobtest.NewMemory()}, Replica: replica,
		Actor: record.Principal{Issuer: "node", Subject: solo.Node}, Node: solo.Node, Process: record.ID{1}, Scratch: t.TempDir(),
	}), archive.ArchiverConfig{Log: log, Peers: noPeers{}})
}

// noPeers is a node alone.
type noPeers struct{}

func (noPeers) Handle(uint16, peer.Handler) {}

func (noPeers) Leader() (node, addr string, ok bool) { return solo.Node, "h:1", true }

func (noPeers) Call(context.Context, string, uint16, []byte) ([]byte, error) {
	return nil, fault.New(fault.Unreachable, "there is no other node")
}

// work sends a request for work and returns its last line.
func (f *fixture) work(t *testing.T, method, target, body string, into any) {
	t.Helper()
	w := f.do(t, method, target, body)
	var line adminapi.WorkLine
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil || w.Code != http.StatusOK || line.Result == nil {
		t.Fatalf("%s %s = %d %s, %v", method, target, w.Code, w.Body, err)
	}
	if err := json.Unmarshal(line.Result, into); err != nil {
		t.Fatal(err)
	}
}

func TestTheLifeOfABackup(t *testing.T) {
	f := newFixture(t, solo.New(t))
	var b, held adminapi.Backup
	f.work(t, http.MethodPost, adminapi.BackupsPath, `{"reason": "test"}`, &b)
	one := adminapi.BackupsPath + "/" + b.ID
	f.work(t, http.MethodPut, one+"/hold", `{"reason": "audit"}`, &held)
	if b.Reason != "test" || b.Index == 0 || held.Hold == nil || held.Hold.Reason != "audit" || held.Hold.By != "mcpraft#test" {
		t.Errorf("backup %+v, held %+v", b, held)
	}
	var check adminapi.BackupCheck
	f.work(t, http.MethodPost, one+"/verify", `{"level": "drill"}`, &check)
	if check.Level != "drill" || check.Problem != "" || check.Bytes != b.Size || check.ID != b.ID {
		t.Errorf("check %+v of %+v", check, b)
	}
	var page adminapi.Page[adminapi.Backup]
	if f.work(t, http.MethodGet, adminapi.BackupsPath, "", &page); len(page.Items) != 1 || page.Items[0].Checked == nil {
		t.Errorf("list %+v", page)
	}
	var pruning adminapi.BackupPruning
	if f.work(t, http.MethodPost, adminapi.BackupPrunePath, `{"dry_run": true}`, &pruning); !pruning.DryRun || len(pruning.Verdicts) != 1 || len(pruning.Verdicts[0].Keep) == 0 {
		t.Errorf("pruning %+v", pruning)
	}
	var status adminapi.BackupStatus
	f.work(t, http.MethodGet, adminapi.BackupStatusPath, "", &status)
	if v := status.Drilled; status.PITR.Backup != b.ID || v == nil || v.ID != b.ID || v.Level != "drill" || status.Verified == nil || status.NextBackup != "" {
		t.Errorf("status %+v", status)
	}
	var released adminapi.Backup
	if f.work(t, http.MethodDelete, one+"/hold", "", &released); released.Hold != nil {
		t.Errorf("released %+v", released)
	}
	var probe adminapi.BackupProbe
	if f.work(t, http.MethodPost, adminapi.BackupProbePath, "", &probe); len(probe.Steps) != 7 || probe.Problem != "" {
		t.Errorf("probe %+v", probe)
	}
}

func TestWorkIsRefusedWithAReason(t *testing.T) {
	f := newFixture(t, solo.New(t))
	for _, c := range []struct {
		method, target, body string
		want                 fault.Kind
	}{
		{http.MethodGet, adminapi.BackupsPath + "/nothing", "", fault.Invalid},
		{http.MethodGet, adminapi.BackupsPath + "/20260512T140210Z-88120-5f3a90c1", "", fault.NotFound},
		{http.MethodPost, adminapi.BackupsPath + "/20260512T140210Z-88120-5f3a90c1/verify", `{"level": "deep"}`, fault.Invalid},
		{http.MethodPost, adminapi.BackupsPath, `{"why": "x"}`, fault.Invalid},
		{http.MethodPost, adminapi.BackupsPath, `{"reason": "` + strings.Repeat("x", 257) + `"}`, fault.Invalid},
		{http.MethodPost, adminapi.BackupsPath + "?dry_run=true", "", fault.Invalid},
		{http.MethodDelete, adminapi.BackupsPath, "", fault.MethodNotAllowed},
	} {
		if w := f.do(t, c.method, c.target, c.body); w.Code != c.want.Status() || !strings.Contains(w.Body.String(), `"code":"`+c.want.String()) {
			t.Errorf("%s %s %s = %d %s, want %v", c.method, c.target, c.body, w.Code, w.Body, c.want)
		}
	}
	for range maxWork {
		f.api.works <- struct{}{}
	}
	if w := f.do(t, http.MethodGet, adminapi.BackupsPath, ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("beyond the limit: %d", w.Code)
	}
}
