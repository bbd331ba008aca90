package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/test/model/solo"
)

var self = record.Principal{Issuer: "node", Subject: solo.Node}

// TestWatching tells every story in one bubble: what Pebble keeps between two
// databases does not survive the end of the bubble it was made in.
func TestWatching(t *testing.T) {
	stories := []struct {
		name string
		tell func(*testing.T, *story)
	}{
		{"an upstream that is registered is listed on every node", registeredIsListed},
		{"an upstream that changes its list a thousand times a second is listed once a second", stormIsPaced},
		{"a large list that changes all the time waits longer", largeStormWaitsLonger},
		{"word of a change that changed nothing reaches every node", emptyChangeIsTold},
		{"a failure keeps the list, and the way back is told", failureKeepsTheList},
		{"a gap of the stream is followed by a listing", gapIsClosed},
		{"a change that nobody heard of is found when the list is old", oldListIsRenewed},
		{"bad items are quarantined by name, the others are shown", badItemsAreQuarantined},
		{"a hundred thousand tools are cut", hugeListIsCut},
		{"what does not fit into the catalogue is refused, and what was there stays", fullCatalogueRefuses},
		{"nothing of another term is written", otherTermIsFenced},
		{"an upstream that is disabled or removed goes with its items and pages", removedGoes},
		{"pages that a leader left behind are swept", loosePagesAreSwept},
		{"a record that changes all the time is no way around the pace", changingRecordIsPaced},
	}
	synctest.Test(t, func(t *testing.T) {
		for _, s := range stories {
			t.Log(s.name)
			st := newStory(t)
			s.tell(t, st)
			st.end()
			if t.Failed() {
				t.Fatalf("failed: %s", s.name)
			}
		}
	})
}

// A story has one replica, which two nodes follow, and a leader.
type story struct {
	replica *solo.Replica
	fakes   *fakeUpstreams
	metrics *Metrics
	nodes   []*Catalog
	logged  bytes.Buffer
	leader  *Watchers
	end     func()
	resign  func() // ends the leader's term

	mu   sync.Mutex
	told [][]Difference // by node
}

func newStory(t *testing.T) *story {
	s := &story{replica: solo.New(t), fakes: newFakes(), metrics: NewMetrics(nil), told: make([][]Difference, 2)}
	ctx, cancel := context.WithCancel(t.Context())
	for i := range s.told {
		c := New(s.replica, nil)
		c.Watch(func(d Difference) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told[i] = append(s.told[i], d)
		})
		s.replica.Watch(c.Changed)
		s.nodes = append(s.nodes, c)
		go c.Run(ctx)
	}
	s.leader = NewWatchers(WatchersConfig{
		Replica: s.replica, Upstreams: s.fakes, Actor: self, Metrics: s.metrics,
		Logger: slog.New(slog.NewTextHandler(&s.logged, nil)),
	})
	s.replica.Watch(s.leader.Changed)
	s.lead(t, ctx, 1)
	s.end = func() {
		cancel()
		synctest.Wait()
	}
	return s
}

func (s *story) lead(t *testing.T, ctx context.Context, term raftnode.Term) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.leader.Run(ctx, term); err != nil {
			t.Error(err)
		}
	}()
	s.resign = func() {
		cancel()
		<-ended
	}
	synctest.Wait()
}

func (s *story) register(t *testing.T, alias string, tools ...string) {
	t.Helper()
	s.fakes.add(alias, tools...)
	s.put(t, alias, 0, false)
}

func (s *story) put(t *testing.T, alias string, revision uint64, disabled bool) uint64 {
	t.Helper()
	o := s.replica.Must(t, self, &fsm.PutUpstream{Upstream: record.Upstream{
		Alias: alias, Transport: record.TransportHTTP, URL: "http://" + alias + ".example", Disabled: disabled,
	}, IfRevision: revision})
	synctest.Wait()
	return o.Revision
}

// tools are the public names that every node lists.
func (s *story) tools(t *testing.T) []string {
	t.Helper()
	synctest.Wait()
	names := publics(s.nodes[0].Now().Items(Tool))
	if other := publics(s.nodes[1].Now().Items(Tool)); !slices.Equal(names, other) {
		t.Errorf("the nodes list %v and %v", names, other)
	}
	return names
}

