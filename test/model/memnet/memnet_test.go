package memnet_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/test/model/memnet"
)

// pair is a connection from host a to host b.
func pair(t *testing.T, n *memnet.Network) (a, b net.Conn) {
	t.Helper()
	ln, err := n.Host("b").Listen("b:1")
	if err != nil {
		t.Fatal(err)
	}
	a, err = n.Host("a").Dial(t.Context(), "b:1")
	if err != nil {
		t.Fatal(err)
	}
	b, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close(); a.Close(); b.Close() })
	return a, b
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// read returns what the next Read brings.
func read(c net.Conn) (string, error) {
	b := make([]byte, 64)
	n, err := c.Read(b)
	return string(b[:n]), err
}

func wantRead(t *testing.T, c net.Conn, want string) {
	t.Helper()
	if got, err := read(c); got != want || err != nil {
		t.Errorf("read %q, %v; want %q", got, err, want)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestStreamKeepsBytesInOrderBothWays(t *testing.T) {
	a, b := pair(t, memnet.New())
	data := make([]byte, 5*memnet.Window+123)
	rand.Read(data)
	var wg sync.WaitGroup
	for _, ends := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			if _, err := ends[0].Write(data); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			got := make([]byte, len(data))
			if _, err := io.ReadFull(ends[1], got); err != nil || !bytes.Equal(got, data) {
				t.Errorf("bytes differ after the way, %v", err)
			}
		})
	}
	wg.Wait()
}

func TestWriterWaitsWhenTheWindowIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, memnet.New())
		done := make(chan error)
		go func() {
			_, err := a.Write(make([]byte, memnet.Window+1))
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("write of more than the window returned %v before anything was read", err)
		default:
		}
		wantN := 1
		if n, err := b.Read(make([]byte, wantN)); n != wantN || err != nil {
			t.Fatal(n, err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestCloseIsEndOfFileAfterTheLastByte(t *testing.T) {
	a, b := pair(t, memnet.New())
	write(t, a, "bye")
	a.Close()
	wantRead(t, b, "bye")
	_, err := read(b)
	wantError(t, "read at the end", err, io.EOF)
	_, err = b.Write([]byte("x"))
	wantError(t, "write to a closed end", err, syscall.EPIPE)
	_, err = read(a)
	wantError(t, "read on the closed end", err, net.ErrClosed)
	wantError(t, "second close", a.Close(), net.ErrClosed)
}

func TestCloseWakesAWaitingReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := pair(t, memnet.New())
		done := make(chan error)
		go func() { _, err := read(a); done <- err }()
		synctest.Wait()
		a.Close()
		wantError(t, "read", <-done, net.ErrClosed)
	})
}

func TestDeadlinesEndWaitingReadsAndWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, memnet.New())
		start := time.Now()
		a.SetReadDeadline(start.Add(time.Second))
		_, err := read(a)
		wantError(t, "read", err, os.ErrDeadlineExceeded)
		if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
			t.Errorf("%v is no timeout", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("read gave up after %v, want 1s", took)
		}

		a.SetWriteDeadline(time.Now().Add(time.Minute))
		n, err := a.Write(make([]byte, 2*memnet.Window))
		wantError(t, "write", err, os.ErrDeadlineExceeded)
		if n != memnet.Window {
			t.Errorf("wrote %d bytes before the deadline, want %d", n, memnet.Window)
		}

		// A deadline in the past ends a read that waits without one.
		done := make(chan error)
		a.SetDeadline(time.Time{})
		go func() { _, err := read(a); done <- err }()
		synctest.Wait()
		a.SetReadDeadline(time.Unix(1, 0))
		wantError(t, "read", <-done, os.ErrDeadlineExceeded)
		a.SetReadDeadline(time.Time{})
		write(t, b, "again")
		wantRead(t, a, "again")
	})
}

func TestLatencyDelaysDialBytesAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		n.SetLatency("a", "b", 30*time.Millisecond)
		start := time.Now()
		a, b := pair(t, n)
		wantAfter(t, "dial", start, 60*time.Millisecond)
		start = time.Now()
		write(t, a, "x")
		a.Close()
		wantAfter(t, "write", start, 0)
		wantRead(t, b, "x")
		wantAfter(t, "read", start, 30*time.Millisecond)
		_, err := read(b)
		wantError(t, "read", err, io.EOF)
	})
}

func wantAfter(t *testing.T, what string, start time.Time, want time.Duration) {
	t.Helper()
	if took := time.Since(start); took != want {
		t.Errorf("%s took %v, want %v", what, took, want)
	}
}

func TestDroppedBytesArriveWhenTheLinkHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		a, b := pair(t, n)
		n.CutOneWay("a", "b", memnet.Drop)
		write(t, a, "late")
		write(t, b, "still")
		wantRead(t, a, "still") // the other way is open
		b.SetReadDeadline(time.Now().Add(time.Hour))
		_, err := read(b)
		wantError(t, "read over a cut link", err, os.ErrDeadlineExceeded)
		b.SetReadDeadline(time.Time{})
		n.Heal("a", "b")
		wantRead(t, b, "late")
	})
}

func TestDialWaitsForALinkThatDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		pair(t, n)
		// The answer of b would be lost.
		n.CutOneWay("b", "a", memnet.Drop)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := n.Host("a").Dial(ctx, "b:1")
		wantError(t, "dial", err, context.DeadlineExceeded)
		go func() {
			time.Sleep(time.Second)
			n.HealAll()
		}()
		nc, err := n.Host("a").Dial(t.Context(), "b:1")
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	})
}

func TestResetEndsBothEndsAndRefusesDials(t *testing.T) {
	n := memnet.New()
	a, b := pair(t, n)
	write(t, a, "lost")
	n.Cut("a", "b", memnet.Reset)
	for _, c := range []net.Conn{a, b} {
		_, err := read(c)
		wantError(t, "read", err, syscall.ECONNRESET)
	}
	_, err := n.Host("a").Dial(t.Context(), "b:1")
	wantError(t, "dial", err, syscall.ECONNREFUSED)
	n.Heal("a", "b")
	nc, err := n.Host("a").Dial(t.Context(), "b:1")
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestPartitionCutsGroupsFromEachOtherOnly(t *testing.T) {
	n := memnet.New()
	for _, host := range []string{"a", "b", "c"} {
		ln, err := n.Host(host).Listen(":1")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
	}
	n.Partition(memnet.Reset, []string{"a", "b"}, []string{"c"})
	for _, c := range []struct {
		from, to string
		want     error
	}{{"a", "b", nil}, {"b", "a", nil}, {"c", "c", nil}, {"a", "c", syscall.ECONNREFUSED}, {"c", "b", syscall.ECONNREFUSED}} {
		nc, err := n.Host(c.from).Dial(t.Context(), c.to+":1")
		if !errors.Is(err, c.want) {
			t.Errorf("dial %s to %s: %v, want %v", c.from, c.to, err, c.want)
		}
		if err == nil {
			nc.Close()
		}
	}
}

func TestKilledHostResetsItsPeersAndFreesItsAddress(t *testing.T) {
	n := memnet.New()
	a, b := pair(t, n)
	n.Host("b").Kill()
	_, err := read(a)
	wantError(t, "read from a killed host", err, syscall.ECONNRESET)
	_, err = read(b)
	wantError(t, "read on a killed host", err, net.ErrClosed)
	_, err = n.Host("a").Dial(t.Context(), "b:1")
	wantError(t, "dial", err, syscall.ECONNREFUSED)
	if open := n.Listening(); len(open) != 0 {
		t.Errorf("open after the kill: %v", open)
	}
	ln, err := n.Host("b").Listen("b:1")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
}

func TestKillBehindADroppingLinkIsSeenWhenItHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		a, _ := pair(t, n)
		n.Cut("a", "b", memnet.Drop)
		n.Host("b").Kill()
		a.SetReadDeadline(time.Now().Add(time.Minute))
		_, err := read(a)
		wantError(t, "read while cut", err, os.ErrDeadlineExceeded)
		a.SetReadDeadline(time.Time{})
		n.Heal("a", "b")
		_, err = read(a)
		wantError(t, "read when healed", err, syscall.ECONNRESET)
	})
}

func TestListenerRefusesASecondAndEndsAccept(t *testing.T) {
	n := memnet.New()
	h := n.Host("a")
	ln, err := h.Listen(":7")
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Listen("a:7")
	wantError(t, "second listen", err, syscall.EADDRINUSE)
	if _, err := h.Listen("b:7"); err == nil {
		t.Error("a host listened at the address of another")
	}
	free, err := h.Listen(":0")
	if err != nil || free.Addr().String() == "a:0" {
		t.Errorf("port 0: %v, %v", free, err)
	}
	free.Close()
	ln.Close()
	_, err = ln.Accept()
	wantError(t, "accept", err, net.ErrClosed)
}

// TestBubbleServesHTTP runs a real server and client: every wait of theirs is
// durable, and the bubble ends only when no goroutine is left.
func TestBubbleServesHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		n.SetLatency("client", "server", 5*time.Millisecond)
		ln, err := n.Host("server").Listen(":80")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Hour)
			io.WriteString(w, "hello")
		})}
		go srv.Serve(ln)
		transport := &http.Transport{DialContext: func(ctx context.Context, _, at string) (net.Conn, error) {
			return n.Host("client").Dial(ctx, at)
		}}
		answer, err := (&http.Client{Transport: transport}).Get("http://server:80/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if string(body) != "hello" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
		answer.Body.Close()
		transport.CloseIdleConnections()
		srv.Close()
	})
}
