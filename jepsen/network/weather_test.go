package network

import (
	"reflect"
	"testing"
	"time"
)

func TestLossAndDuplicatesComeAsOftenAsAskedFor(t *testing.T) {
	w := NewWeather(1)
	link := Link{"n1", "n2"}
	i := w.Impose(Condition{Loss: 0.2, Duplicate: 0.1, Delay: time.Millisecond}, []Link{link})
	const packets = 10_000
	lost, twice := 0, 0
	for range packets {
		f := w.decide(link)
		if f.lost {
			lost++
		}
		if f.copies == 2 {
			twice++
		}
		if f.delay != time.Millisecond {
			t.Fatalf("delay %v", f.delay)
		}
	}
	if lost < packets/6 || lost > packets/4 || twice < packets/12 || twice > packets/8 {
		t.Errorf("of %d packets %d were lost and %d came twice", packets, lost, twice)
	}
	if f := w.decide(Link{"n2", "n1"}); !reflect.DeepEqual(f, fate{copies: 1}) {
		t.Errorf("the way back: %+v", f)
	}
	i.Lift()
	if f := w.decide(link); !reflect.DeepEqual(f, fate{copies: 1}) {
		t.Errorf("afterwards: %+v", f)
	}
	if i.Hits() != packets {
		t.Errorf("%d hits", i.Hits())
	}
}

func TestImpairmentsAddUp(t *testing.T) {
	w := NewWeather(1)
	link := Link{"n1", "n2"}
	w.Impose(Condition{Delay: time.Millisecond}, []Link{link})
	cut := w.Impose(Condition{Cut: true, Delay: time.Millisecond}, []Link{link})
	if f := w.decide(link); !f.lost || f.delay != 2*time.Millisecond {
		t.Errorf("both: %+v", f)
	}
	cut.Lift()
	if f := w.decide(link); f.lost {
		t.Errorf("after the cut: %+v", f)
	}
}

func TestLinksAreOfDifferentNodes(t *testing.T) {
	got := Both([]string{"n1"}, []string{"n1", "n2"})
	if want := []Link{{"n1", "n2"}, {"n2", "n1"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
