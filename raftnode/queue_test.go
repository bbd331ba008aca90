package raftnode

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func principal(name string) record.Principal { return record.Principal{Issuer: "test", Subject: name} }

func TestQueueServesPrincipalsInTurn(t *testing.T) {
	q := newQueue(100, 1<<20)
	push := func(who string, n int) {
		for i := range n {
			if err := q.push(newPending(t.Context(), principal(who), fmt.Append(nil, who, i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	push("flood", 50)
	push("quiet", 2)
	var got []string
	for _, p := range q.take(5, 1<<20) {
		got = append(got, string(p.encoded))
	}
	if want := []string{"flood0", "quiet0", "flood1", "quiet1", "flood2"}; !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
}

func TestQueueRefusesBeyondItsLimits(t *testing.T) {
	q := newQueue(2, 10)
	if err := q.push(newPending(t.Context(), alice, make([]byte, 11))); fault.Of(err) != fault.Overloaded {
		t.Errorf("11 bytes into a queue of 10: %v", err)
	}
	for range 2 {
		if err := q.push(newPending(t.Context(), alice, []byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	err := q.push(newPending(t.Context(), alice, []byte("x")))
	if fault.Of(err) != fault.Overloaded || fault.As(err).RetryAfter == 0 {
		t.Errorf("a third command: %v", err)
	}
}

// Whatever is pushed, removed and taken: nothing is lost, nothing is served
// twice, each lane is in order and the counts are right.
func TestQueueKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q := newQueue(64, 1<<20)
		waiting := make(map[string][]*pending)
		count, next := 0, 0
		rt.Repeat(map[string]func(*rapid.T){
			"push": func(rt *rapid.T) {
				who := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "who")
				p := newPending(t.Context(), principal(who), fmt.Append(nil, next))
				next++
				if err := q.push(p); err == nil {
					waiting[who] = append(waiting[who], p)
					count++
				} else if count < 64 {
					rt.Fatalf("refused with %d waiting: %v", count, err)
				}
			},
			"remove": func(rt *rapid.T) {
				who := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "who")
				if len(waiting[who]) == 0 {
					return
				}
				i := rapid.IntRange(0, len(waiting[who])-1).Draw(rt, "i")
				p := waiting[who][i]
				if !q.remove(p) || q.remove(p) {
					rt.Fatal("remove does not work exactly once")
				}
				waiting[who] = slices.Delete(waiting[who], i, i+1)
				count--
			},
			"take": func(rt *rapid.T) {
				for _, p := range q.take(rapid.IntRange(1, 10).Draw(rt, "n"), 1<<20) {
					who := p.actor.Subject
					if len(waiting[who]) == 0 || waiting[who][0] != p {
						rt.Fatalf("took %s of %s out of order", p.encoded, who)
					}
					waiting[who] = waiting[who][1:]
					count--
				}
			},
			"": func(rt *rapid.T) {
				if commands, _ := q.len(); commands != count {
					rt.Fatalf("queue counts %d, want %d", commands, count)
				}
			},
		})
	})
}

func TestTakeStaysWithinItsBytes(t *testing.T) {
	q := newQueue(100, 1<<20)
	for range 10 {
		if err := q.push(newPending(t.Context(), alice, make([]byte, 100))); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(q.take(100, 250)); got != 2 {
		t.Errorf("took %d commands of 100 bytes into 250", got)
	}
	if got := len(q.take(100, 50)); got != 1 {
		t.Errorf("took %d commands although the first alone is above the limit, want 1: it must go out", got)
	}
}