// since is what node 1 was told, and forgets it.
func (s *story) since() []Difference {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.told[1]
	s.told = make([][]Difference, 2)
	return list
}

func (s *story) slice(t *testing.T, alias string) *Slice {
	t.Helper()
	synctest.Wait()
	v, ok := s.nodes[1].Now().Slice(alias)
	if !ok {
		t.Fatalf("there is no slice of %s", alias)
	}
	return v
}

func (s *story) pages(t *testing.T) (used, loose int) {
	t.Helper()
	view, err := s.replica.Machine.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	for range view.LoosePages(0) {
		loose++
	}
	for r := range view.Slices(0) {
		used += int(r.Pages)
	}
	return used, loose
}

func registeredIsListed(t *testing.T, s *story) {
	if err := s.nodes[0].Err(); err != nil {
		t.Errorf("an empty replica was read: %v", err)
	}
	s.register(t, "b", "x")
	s.register(t, "a", "read", "write")
	s.fakes.change("a", func(f *fakeServer) { f.pageSize = 1 })
	if got := s.tools(t); !slices.Equal(got, []string{"a__read", "a__write", "b__x"}) {
		t.Errorf("the tools are %v", got)
	}
	list := s.since()
	if len(list) != 2 || list[0].Alias != "b" || len(list[1].Created) != 2 || !list[1].Touches(Tool) || list[1].Touches(Resource) {
		t.Errorf("told: %+v", list)
	}
	if v := s.slice(t, "a"); string(v.ServerInfo) != `{"name":"fake"}` || v.Protocol != "2025-11-25" || v.Listed.IsZero() || v.Err != "" {
		t.Errorf("the slice is %+v", v)
	}
}

func stormIsPaced(t *testing.T, s *story) {
	s.register(t, "calm", "x")
	s.register(t, "storm", "t0")
	calm := s.slice(t, "calm")
	const seconds = 10
	for i := range seconds * 1000 {
		s.fakes.change("storm", func(f *fakeServer) { f.tools = []string{fmt.Sprintf("t%d", i)} })
		s.fakes.say("storm", mcp.ToolsListChanged)
		time.Sleep(time.Millisecond)
	}
	time.Sleep(2 * time.Second)
	if n := s.fakes.listings("storm"); n < seconds-1 || n > seconds+3 {
		t.Errorf("in %d s the upstream was listed %d times", seconds, n)
	}
	if got, want := s.tools(t), []string{"calm__x", fmt.Sprintf("storm__t%d", seconds*1000-1)}; !slices.Equal(got, want) {
		t.Errorf("the tools are %v, want %v", got, want)
	}
	if s.fakes.listings("calm") != 1 || s.slice(t, "calm") != calm {
		t.Error("the other upstream was touched")
	}
	if used, loose := s.pages(t); used != 2 || loose != 0 {
		t.Errorf("%d pages are in use and %d left over", used, loose)
	}
	if !strings.Contains(s.logged.String(), "upstream=storm") || strings.Count(s.logged.String(), "all the time") != 1 {
		t.Errorf("logged: %s", s.logged.String())
	}
	if n := testutil.ToFloat64(s.metrics.heard.WithLabelValues("storm")); n != seconds*1000 {
		t.Errorf("%v changes were heard of", n)
	}
}

func largeStormWaitsLonger(t *testing.T, s *story) {
	filler := strings.Repeat("x", 50<<10)
	large := func(i int) (list []string) {
		for n := range 40 { // 2 MiB: 8 s each
			list = append(list, fmt.Sprintf(`{"name":"t%d","description":"%d %s","inputSchema":{"type":"object"}}`, n, i, filler))
		}
		return list
	}
	s.register(t, "large", large(0)...)
	for i := range 60 {
		s.fakes.change("large", func(f *fakeServer) { f.tools = large(i + 1) })
		s.fakes.say("large", mcp.ToolsListChanged)
		time.Sleep(time.Second)
	}
	if n := s.fakes.listings("large"); n < 6 || n > 9 {
		t.Errorf("in a minute 2 MiB were listed %d times", n)
	}
}

