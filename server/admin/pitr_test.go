package admin

import (
	"net/http"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/test/model/solo"
)

func TestTheLifeOfALabel(t *testing.T) {
	f := newFixture(t, solo.New(t))
	var l adminapi.PITRLabel
	f.work(t, http.MethodPost, adminapi.PITRLabelsPath, `{"name": "before-upgrade"}`, &l)
	if l.Name != "before-upgrade" || l.Index == 0 || l.Archived || l.By != "mcpraft#test" {
		t.Errorf("label %+v", l)
	}
	var page adminapi.Page[adminapi.PITRLabel]
	if f.work(t, http.MethodGet, adminapi.PITRLabelsPath, "", &page); len(page.Items) != 1 || page.Items[0] != l {
		t.Errorf("labels %+v", page)
	}
	var gone adminapi.PITRLabel
	if f.work(t, http.MethodDelete, adminapi.PITRLabelsPath+"/before-upgrade", "", &gone); gone != l {
		t.Errorf("removed %+v", gone)
	}
	for _, c := range []struct {
		method, target, body string
		want                 fault.Kind
	}{
		{http.MethodDelete, adminapi.PITRLabelsPath + "/before-upgrade", "", fault.NotFound},
		{http.MethodPost, adminapi.PITRLabelsPath, `{"name": ".x"}`, fault.Invalid},
		{http.MethodPost, adminapi.PITRTimelinePath, `{"since": -1}`, fault.Invalid},
		{http.MethodPost, adminapi.PITRFlushPath, "", fault.Precondition}, // the node does not archive
	} {
		if w := f.do(t, c.method, c.target, c.body); w.Code != c.want.Status() {
			t.Errorf("%s %s = %d %s, want %v", c.method, c.target, w.Code, w.Body, c.want)
		}
	}
}

func TestTheArchiveIsShown(t *testing.T) {
	f := newFixture(t, solo.New(t))
	var b adminapi.Backup
	f.work(t, http.MethodPost, adminapi.BackupsPath, "", &b)
	var s adminapi.PITR
	f.work(t, http.MethodGet, adminapi.PITRPath, "", &s)
	if s.Enabled || s.Destination != "memory" || s.Backup != b.ID || s.LagEntries == 0 || s.LagSeconds == 0 || len(s.Gaps) != 0 ||
		len(s.Restorable) != 1 || s.Restorable[0].First != b.Index || s.Restorable[0].Last != b.Index {
		t.Errorf("status %+v, backup %+v", s, b)
	}
	var points adminapi.Page[adminapi.PITRPoint]
	if f.work(t, http.MethodPost, adminapi.PITRTimelinePath, `{}`, &points); len(points.Items) != 2 || points.Items[0].Kind != "backup" || points.Items[1].Kind != "tip" {
		t.Errorf("timeline %+v", points)
	}
	var v adminapi.PITRVerification
	if f.work(t, http.MethodPost, adminapi.PITRVerifyPath, "", &v); v.Segments != 0 || len(v.Damage)+len(v.Gaps) != 0 {
		t.Errorf("verification %+v", v)
	}
}
