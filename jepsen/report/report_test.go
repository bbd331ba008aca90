package report

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/check"
	"github.com/mcpraft/mcpraft/jepsen/history"
)

func write(call, end time.Duration) history.Operation {
	return history.Operation{Workload: "registry", Do: history.Register, End: history.OK, Call: int64(call), Return: int64(end), Ended: int64(end)}
}

var (
	run = &history.Run{Seed: 7, Took: 20 * time.Second, Nodes: []string{"n1", "n2", "n3"}, Left: []string{"disk-full: needs small disks"}}
	ops = []history.Operation{
		write(time.Second, time.Second+4*time.Millisecond),
		write(5*time.Second, 7*time.Second), // begun before the leader was lost
		write(8*time.Second, 9*time.Second),
		{Workload: "registry", Do: history.Find, End: history.Refused, Mode: "bounded", Call: 6e9, Ended: 6.1e9},
		write(15*time.Second, 15*time.Second+6*time.Millisecond),
	}
	faults = []history.Fault{{Name: "kill-leader", Detail: `n1 & "others"`, Began: 6e9, Ended: 8e9, Whole: 10e9, Proof: "gone"}}
)

func TestFiguresOfAFault(t *testing.T) {
	s := Summarise(run, ops, faults, nil)
	f := s.Faults[0]
	if f.Times != 1 || f.Void != 0 || f.Failed != 1 || f.Gaps[0] != 2 || f.Recovered[0] != 2 {
		t.Errorf("kill-leader: %+v; the longest gap is from 7 s to 9 s", f)
	}
	if s.Calm.Count != 2 || s.Calm.P50 != 6 {
		t.Errorf("without faults: %+v", s.Calm)
	}
	if s.Bounded != (Share{0, 1}) {
		t.Errorf("bounded reads: %+v", s.Bounded)
	}
}

func TestThePageSaysWhatWasFoundAndWhatWasNotTested(t *testing.T) {
	page := Summarise(run, ops, faults, []check.Finding{{Claim: "once", Text: "twice"}}).Markdown()
	for _, words := range []string{"seed 7", "**1 contradictions", "`once`: twice", "disk-full: needs small disks", "Not tested", "kill-leader"} {
		if !strings.Contains(page, words) {
			t.Errorf("the page does not say %q:\n%s", words, page)
		}
	}
	if page := Summarise(run, ops, nil, nil).Markdown(); !strings.Contains(page, "No contradiction was observed") {
		t.Errorf("without findings:\n%s", page)
	}
}

func TestThePictureIsXML(t *testing.T) {
	for d := xml.NewDecoder(strings.NewReader(picture(run, ops, faults))); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