func emptyChangeIsTold(t *testing.T, s *story) {
	s.register(t, "a", "x")
	s.since()
	before := s.slice(t, "a")
	time.Sleep(5 * time.Second)
	s.fakes.say("a", mcp.ToolsListChanged)
	list := s.since()
	if len(list) != 1 || !list[0].Touches(Tool) || list[0].Touches(Prompt) || len(list[0].Created)+len(list[0].Changed)+len(list[0].Deleted) != 0 {
		t.Errorf("told: %+v", list)
	}
	after := s.slice(t, "a")
	if after.Generation != before.Generation || after.items != before.items || !after.Listed.Equal(before.Listed) {
		t.Error("the same list was written again")
	}
	s.fakes.say("a", mcp.LogMessage)
	time.Sleep(2 * time.Second)
	if list := s.since(); len(list) != 0 || s.fakes.listings("a") != 2 {
		t.Errorf("told of a log message: %+v", list)
	}
}

func failureKeepsTheList(t *testing.T, s *story) {
	s.put(t, "none", 0, false)
	if v := s.slice(t, "none"); v.Err != `upstream "none" refuses connections` || v.Failed.IsZero() || !v.Listed.IsZero() {
		t.Errorf("an upstream that was never reached: %+v", v)
	}
	s.register(t, "a", "x")
	s.since()
	time.Sleep(2 * time.Second)
	s.fakes.change("a", func(f *fakeServer) { f.down = fault.New(fault.Timeout, "no answer in time") })
	s.fakes.say("a", mcp.ToolsListChanged)
	if v := s.slice(t, "a"); v.Err != "no answer in time" || len(v.Items(Tool)) != 1 {
		t.Errorf("after a failure: %+v", v)
	}
	since := s.slice(t, "a").Failed
	time.Sleep(10 * time.Minute)
	if v := s.slice(t, "a"); !v.Failed.Equal(since) || len(s.since()) != 0 {
		t.Error("a failure that goes on was written again")
	}
	s.fakes.change("a", func(f *fakeServer) { f.down = errors.New("secret") })
	time.Sleep(lastRetry)
	if v := s.slice(t, "a"); v.Err == "" || strings.Contains(v.Err, "secret") {
		t.Errorf("strangers are told %q", v.Err)
	}
	s.fakes.change("a", func(f *fakeServer) {
		f.down, f.refuse = nil, map[string]*mcp.Error{mcp.ToolsList: {Code: -32000, Message: "starting"}}
	})
	time.Sleep(lastRetry)
	if v := s.slice(t, "a"); v.Err != "tools/list is answered by error -32000: starting" {
		t.Errorf("an upstream that refuses: %+v", v)
	}
	s.fakes.change("a", func(f *fakeServer) { f.refuse = nil })
	time.Sleep(lastRetry)
	v := s.slice(t, "a")
	if list := s.since(); v.Err != "" || !v.Failed.IsZero() || len(list) != 1 || !list[0].Touches(Tool) {
		t.Errorf("after the recovery: %+v, told %+v", v, list)
	}
}

func gapIsClosed(t *testing.T, s *story) {
	s.register(t, "a", "x")
	time.Sleep(2 * time.Second)
	s.fakes.change("a", func(f *fakeServer) { f.tools = []string{"y"} })
	s.fakes.gap("a")
	if got := s.tools(t); !slices.Equal(got, []string{"a__y"}) {
		t.Errorf("the tools are %v", got)
	}
}

func oldListIsRenewed(t *testing.T, s *story) {
	s.register(t, "a", "x")
	s.fakes.change("a", func(f *fakeServer) { f.tools, f.ttl = []string{"y"}, `,"ttlMs":20000` })
	time.Sleep(defaultTTL - time.Second)
	if got := s.tools(t); !slices.Equal(got, []string{"a__x"}) {
		t.Errorf("the tools are %v too early", got)
	}
	time.Sleep(2 * time.Second)
	if got := s.tools(t); !slices.Equal(got, []string{"a__y"}) {
		t.Errorf("the tools are %v", got)
	}
	log := len(s.replica.Log())
	before := s.fakes.listings("a")
	time.Sleep(100 * time.Second)
	if n := s.fakes.listings("a") - before; n != 5 || len(s.replica.Log()) != log {
		t.Errorf("in five times its ttl it was listed %d times, with %d commands", n, len(s.replica.Log())-log)
	}
}

