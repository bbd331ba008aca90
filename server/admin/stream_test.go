package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/frame"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/test/model/memnet"
)

// scripted is a replica whose commits take as long as the location of the entry
// says.
type scripted struct {
	refusing
	index     atomic.Uint64
	cancelled atomic.Int64
}

func (s *scripted) Propose(ctx context.Context, r raftnode.Request) (raftnode.Receipt, error) {
	if c, ok := r.Command.(*fsm.RegisterEntry); ok {
		d, _ := time.ParseDuration(c.Entry.Location)
		select {
		case <-time.After(d):
		case <-ctx.Done():
			s.cancelled.Add(1)
			return raftnode.Receipt{}, fault.New(fault.OutcomeUnknown, "the caller left: %w", context.Cause(ctx))
		}
		if c.Entry.Key == "panic" {
			panic("as it was told")
		}
	}
	index := s.index.Add(1)
	return raftnode.Receipt{
		Outcome:  fsm.Outcome{Revision: index, Time: record.LogTimeAt(time.Now())},
		Index:    index,
		Timeline: record.Timeline{Number: 1, Salt: 7},
	}, nil
}

// served is an API behind a real http.Server on a network in memory.
type served struct {
	*fixture
	replica *scripted
	server  *http.Server
	done    chan struct{}
	network *memnet.Network
}

func serve(t *testing.T) *served {
	s := &served{replica: new(scripted), network: memnet.New(), done: make(chan struct{})}
	s.fixture = newFixture(t, s.replica)
	l, err := s.network.Host("node").Listen("node:7441")
	if err != nil {
		t.Fatal(err)
	}
	s.server = &http.Server{Handler: s.api}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(l)
	}()
	return s
}

// stop ends everything, so that the bubble can.
func (s *served) stop() {
	_ = s.server.Shutdown(context.Background())
	s.api.Shutdown(context.Background())
	<-s.done
}

func (s *served) client(t *testing.T, token string) *adminapi.Client {
	c, err := adminapi.NewStream(adminapi.Config{
		Addrs: []string{"node:7441"}, Token: token,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return s.network.Host("client").Dial(ctx, addr)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func register(key string, takes time.Duration) *adminapi.RegisterRequest {
	return &adminapi.RegisterRequest{Type: "tool", Key: key, EntrySpec: adminapi.EntrySpec{Location: takes.String()}}
}

func TestStreamAnswersOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		defer s.stop()
		c := s.client(t, secret)
		defer c.Close()
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		for i, takes := range []time.Duration{3 * time.Second, time.Second, 2 * time.Second} {
			wg.Go(func() {
				if _, info, err := c.Register(t.Context(), register(fmt.Sprint(i), takes)); err != nil || info.Timeline != "1-00000007" {
					t.Errorf("%+v, %v", info, err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, fmt.Sprint(i))
			})
		}
		wg.Wait()
		if got := fmt.Sprint(order); got != "[1 2 0]" {
			t.Errorf("order of answers = %s", got)
		}
	})
}

func TestStreamCarriesErrorsAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		defer s.stop()
		c := s.client(t, secret)
		defer c.Close()
		_, _, err := c.Register(t.Context(), &adminapi.RegisterRequest{Type: "gadget", Key: "a"})
		e, ok := errors.AsType[*fault.Error](err)
		if !ok || e.Kind != fault.Invalid || e.Details["request_id"] == "" || e.Details["addr"] != "node:7441" {
			t.Errorf("error = %#v", err)
		}
		_, _, err = c.WhereIs(t.Context(), &adminapi.WhereIsRequest{Type: "tool", Key: "a"})
		if fault.Of(err) != fault.Stale {
			t.Errorf("error = %v", err)
		}
	})
}

func TestStreamNeedsTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		defer s.stop()
		c := s.client(t, "another-token-of-32-characters-xx")
		defer c.Close()
		if _, _, err := c.Register(t.Context(), register("a", 0)); fault.Of(err) != fault.Unauthenticated {
			t.Errorf("error = %v", err)
		}
		if s.replica.index.Load() != 0 {
			t.Error("something was applied")
		}
	})
}

func TestStreamCallerWhoLeavesCancelsItsCallAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		defer s.stop()
		c := s.client(t, secret)
		defer c.Close()
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := c.Register(ctx, register("gone", 10*time.Second)); fault.Of(err) != fault.OutcomeUnknown {
				t.Errorf("error = %v", err)
			}
		})
		wg.Go(func() {
			if _, _, err := c.Register(t.Context(), register("stays", 5*time.Second)); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if n := s.replica.cancelled.Load(); n != 1 {
			t.Errorf("cancelled calls = %d, want 1", n)
		}
	})
}

