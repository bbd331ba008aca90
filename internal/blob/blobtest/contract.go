package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// large is more than one part of an upload to a bucket.
const large = 9 << 20

// Test holds a store to the contract of blob.Store. Every call of open gives an
// empty store.
func Test(t *testing.T, open func(t *testing.T) blob.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, blob.Store)
	}{
		{"WhatIsPutIsGot", testRoundTrip},
		{"RangesAreCutToTheObject", testRanges},
		{"IfAbsentNeverReplaces", testIfAbsent},
		{"OneOfManyWins", testOneWins},
		{"ABrokenBodyStoresNothing", testBrokenBody},
		{"ListsAreSorted", testList},
		{"ListsAreLong", testLongList},
		{"WhatIsMissingIsNotFound", testMissing},
		{"DeleteMayComeTwice", testDelete},
		{"BadNamesAreRefused", testNames},
		{"CallsEndWithTheirContext", testContext},
		{"ProbePassesAndLeavesNothing", testProbe},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

func put(t *testing.T, s blob.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, bytes.NewReader(data), blob.Replace); err != nil {
		t.Fatalf("Put(%s): %v", name, err)
	}
}

func get(t *testing.T, s blob.Store, name string, r blob.Range) []byte {
	t.Helper()
	body, err := s.Get(t.Context(), name, r)
	if err != nil {
		t.Fatalf("Get(%s, %+v): %v", name, r, err)
	}
	data, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatalf("Get(%s, %+v): %v", name, r, err)
	}
	return data
}

func names(t *testing.T, s blob.Store, prefix, after string) []string {
	t.Helper()
	var list []string
	for info, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("List(%s, %s): %v", prefix, after, err)
		}
		list = append(list, info.Name)
	}
	return list
}

func testRoundTrip(t *testing.T, s blob.Store) {
	for i, n := range []int{0, 1, 4096, large} {
		name := fmt.Sprintf("v1/a.b-c_D/%d", i)
		put(t, s, name, content(n))
		if got := get(t, s, name, blob.Range{}); !bytes.Equal(got, content(n)) {
			t.Errorf("%d bytes came back as %d", n, len(got))
		}
		if info, err := s.Stat(t.Context(), name); err != nil || info.Size != int64(n) || info.Name != name || info.Modified.IsZero() {
			t.Errorf("Stat = %+v, %v, want %d bytes", info, err, n)
		}
	}
	put(t, s, "v1/a.b-c_D/3", []byte("new"))
	if got := get(t, s, "v1/a.b-c_D/3", blob.Range{}); string(got) != "new" {
		t.Errorf("after it was replaced: %d bytes", len(got))
	}
}

func testRanges(t *testing.T, s blob.Store) {
	data := content(1000)
	put(t, s, "object", data)
	put(t, s, "empty", nil)
	for _, part := range [][2]int64{{0, 1}, {0, 1000}, {0, 5000}, {1, 0}, {999, 0}, {999, 1}, {500, 100}, {500, 5000}, {1000, 0}, {1000, 1}, {5000, 10}} {
		r := blob.Range{Offset: part[0], Length: part[1]}
		want := data[min(r.Offset, 1000):]
		if r.Length > 0 {
			want = want[:min(r.Length, int64(len(want)))]
		}
		if got := get(t, s, "object", r); !bytes.Equal(got, want) {
			t.Errorf("%+v gives %d bytes, want %d", r, len(got), len(want))
		}
		if got := get(t, s, "empty", r); len(got) != 0 {
			t.Errorf("%+v of an empty object gives %d bytes", r, len(got))
		}
	}
}

func testIfAbsent(t *testing.T, s blob.Store) {
	for _, n := range []int{100, large} {
		name := fmt.Sprintf("object-%d", n)
		if err := s.Put(t.Context(), name, bytes.NewReader(content(n)), blob.IfAbsent); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), name, bytes.NewReader(make([]byte, n)), blob.IfAbsent); fault.Of(err) != fault.Conflict {
			t.Errorf("%d bytes: the second Put says %v, want a conflict", n, err)
		}
		if got := get(t, s, name, blob.Range{}); !bytes.Equal(got, content(n)) {
			t.Errorf("%d bytes: the first object was replaced", n)
		}
	}
}

func testOneWins(t *testing.T, s blob.Store) {
	const callers = 8
	var won atomic.Int32
	var winner atomic.Uint32
	var wg sync.WaitGroup
	for i := range byte(callers) {
		wg.Go(func() {
			err := s.Put(t.Context(), "race/object", bytes.NewReader([]byte{i}), blob.IfAbsent)
			if err == nil {
				won.Add(1)
				winner.Store(uint32(i))
			} else if fault.Of(err) != fault.Conflict {
				t.Errorf("Put = %v", err)
			}
		})
	}
	wg.Wait()
	if got := get(t, s, "race/object", blob.Range{}); won.Load() != 1 || len(got) != 1 || uint32(got[0]) != winner.Load() {
		t.Errorf("%d callers won, the object is of %v, the winner %d", won.Load(), got, winner.Load())
	}
}

var errBody = errors.New("the source broke")

