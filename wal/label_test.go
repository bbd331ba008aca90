package wal

import (
	"slices"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func testLabel(index uint64, name string) Label {
	return Label{Cluster: testCluster, Timeline: testTimeline, Index: index, LogTime: record.LogTimeAt(testTime.Time()), Name: name}
}

func TestLabelsRoundTrip(t *testing.T) {
	const want = "v1/c1000000000000000000000000000000/label/1-5f3a90c1/00000000000000088120_20260512T140210.123Z_before_upgrade-1.4"
	l := testLabel(88120, "before_upgrade-1.4")
	if got := l.Object(); got != want {
		t.Errorf("object is %s, want %s", got, want)
	}
	if got, ok := ParseLabel(want); !ok || got != l {
		t.Errorf("parsed as %+v, %v", got, ok)
	}
	for _, bad := range []string{
		"", "v1", want[1:], strings.Replace(want, "v1", "v2", 1), strings.Replace(want, "/label/", "/wal/", 1), strings.Replace(want, "_before_upgrade-1.4", "", 1),
		strings.Replace(want, "_before_upgrade-1.4", "_", 1), strings.Replace(want, "before", ".before", 1), strings.Replace(want, "00000000000000088120", "88120", 1),
		strings.Replace(want, "88120", "00000", 1), strings.Replace(want, "T14", "T25", 1), want + "/x", strings.Replace(want, "c1000", "x1000", 1), strings.Replace(want, "1-5f", "1-xf", 1),
	} {
		if l, ok := ParseLabel(bad); ok {
			t.Errorf("%s is parsed as %+v", bad, l)
		}
	}
}

func FuzzParseLabel(f *testing.F) {
	f.Add(testLabel(1, "a").Object())
	f.Fuzz(func(t *testing.T, object string) {
		if l, ok := ParseLabel(object); ok && l.Object() != object {
			t.Errorf("%q is the object %q", object, l.Object())
		}
	})
}

func TestLabelsAreListedByTheLog(t *testing.T) {
	m := blobtest.NewMemory()
	later := testLabel(3, "c")
	later.Timeline.Number = 10 // sorts before 2 as text
	middle := testLabel(9, "b")
	middle.Timeline.Number = 2
	want := []Label{testLabel(5, "z"), testLabel(70, "a"), middle, later}
	for _, l := range []Label{later, want[1], want[0], middle, want[0]} {
		if err := PutLabel(t.Context(), m, l); err != nil {
			t.Fatal(err)
		}
	}
	m.Set(labelFolder(testCluster)+"notes.txt", []byte("x"))
	if got, err := Labels(t.Context(), m, testCluster); err != nil || !slices.Equal(got, want) {
		t.Errorf("Labels = %v, %v", got, err)
	}
	m.Inject(blobtest.Fault{Op: blobtest.List, Err: blobtest.ErrBusy})
	if _, err := Labels(t.Context(), m, testCluster); fault.Of(err) != fault.Overloaded {
		t.Errorf("Labels = %v", err)
	}
}