func badItemsAreQuarantined(t *testing.T, s *story) {
	s.fakes.add("a", "good", "good",
		`{"name":"twice","inputSchema":{"type":"object"}}`,
		`{"name":"twice","description":"other","inputSchema":{"type":"object"}}`,
		`{"name":"remote","inputSchema":{"type":"object","properties":{"a":{"$ref":"https://evil.example/s.json"}}}}`,
		`{"name":"hidden","description":"a\udb40\udc41","inputSchema":{"type":"object"}}`,
		`{"name":"schemaless"}`, `{"inputSchema":{"type":"object"}}`)
	s.fakes.change("a", func(f *fakeServer) {
		f.initialize = `{"capabilities":{"tools":{},"resources":{},"prompts":{}}}`
		f.others = map[string][]string{
			mcp.ResourcesList: {`{"uri":"note://a","name":"a"}`, `{"uri":"note://b"}`},
			mcp.PromptsList:   {`{"name":"greet"}`, `{"name":"bad","arguments":{}}`},
		}
		f.refuse = map[string]*mcp.Error{mcp.TemplatesList: {Code: mcp.CodeMethodNotFound, Message: "no templates"}}
	})
	s.put(t, "a", 0, false)
	v := s.slice(t, "a")
	if got := s.tools(t); !slices.Equal(got, []string{"a__good"}) || len(v.Items(Resource)) != 1 || len(v.Items(Prompt)) != 1 {
		t.Errorf("the tools are %v, the resources %v, the prompts %v", got, publics(v.Items(Resource)), publics(v.Items(Prompt)))
	}
	var got []string
	for _, q := range v.Quarantined {
		got = append(got, fmt.Sprintf("%s %q: %s", q.Kind, q.Name, q.Reason))
	}
	want := []string{
		`tools "": it has no name`,
		`tools "hidden": it has the character U+E0041, which people do not see and models do`,
		`tools "remote": in its inputSchema $ref leads to https://evil.example/s.json, which is never fetched`,
		`tools "schemaless": it has no inputSchema`,
		`tools "twice": it is listed more than once, and not as the same`,
		`resources "note://b": it has no name`,
		`prompts "bad": its arguments is not an array`,
	}
	if !slices.Equal(got, want) || v.Hidden != len(want) {
		t.Errorf("quarantined are %d:\n%s", v.Hidden, strings.Join(got, "\n"))
	}
	if !strings.Contains(s.logged.String(), `upstream=a kind=tool name=remote`) {
		t.Errorf("logged: %s", s.logged.String())
	}
}

func hugeListIsCut(t *testing.T, s *story) {
	s.register(t, "other", "x")
	var names []string
	for i := range 100_000 {
		names = append(names, fmt.Sprintf("t%06d", i))
	}
	s.register(t, "huge", names...)
	v := s.slice(t, "huge")
	if len(v.Items(Tool)) != record.MaxSliceItems || !v.Truncated {
		t.Errorf("%d tools are kept, truncated %v", len(v.Items(Tool)), v.Truncated)
	}
	if !strings.Contains(s.logged.String(), "more than may be kept") {
		t.Errorf("logged: %s", s.logged.String())
	}
	if _, ok := s.nodes[0].Now().Find(Tool, "other__x"); !ok {
		t.Error("the other upstream is gone")
	}
	s.fakes.change("huge", func(f *fakeServer) { f.tools, f.pageSize = names, 10 })
	time.Sleep(time.Minute)
	s.fakes.say("huge", mcp.ToolsListChanged)
	if v := s.slice(t, "huge"); len(v.Items(Tool)) != record.MaxSliceItems {
		t.Errorf("of pages, %d tools are kept", len(v.Items(Tool)))
	}
}

