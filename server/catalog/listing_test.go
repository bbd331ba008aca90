package catalog

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// TestAListIsTheSameInAnyOrder holds that the slice of an upstream depends on what
// it lists, and on neither the order, nor the pages, nor repetitions.
func TestAListIsTheSameInAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var tools []string
		for range rapid.IntRange(0, 30).Draw(rt, "tools") {
			name := rapid.SampledFrom([]string{"a", "a.b", "a_b", "a/b", "c", "long-" + fmt.Sprint(make([]int, 40)), ""}).Draw(rt, "name")
			tools = append(tools, fmt.Sprintf(`{"name":%q,"title":"%d","inputSchema":{"type":"object"}}`, name, rapid.IntRange(0, 20).Draw(rt, "title")/19))
		}
		first := listingOf(rt, tools, 0)
		shuffled := rapid.Permutation(tools).Draw(rt, "shuffled")
		for range rapid.IntRange(0, 5).Draw(rt, "repeated") {
			if len(tools) > 0 && !bytes.Contains([]byte(shuffled[0]), []byte(`"name":""`)) {
				shuffled = append(shuffled, shuffled[0])
			}
		}
		second := listingOf(rt, shuffled, rapid.IntRange(0, 4).Draw(rt, "page"))
		if !bytes.Equal(first.slice.Digest, second.slice.Digest) {
			rt.Errorf("one order gives %+v, another %+v", first.slice, second.slice)
		}
		one, other := viewOf(first), viewOf(second)
		if !slices.Equal(publics(one.Items(Tool)), publics(other.Items(Tool))) {
			rt.Errorf("one order gives %v, another %v", publics(one.Items(Tool)), publics(other.Items(Tool)))
		}
		seen := make(map[string]bool)
		for _, i := range one.Items(Tool) {
			if seen[i.Public] || len(i.Public) > MaxPublicName {
				rt.Errorf("the name %q is given twice, or too long", i.Public)
			}
			seen[i.Public] = true
		}
	})
}

func listingOf(t *rapid.T, tools []string, pageSize int) *listing {
	s := &fakeServer{tools: tools, pageSize: pageSize}
	l := newListing("x", Opened{Initialize: []byte(`{"capabilities":{"tools":{}}}`)})
	err := l.walk(context.Background(), func(_ context.Context, method string, params []byte) ([]byte, error) {
		return s.page(method, s.tools, params)
	})
	if err != nil {
		t.Fatal(err)
	}
	l.finish()
	return l
}

func viewOf(l *listing) *View {
	return NewView(NewSlice(&l.slice, l.items))
}

func TestAListThatGoesInACircleEnds(t *testing.T) {
	l := newListing("x", Opened{Initialize: []byte(`{"capabilities":{"tools":{}}}`)})
	asked := 0
	err := l.walk(t.Context(), func(context.Context, string, []byte) ([]byte, error) {
		asked++
		return fmt.Appendf(nil, `{"tools":[{"name":"t%d","inputSchema":{"type":"object"}}],"nextCursor":"c"}`, asked), nil
	})
	if err != nil || asked != 2 || !l.slice.Truncated {
		t.Errorf("asked %d times, truncated %v, %v", asked, l.slice.Truncated, err)
	}
	l = newListing("x", Opened{Initialize: []byte(`{"capabilities":{"tools":{}}}`)})
	asked = 0
	err = l.walk(t.Context(), func(context.Context, string, []byte) ([]byte, error) {
		asked++
		return fmt.Appendf(nil, `{"tools":[],"nextCursor":"c%d"}`, asked), nil
	})
	if err != nil || asked != maxListPages || !l.slice.Truncated {
		t.Errorf("of endless pages %d were asked for, truncated %v, %v", asked, l.slice.Truncated, err)
	}
}

func TestAnswersThatAreNoListsAreErrors(t *testing.T) {
	for _, result := range []string{`{}`, `{"tools":{}}`, `{"tools":null}`} {
		l := newListing("x", Opened{Initialize: []byte(`{"capabilities":{"tools":{}}}`)})
		err := l.walk(t.Context(), func(context.Context, string, []byte) ([]byte, error) { return []byte(result), nil })
		if err == nil {
			t.Errorf("%s is taken for a list", result)
		}
	}
}

// BenchmarkView is the catalogue of 100 upstreams with 100 tools of 1 KiB: what one
// of them costs that changes, what a page costs, and what all of it takes in memory.
func BenchmarkView(b *testing.B) {
	build := func() []*Slice {
		var list []*Slice
		for u := range 100 {
			var items []record.ListItem
			for n := range 100 {
				raw := fmt.Appendf(nil, `{"name":"tool_%d","description":%q,"inputSchema":{"type":"object"}}`, n, bytes.Repeat([]byte("d"), 950))
				items = append(items, record.ListItem{Kind: Tool, Name: fmt.Sprintf("tool_%d", n), Raw: raw})
			}
			list = append(list, slice(fmt.Sprintf("upstream-%d", u), 1, items...))
		}
		return list
	}
	list := build()
	v := NewView(list...)
	b.Run("change", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewView(list...)
		}
	})
	b.Run("page", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := v.Page(Tool, "", 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("find", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := v.Find(Tool, "upstream-50__tool_50"); !ok {
				b.Fatal("not found")
			}
		}
	})
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			fresh := NewView(build()...)
			b.ReportMetric(float64(heap()-before), "heap-bytes")
			runtime.KeepAlive(fresh)
			runtime.KeepAlive(list)
			runtime.KeepAlive(v)
		}
	})
}

// heap is how much is in use, after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