func TestStreamSurvivesAPanicAndAnUnknownOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		defer s.stop()
		c := s.client(t, secret)
		defer c.Close()
		if _, _, err := c.Register(t.Context(), register("panic", 0)); fault.Of(err) != fault.OutcomeUnknown {
			t.Errorf("error = %v", err)
		}
		if _, _, err := c.Register(t.Context(), register("next", 0)); err != nil {
			t.Errorf("after a panic: %v", err)
		}
		status, body := (&stream{api: s.api}).ServeFrame(t.Context(), 9999, nil)
		if fault.Kind(status) != fault.Unsupported || len(body) == 0 {
			t.Errorf("unknown operation = %d", status)
		}
	})
}

func TestStreamDrainFinishesWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c := s.client(t, secret)
		defer c.Close()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := c.Register(t.Context(), register("running", 5*time.Second)); err != nil {
				t.Errorf("the running call: %v", err)
			}
		})
		time.Sleep(time.Second)
		wg.Go(s.stop)
		time.Sleep(time.Second)
		// Refused before it was run, so the client may try elsewhere; there is no
		// other address, so it says that nobody answered.
		if _, _, err := c.Register(t.Context(), register("late", 0)); fault.Of(err) != fault.Unreachable {
			t.Errorf("a call during the drain: %v", err)
		}
		wg.Wait()
	})
}

func TestStreamEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c := s.client(t, secret)
		if _, _, err := c.Register(t.Context(), register("a", 0)); err != nil {
			t.Fatal(err)
		}
		c.Close()
		synctest.Wait()
		s.api.streams.mu.Lock()
		open := len(s.api.streams.all)
		s.api.streams.mu.Unlock()
		if open != 0 {
			t.Errorf("%d streams are still open", open)
		}
		s.stop()
	})
}

// FuzzAdminBody sends arbitrary bodies to every operation, as JSON and as CBOR.
// No body makes the API panic or fail with an error of its own.
func FuzzAdminBody(f *testing.F) {
	f.Add(uint16(adminapi.OpRegister), []byte(`{"location":"x","metadata":{"a":"b"}}`))
	f.Add(uint16(adminapi.OpCreateSession), []byte(`{"id":"a","ttl":"1s","capabilities":{}}`))
	f.Add(uint16(adminapi.OpPutUpstream), []byte(`{"transport":"http","pool":{"size":1}}`))
	f.Add(uint16(adminapi.OpPutSessionSettings), []byte(`{"ttl":"-9223372036854775808ns"}`))
	body, err := adminapi.EncodeRequest(&adminapi.RegisterRequest{Type: "tool", Key: "k", EntrySpec: adminapi.EntrySpec{Location: "x"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(adminapi.OpRegister), body)
	api := newFixture(f, new(instant)).api
	st := &stream{api: api, caller: record.Principal{Issuer: "i", Subject: "s"}}
	f.Fuzz(func(t *testing.T, op uint16, body []byte) {
		status, _ := st.ServeFrame(t.Context(), op, body)
		if kind := fault.Kind(status); kind == fault.Internal || kind == fault.Integrity {
			t.Errorf("operation %d over the stream: %v", op, kind)
		}
		row, ok := adminapi.Op(op).Operation()
		if !ok || row.Method == http.MethodGet {
			return
		}
		fixture := &fixture{api: api}
		if w := fixture.do(t, row.Method, row.Path, string(body)); w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", row.Name, w.Code, w.Body)
		}
	})
}

// instant validates as a node does and commits nothing.
type instant struct{ refusing }

func (*instant) Propose(_ context.Context, r raftnode.Request) (raftnode.Receipt, error) {
	_, err := fsm.EncodeProposal(&fsm.Proposal{Actor: r.Actor, RequestID: r.RequestID, Idempotency: r.Idempotency, Command: r.Command})
	return raftnode.Receipt{Outcome: fsm.Outcome{Revision: 1}, Index: 1, Timeline: record.Timeline{Number: 1}}, err
}

func BenchmarkRegister(b *testing.B) {
	body, err := adminapi.EncodeRequest(&adminapi.RegisterRequest{Type: "resource", Key: "bench/0123456789", EntrySpec: adminapi.EntrySpec{Location: string(make([]byte, 256))}})
	if err != nil {
		b.Fatal(err)
	}
	f := newFixture(b, new(free))
	st := &stream{api: f.api, caller: record.Principal{Issuer: "i", Subject: "s"}}
	b.Run("stream", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if status, _ := st.ServeFrame(b.Context(), uint16(adminapi.OpRegister), body); status != 0 {
				b.Fatal(status)
			}
		}
	})
	b.Run("http", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if w := f.do(b, http.MethodPut, "/v1/registry/resource/bench", `{"location":"x"}`); w.Code != http.StatusOK {
				b.Fatal(w.Code)
			}
		}
	})
}

// free costs nothing.
type free struct{ refusing }

func (*free) Propose(context.Context, raftnode.Request) (raftnode.Receipt, error) {
	return raftnode.Receipt{Outcome: fsm.Outcome{Revision: 1}, Index: 1, Timeline: record.Timeline{Number: 1}}, nil
}

var _ frame.Handler = (*stream)(nil)
