package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A stage runs a tree and writes down what happens, in order.
type stage struct {
	t      *testing.T
	log    bytes.Buffer // what logger wrote
	logger *slog.Logger
	cancel context.CancelFunc
	result chan error

	mu       sync.Mutex
	events   []string
	failures []Failure
	parts    map[string]chan error // sends make the part of that name return
}

func newStage(t *testing.T) *stage {
	g := &stage{t: t, parts: make(map[string]chan error)}
	g.logger = slog.New(slog.NewTextHandler(&g.log, nil)) // one handler, one lock
	return g
}

func (g *stage) options() Options {
	return Options{
		Logger: g.logger,
		Failed: func(f Failure) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.failures = append(g.failures, f)
		},
	}
}

func (g *stage) note(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = append(g.events, fmt.Sprintf(format, args...))
}

// seen returns the events since the last time, once everything is at rest.
func (g *stage) seen() string {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	events := strings.Join(g.events, " ")
	g.events = nil
	return events
}

// part is a part that notes its start and its stop and fails on command.
func (g *stage) part(name string) func(context.Context) error {
	fail := make(chan error)
	g.parts[name] = fail
	return func(ctx context.Context) error {
		g.note("+%s", name)
		select {
		case err := <-fail:
			if panicked, ok := errors.AsType[*Panic](err); ok {
				panic(panicked.Value)
			}
			return err
		case <-ctx.Done():
			g.note("-%s", name)
			return ctx.Err()
		}
	}
}

func (g *stage) run(s *Supervisor) {
	ctx, cancel := context.WithCancel(g.t.Context())
	g.cancel, g.result = cancel, make(chan error, 1)
	g.t.Cleanup(cancel)
	go func() { g.result <- s.Run(ctx) }()
	synctest.Wait()
}

func (g *stage) fail(name string, err error) {
	g.t.Helper()
	select {
	case g.parts[name] <- err:
	case <-time.After(time.Minute):
		g.t.Fatalf("%s does not run", name)
	}
	synctest.Wait()
}

var errBoom = errors.New("boom")

func (g *stage) stop() error {
	g.cancel()
	return <-g.result
}

func (g *stage) want(what string) {
	g.t.Helper()
	if got := g.seen(); got != what {
		g.t.Errorf("events %q, want %q", got, what)
	}
}

func TestPartsStopInReverseOrder(t *testing.T) {
	for _, strategy := range []Strategy{OneForOne, OneForAll} {
		synctest.Test(t, func(t *testing.T) {
			g := newStage(t)
			s := New("s", strategy, g.options())
			for _, name := range []string{"a", "b", "c"} {
				s.Add(name, g.part(name), Permanent)
			}
			g.run(s)
			started := strings.Fields(g.seen())
			slices.Sort(started)
			if want := []string{"+a", "+b", "+c"}; !slices.Equal(started, want) {
				t.Errorf("%s: started %v", strategy, started)
			}
			if err := g.stop(); err != nil {
				t.Errorf("%s: Run = %v", strategy, err)
			}
			g.want("-c -b -a")
		})
	}
}

func TestOneForOneRestartsOnlyThePartThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		s := New("s", OneForOne, g.options())
		for _, name := range []string{"a", "b", "c"} {
			s.Add(name, g.part(name), Permanent)
		}
		g.run(s)
		g.seen()
		g.fail("b", errBoom)
		g.want("+b")
		g.fail("b", nil) // an end that nobody asked for is a failure too
		g.want("+b")
		n := s.Tree().Children[1]
		if n.Restarts != 2 || n.State != Running || n.LastError != errEnded.Error() {
			t.Errorf("b is %+v", n)
		}
		if err := g.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestOneForAllRestartsAllParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		s := New("s", OneForAll, g.options())
		for _, name := range []string{"a", "b", "c"} {
			s.Add(name, g.part(name), Permanent)
		}
		g.run(s)
		g.seen()
		g.fail("b", errBoom)
		events := strings.Fields(g.seen())
		if len(events) != 5 || events[0] != "-c" || events[1] != "-a" {
			t.Fatalf("events %v, want -c -a and then three starts", events)
		}
		slices.Sort(events[2:])
		if !slices.Equal(events[2:], []string{"+a", "+b", "+c"}) {
			t.Errorf("started %v", events[2:])
		}
		for _, n := range s.Tree().Children {
			if n.Restarts != 1 || (n.LastError != "") != (n.Name == "b") {
				t.Errorf("%+v", n)
			}
		}
		if err := g.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestPanicIsAFailureWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		root, core := New("root", OneForOne, g.options()), New("core", OneForOne, g.options())
		core.Add("registry", g.part("registry"), Permanent)
		root.AddSupervisor(core)
		g.run(root)
		g.fail("registry", &Panic{Value: "index out of range"})
		g.want("+registry +registry")
		if len(g.failures) != 1 {
			t.Fatalf("%d failures, want 1", len(g.failures))
		}
		f := g.failures[0]
		if f.Path != "root/core/registry" || !f.Restarts || !isPanic(f.Err) {
			t.Errorf("failure %+v", f)
		}
		for _, want := range []string{"part=root/core/registry", "index out of range", "supervise_test.go"} {
			if !strings.Contains(g.log.String(), want) {
				t.Errorf("the log has no %q: %s", want, g.log.String())
			}
		}
		if err := g.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestTemporaryPartIsNeverRestarted(t *testing.T) {
	for _, strategy := range []Strategy{OneForOne, OneForAll} {
		synctest.Test(t, func(t *testing.T) {
			g := newStage(t)
			s := New("s", strategy, g.options())
			s.Add("once", g.part("once"), Temporary)
			s.Add("again", g.part("again"), Temporary)
			s.Add("stays", g.part("stays"), Permanent)
			g.run(s)
			g.seen()
			g.fail("once", nil)
			g.fail("again", errBoom)
			g.want("")
			if len(g.failures) != 1 || g.failures[0].Path != "s/again" || g.failures[0].Restarts {
				t.Errorf("%s: failures %+v", strategy, g.failures)
			}
			g.fail("stays", errBoom)
			g.want("+stays")
			tree := s.Tree().Children
			if tree[0].State != Stopped || tree[1].State != Failed || tree[2].State != Running {
				t.Errorf("%s: %+v", strategy, tree)
			}
			if err := g.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSupervisorGivesUpAboveItsIntensity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		s := New("s", OneForOne, g.options())
		s.Add("a", g.part("a"), Permanent)
		s.Add("b", g.part("b"), Permanent)
		g.run(s)
		for range 5 {
			g.fail("a", errBoom)
		}
		g.seen()
		g.fail("a", errBoom)
		g.want("-b")
		err := <-g.result
		if !errors.Is(err, errBoom) || !strings.Contains(err.Error(), "supervisor s gave up: more than 5 restarts in 10s, last of a: boom") {
			t.Errorf("Run = %v", err)
		}
		if last := g.failures[5]; last.Restarts {
			t.Errorf("the last failure says %+v", last)
		}
	})
}

func TestSlowFailuresAreRestartedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		s := New("s", OneForOne, g.options())
		s.Add("a", g.part("a"), Permanent)
		g.run(s)
		for range 100 {
			g.fail("a", errBoom)
			time.Sleep(restartSpan/maxRestarts + time.Millisecond)
		}
		if n := s.Tree().Children[0]; n.Restarts != 100 {
			t.Errorf("%d restarts, want 100", n.Restarts)
		}
		if err := g.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestParentRestartsAChildThatGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		root, core := New("root", OneForOne, g.options()), New("core", OneForOne, g.options())
		core.Add("a", g.part("a"), Permanent)
		core.Add("b", g.part("b"), Temporary)
		root.Add("other", g.part("other"), Permanent)
		root.AddSupervisor(core)
		g.run(root)
		for range 6 {
			g.seen()
			g.fail("a", errBoom)
		}
		// b is stopped with the supervisor and starts with its next life.
		events := strings.Fields(g.seen())
		slices.Sort(events[1:])
		if got := strings.Join(events, " "); got != "-b +a +b" {
			t.Errorf("events %q", got)
		}
		n := root.Tree().Children[1]
		if n.Restarts != 1 || n.State != Running || n.Strategy != OneForOne || !strings.Contains(n.LastError, "gave up") {
			t.Errorf("core is %+v", n)
		}
		if last := g.failures[len(g.failures)-1]; last.Path != "root/core" || !last.Restarts {
			t.Errorf("last failure %+v", last)
		}
		if err := g.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestFailuresEscalateToTheRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		starts := 0
		root, core := New("root", OneForOne, g.options()), New("core", OneForOne, g.options())
		core.Add("broken", func(context.Context) error { starts++; return errBoom }, Permanent)
		root.AddSupervisor(core)
		g.run(root)
		if err := <-g.result; !errors.Is(err, errBoom) || !strings.Contains(err.Error(), "supervisor root gave up") {
			t.Errorf("Run = %v", err)
		}
		if want := (maxRestarts + 1) * (maxRestarts + 1); starts != want {
			t.Errorf("%d starts, want %d", starts, want)
		}
	})
}

func TestStuckPartIsLeftBehindAtStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		leave := make(chan struct{})
		defer close(leave)
		root, core := New("root", OneForOne, g.options()), New("core", OneForOne, g.options())
		core.Add("a", g.part("a"), Permanent)
		core.Add("deaf", func(context.Context) error { <-leave; return nil }, Permanent)
		root.AddSupervisor(core)
		g.run(root)
		begin := time.Now()
		err := g.stop()
		if !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), "deaf") {
			t.Errorf("Run = %v", err)
		}
		if d := time.Since(begin); d != stopTimeout {
			t.Errorf("it took %v, want %v", d, stopTimeout)
		}
		g.want("+a -a")
		if n := root.Tree().Children[0].Children[1]; n.State != Stuck {
			t.Errorf("deaf is %+v", n)
		}
	})
}

func TestStuckPartIsNeverStartedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		leave := make(chan struct{})
		defer close(leave)
		starts := 0
		root, core := New("root", OneForOne, g.options()), New("core", OneForAll, g.options())
		core.Add("deaf", func(context.Context) error { starts++; <-leave; return nil }, Permanent)
		core.Add("a", g.part("a"), Permanent)
		root.AddSupervisor(core)
		g.run(root)
		g.fail("a", errBoom)
		if err := <-g.result; !errors.Is(err, ErrStuck) || strings.Contains(err.Error(), "more than") {
			t.Errorf("Run = %v", err)
		}
		if starts != 1 {
			t.Errorf("deaf was started %d times", starts)
		}
	})
}

func TestNothingStartsOnceRunIsToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		s := New("s", OneForAll, g.options())
		s.Add("a", g.part("a"), Permanent)
		s.Add("slow", func(ctx context.Context) error {
			g.note("+slow")
			<-ctx.Done()
			time.Sleep(time.Second)
			g.note("-slow")
			return nil
		}, Permanent)
		g.run(s)
		g.seen()
		g.fail("a", errBoom) // slow takes its time to stop, and meanwhile
		if err := g.stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
		g.want("-slow")
		if len(g.failures) != 1 || g.failures[0].Restarts {
			t.Errorf("failures %+v", g.failures)
		}
	})
}

// The end may come before, while or after the parts are started.
func TestEndDuringStartLeavesNothingRunning(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			g := newStage(t)
			s := New("s", OneForOne, g.options())
			var running atomic.Int32
			for _, name := range []string{"a", "b", "c"} {
				s.Add(name, func(ctx context.Context) error {
					running.Add(1)
					<-ctx.Done()
					time.Sleep(time.Second)
					running.Add(-1)
					return nil
				}, Permanent)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Run(ctx); err != nil {
				t.Errorf("Run = %v", err)
			}
			if n := running.Load(); n != 0 {
				t.Errorf("%d parts run after Run", n)
			}
		})
	}
}

func TestPanicAtStopIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		s := New("s", OneForOne, g.options())
		s.Add("a", func(ctx context.Context) error { <-ctx.Done(); panic("late") }, Permanent)
		g.run(s)
		if err := g.stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if len(g.failures) != 1 || !isPanic(g.failures[0].Err) {
			t.Errorf("failures %+v", g.failures)
		}
	})
}

func TestTreeShowsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		root, core := New("root", OneForOne, g.options()), New("core", OneForAll, g.options())
		core.Add("auth", g.part("auth"), Permanent)
		streams := NewGroup("streams", 10)
		root.AddSupervisor(core)
		root.AddGroup(streams)
		if n := root.Tree(); n.State != Stopped || n.Children[0].Children[0].State != Waiting {
			t.Errorf("before Run: %+v", n)
		}
		start := time.Now()
		g.run(root)
		time.Sleep(time.Minute)
		if err := streams.Go("one", func(ctx context.Context) error { <-ctx.Done(); return nil }); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%+v", root.Tree())
		want := fmt.Sprintf("%+v", Node{
			Name: "root", Strategy: OneForOne, Lifetime: Permanent, State: Running, Since: start,
			Children: []Node{
				{Name: "core", Strategy: OneForAll, Lifetime: Permanent, State: Running, Since: start, Children: []Node{
					{Name: "auth", Lifetime: Permanent, State: Running, Since: start},
				}},
				{Name: "streams", Lifetime: Permanent, State: Running, Since: start, Workers: 1, Limit: 10},
			},
		})
		if got != want {
			t.Errorf("tree\n got %s\nwant %s", got, want)
		}
		if err := g.stop(); err != nil {
			t.Error(err)
		}
		if n := root.Tree(); n.State != Stopped || n.Children[1].Workers != 0 {
			t.Errorf("after Run: %+v", n)
		}
	})
}

func TestGroupIsBoundedAndContainsPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		s, group := New("s", OneForOne, g.options()), NewGroup("streams", 2)
		idle := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		if err := group.Go("early", idle); !errors.Is(err, ErrStopped) {
			t.Errorf("before Run: %v", err)
		}
		s.AddGroup(group)
		g.run(s)
		if err := group.Go("a", idle); err != nil {
			t.Error(err)
		}
		if err := group.Go("b", func(context.Context) error { panic("b") }); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if len(g.failures) != 1 || g.failures[0].Path != "s/streams/b" || !isPanic(g.failures[0].Err) {
			t.Errorf("failures %+v", g.failures)
		}
		if err := group.Go("c", idle); err != nil {
			t.Errorf("the place of b is not free: %v", err)
		}
		if err := group.Go("d", idle); !errors.Is(err, ErrFull) {
			t.Errorf("a third: %v", err)
		}
		if err := g.stop(); err != nil {
			t.Error(err)
		}
		if err := group.Go("late", idle); !errors.Is(err, ErrStopped) || group.Len() != 0 {
			t.Errorf("after Run: %v, %d run", err, group.Len())
		}
	})
}

func TestRunMayBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		s := New("s", OneForAll, g.options())
		s.Add("a", g.part("a"), Permanent)
		for range 3 {
			g.run(s)
			if err := g.stop(); err != nil {
				t.Error(err)
			}
			g.want("+a -a")
		}
	})
}

// Stopping while parts fail must neither leave one running nor hang.
func TestStopDuringFailures(t *testing.T) {
	for i := range 200 {
		synctest.Test(t, func(t *testing.T) {
			g := newStage(t)
			running := 0
			var mu sync.Mutex
			flaky := func(ctx context.Context) error {
				mu.Lock()
				running++
				mu.Unlock()
				defer func() {
					mu.Lock()
					running--
					mu.Unlock()
				}()
				select {
				case <-time.After(time.Duration(i%7+1) * 500 * time.Millisecond):
					return errBoom
				case <-ctx.Done():
					return nil
				}
			}
			root, core := New("root", OneForOne, g.options()), New("core", OneForAll, g.options())
			for _, s := range []*Supervisor{root, core} {
				s.Add("x", flaky, Permanent)
				s.Add("y", flaky, Permanent)
			}
			root.AddSupervisor(core)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Millisecond)
			defer cancel()
			_ = root.Run(ctx)
			mu.Lock()
			defer mu.Unlock()
			if running != 0 {
				t.Errorf("%d parts run after Run", running)
			}
		})
	}
}

func TestAddToARunningSupervisorPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t)
		s := New("s", OneForOne, g.options())
		g.run(s)
		defer func() {
			if recover() == nil {
				t.Error("a part was added to a running supervisor")
			}
			if err := g.stop(); err != nil {
				t.Error(err)
			}
		}()
		s.Add("late", g.part("late"), Permanent)
	})
}