func fullCatalogueRefuses(t *testing.T, s *story) {
	s.leader.c.MaxBytes = 200
	s.register(t, "a", "x")
	s.register(t, "b", "y")
	if got := s.tools(t); !slices.Equal(got, []string{"a__x", "b__y"}) {
		t.Errorf("the tools are %v", got)
	}
	s.fakes.change("b", func(f *fakeServer) { f.tools = []string{"1", "2", "3"} })
	time.Sleep(time.Minute)
	s.fakes.say("b", mcp.ToolsListChanged)
	if v := s.slice(t, "b"); v.Err != "its lists have 183 bytes, the catalogue has room for 139" || len(v.Items(Tool)) != 1 {
		t.Errorf("a list that does not fit: %+v", v)
	}
	s.fakes.change("a", func(f *fakeServer) { f.tools = nil })
	s.fakes.say("a", mcp.ToolsListChanged)
	time.Sleep(lastRetry)
	if got := s.tools(t); !slices.Equal(got, []string{"b__1", "b__2", "b__3"}) {
		t.Errorf("when there is room, the tools are %v", got)
	}
}

func otherTermIsFenced(t *testing.T, s *story) {
	s.resign()
	s.register(t, "a", "x")
	s.lead(t, t.Context(), 2)
	if got := s.tools(t); len(got) != 0 || s.fakes.listings("a") == 0 {
		t.Errorf("in a term that is not the log's %v were written", got)
	}
	s.resign()
	s.lead(t, t.Context(), 1)
	time.Sleep(2 * time.Second)
	if got := s.tools(t); !slices.Equal(got, []string{"a__x"}) {
		t.Errorf("the tools are %v", got)
	}
	s.resign()
}

func removedGoes(t *testing.T, s *story) {
	s.fakes.add("a", "x")
	s.register(t, "b", "y")
	revision := s.put(t, "a", 0, false)
	s.since()
	s.put(t, "a", revision, true)
	if got, list := s.tools(t), s.since(); !slices.Equal(got, []string{"b__y"}) || len(list) != 1 || len(list[0].Deleted) != 1 {
		t.Errorf("after disabling: %v, told %+v", got, list)
	}
	if ears := s.fakes.earsOf("a"); len(ears) != 0 {
		t.Error("a disabled upstream is listened to")
	}
	s.replica.Must(t, self, &fsm.RemoveUpstream{Alias: "b"})
	if got := s.tools(t); len(got) != 0 {
		t.Errorf("after removing: %v", got)
	}
	time.Sleep(sweepEvery + time.Minute)
	if used, loose := s.pages(t); used != 1 || loose != 0 {
		t.Errorf("%d pages are in use and %d left over", used, loose)
	}
}

func loosePagesAreSwept(t *testing.T, s *story) {
	s.resign()
	s.register(t, "a", "x")
	page := record.SlicePage{Slice: record.SliceID{Alias: "a"}, Items: []record.ListItem{tool("old")}}
	for range 40 { // a leader that died again and again
		s.replica.Must(t, self, &fsm.StagePage{Page: page})
	}
	s.lead(t, t.Context(), 1)
	synctest.Wait()
	if used, loose := s.pages(t); used != 1 || loose > 1 {
		t.Errorf("%d pages are in use and %d left over", used, loose)
	}
	time.Sleep(sweepEvery + time.Second)
	if used, loose := s.pages(t); used != 1 || loose != 0 {
		t.Errorf("an hour later %d pages are in use and %d left over", used, loose)
	}
	s.resign()
}

func changingRecordIsPaced(t *testing.T, s *story) {
	s.fakes.add("a", "x")
	revision := s.put(t, "a", 0, false)
	for range 1000 {
		revision = s.put(t, "a", revision, false)
		time.Sleep(10 * time.Millisecond)
	}
	if n := s.fakes.listings("a"); n > 11 {
		t.Errorf("in 10 s it was listed %d times", n)
	}
	if got := s.tools(t); !slices.Equal(got, []string{"a__x"}) {
		t.Errorf("the tools are %v", got)
	}
}