func testBrokenBody(t *testing.T, s blob.Store) {
	// io.ErrUnexpectedEOF is what a connection says that breaks, and what libraries
	// take for the end of a short block.
	for _, broken := range []error{errBody, io.ErrUnexpectedEOF} {
		for _, n := range []int{0, 100, large} {
			for _, when := range []blob.Condition{blob.Replace, blob.IfAbsent} {
				body := io.MultiReader(bytes.NewReader(content(n)), failing{broken})
				if err := s.Put(t.Context(), "object", body, when); !errors.Is(err, broken) {
					t.Errorf("broken after %d bytes: %v, want %v", n, err, broken)
				}
			}
		}
	}
	if list := names(t, s, "", ""); len(list) != 0 {
		t.Errorf("there is %v", list)
	}
}

func testList(t *testing.T, s blob.Store) {
	// "-" and "." sort before "/", so a list by folders would be in another order.
	all := []string{"a-b/1", "a.b", "a/b/c/1", "a/b/c/2", "a/b/d", "a/b0", "a0/1", "b"}
	for i := range all {
		put(t, s, all[(i*5)%len(all)], []byte("x"))
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "a/b/c/1", "a/c", "b", "c", "a-"} {
		for _, after := range append([]string{"", "A", "a", "a/", "a/b", "a/b/", "a/b/z", "zz"}, all...) {
			var want []string
			for _, name := range all {
				if len(name) >= len(prefix) && name[:len(prefix)] == prefix && name > after {
					want = append(want, name)
				}
			}
			if got := names(t, s, prefix, after); !slices.Equal(got, want) {
				t.Errorf("List(%q, %q) = %v, want %v", prefix, after, got, want)
			}
		}
	}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil || info.Name != all[0] || info.Size != 1 || info.Modified.IsZero() {
			t.Errorf("the first is %+v, %v", info, err)
		}
		break // must not leave anything behind
	}
}

// A bucket gives 1,000 names at a time.
func testLongList(t *testing.T, s blob.Store) {
	const n = 1100
	var want []string
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		name := fmt.Sprintf("long/%04d", i)
		want = append(want, name)
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := s.Put(t.Context(), name, bytes.NewReader([]byte("x")), blob.Replace); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := names(t, s, "long/", ""); !slices.Equal(got, want) {
		t.Errorf("%d of %d names", len(got), n)
	}
}

func testMissing(t *testing.T, s blob.Store) {
	put(t, s, "a/b/c", []byte("x"))
	for _, name := range []string{"x", "a/x", "a/b", "a/b/c/d", "a/b/c/d/e"} {
		if _, err := s.Stat(t.Context(), name); fault.Of(err) != fault.NotFound {
			t.Errorf("Stat(%s) = %v", name, err)
		}
		if _, err := s.Get(t.Context(), name, blob.Range{}); fault.Of(err) != fault.NotFound {
			t.Errorf("Get(%s) = %v", name, err)
		}
		if _, err := s.Get(t.Context(), name, blob.Range{Offset: 1, Length: 1}); fault.Of(err) != fault.NotFound {
			t.Errorf("Get(%s) of a range = %v", name, err)
		}
	}
	if got := names(t, s, "x", ""); len(got) != 0 {
		t.Errorf("List = %v", got)
	}
}

func testDelete(t *testing.T, s blob.Store) {
	for _, name := range []string{"a/b/c", "a/b/d", "e"} {
		put(t, s, name, []byte("x"))
	}
	for _, name := range []string{"a/b/c", "a/b/c", "a/b", "e", "never/was", "a/b/d/x"} {
		if err := s.Delete(t.Context(), name); err != nil {
			t.Errorf("Delete(%s) = %v", name, err)
		}
	}
	if got := names(t, s, "", ""); !slices.Equal(got, []string{"a/b/d"}) {
		t.Errorf("left is %v", got)
	}
	put(t, s, "a/b/c", []byte("again"))
	if err := s.Put(t.Context(), "e", bytes.NewReader(nil), blob.IfAbsent); err != nil {
		t.Errorf("a deleted object is still there: %v", err)
	}
}

func testNames(t *testing.T, s blob.Store) {
	for _, name := range []string{"", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", ".hidden", "a/.b", "a b", "a\\b", "ä", "a\x00b", string(make([]byte, 600))} {
		_, getErr := s.Get(t.Context(), name, blob.Range{})
		_, statErr := s.Stat(t.Context(), name)
		for what, err := range map[string]error{
			"Put": s.Put(t.Context(), name, bytes.NewReader(nil), blob.Replace), "Get": getErr, "Stat": statErr, "Delete": s.Delete(t.Context(), name),
		} {
			if fault.Of(err) != fault.Invalid {
				t.Errorf("%s(%q) = %v, want invalid", what, name, err)
			}
		}
	}
}

func testContext(t *testing.T, s blob.Store) {
	put(t, s, "object", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := s.Get(ctx, "object", blob.Range{})
	_, statErr := s.Stat(ctx, "object")
	var listErr error
	for _, err := range s.List(ctx, "", "") {
		listErr = err
	}
	for what, err := range map[string]error{
		"Put": s.Put(ctx, "other", bytes.NewReader(nil), blob.Replace), "Get": getErr, "Stat": statErr, "List": listErr, "Delete": s.Delete(ctx, "object"),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want that the context ended", what, err)
		}
	}
	if got := names(t, s, "", ""); !slices.Equal(got, []string{"object"}) {
		t.Errorf("there is %v", got)
	}
}

func testProbe(t *testing.T, s blob.Store) {
	steps, err := blob.Probe(t.Context(), s)
	if err != nil || len(steps) != 7 {
		t.Errorf("Probe = %+v, %v", steps, err)
	}
	if got := names(t, s, "", ""); len(got) != 0 {
		t.Errorf("left is %v", got)
	}
}
