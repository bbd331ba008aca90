package history

import (
	"reflect"
	"testing"
)

func TestWhatIsWrittenIsReadInTheOrderOfCalls(t *testing.T) {
	dir := t.TempDir() + "/run"
	s, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	later := Operation{Client: "a", Do: Find, Call: 9, Return: 10, Ended: 10, End: OK, Items: []Item{{"k", "v", 3}}}
	sooner := Operation{Client: "b", Do: Register, Call: 4, Ended: 20, End: Unknown, Error: "outcome_unknown"}
	for _, o := range []Operation{later, sooner} {
		w, err := s.Client(o.Client)
		if err != nil {
			t.Fatal(err)
		}
		w.Add(&o)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w, err := s.Faults()
	if err != nil {
		t.Fatal(err)
	}
	fault := Fault{Name: "split", Began: 1, Ended: 2, Whole: 3, Proof: "yes"}
	w.Add(&fault)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveRun(&Run{Seed: 7}); err != nil {
		t.Fatal(err)
	}
	run, ops, faults, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if run.Seed != 7 || !reflect.DeepEqual(ops, []Operation{sooner, later}) || !reflect.DeepEqual(faults, []Fault{fault}) {
		t.Errorf("read %+v, %+v, %+v", run, ops, faults)
	}
	if _, err := Create(dir); err == nil {
		t.Error("a second run into the same folder")
	}
}

func TestTheClockGivesNoTimeTwice(t *testing.T) {
	c := NewClock()
	last := int64(-1)
	for range 10_000 {
		now := c.Now()
		if now <= last {
			t.Fatalf("%d after %d", now, last)
		}
		last = now
	}
}
