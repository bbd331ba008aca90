package h1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/test/model/memnet"
)

// A lane is a Server in a bubble, over a network in memory.
type lane struct {
	t       *testing.T
	server  *Server
	network *memnet.Network
	served  chan error
}

// inLane runs a test in virtual time against a server whose requests h answers.
func inLane(t *testing.T, h http.HandlerFunc, test func(t *testing.T, l *lane)) {
	synctest.Test(t, func(t *testing.T) {
		l := &lane{t: t, network: memnet.New(), served: make(chan error, 1)}
		listener, err := l.network.Host("gw").Listen("gw:7440")
		if err != nil {
			t.Fatal(err)
		}
		l.server = New(&http.Server{
			Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 90 * time.Second, ErrorLog: log.New(t.Output(), "", 0),
		})
		go func() { l.served <- l.server.Serve(listener) }()
		test(t, l)
		l.server.Close()
		if err := <-l.served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve gave %v", err)
		}
	})
}

func (l *lane) dial() (net.Conn, *bufio.Reader) {
	l.t.Helper()
	nc, err := l.network.Host("client").Dial(l.t.Context(), "gw:7440")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { nc.Close() })
	return nc, bufio.NewReader(nc)
}

func post(text string) string {
	return fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: gw\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
}

func send(t *testing.T, nc net.Conn, wire string) {
	t.Helper()
	if _, err := io.WriteString(nc, wire); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// echo answers with the body; it tells whether net/http called it.
func echo(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, own := w.(*response)
	w.Header().Set("X-Lane", fmt.Sprint(own))
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	_, _ = w.Write(text)
}

func TestRequestsThatWereSentAheadAreAnsweredInOrder(t *testing.T) {
	inLane(t, echo, func(t *testing.T, l *lane) {
		nc, r := l.dial()
		send(t, nc, post("one")+post("two")+post("")+strings.Replace(post("four"), "Host", "X-Other: 1\r\nHost", 1)+post("five"))
		for _, want := range []string{"one", "two", "", "four", "five"} {
			if resp, text := receive(t, r); text != want || resp.Header.Get("X-Lane") != "true" {
				t.Errorf("answer = %q, lane %s; want %q", text, resp.Header.Get("X-Lane"), want)
			}
		}
	})
}

func TestTheUnusualIsHandedOverOnceWithAllThatWasRead(t *testing.T) {
	unusual := map[string]string{
		"method":        "PUT /mcp HTTP/1.1\r\nHost: gw\r\nContent-Length: 1\r\n\r\nx",
		"chunked":       "POST /mcp HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		"query":         "POST /mcp?a=b HTTP/1.1\r\nHost: gw\r\nContent-Length: 1\r\n\r\nx",
		"bare newlines": "POST /mcp HTTP/1.1\nHost: gw\nContent-Length: 1\n\nx",
		"large head":    "POST /mcp HTTP/1.1\r\nHost: gw\r\nX-A: " + strings.Repeat("a", MaxHead) + "\r\nContent-Length: 1\r\n\r\nx",
	}
	for name, wire := range unusual {
		t.Run(name, func(t *testing.T) {
			inLane(t, echo, func(t *testing.T, l *lane) {
				nc, r := l.dial()
				send(t, nc, post("hot")+wire+post("after"))
				for i, want := range []string{"hot", "x", "after"} {
					resp, text := receive(t, r)
					if own := resp.Header.Get("X-Lane"); text != want || own != fmt.Sprint(i == 0) {
						t.Errorf("answer %d = %d %q, lane %s; want %q", i, resp.StatusCode, text, own, want)
					}
				}
			})
		})
	}
}

func TestWhoSendsAHeadByteByByteIsCut(t *testing.T) {
	inLane(t, echo, func(t *testing.T, l *lane) {
		nc, r := l.dial()
		begun := time.Now()
		var err error
		for _, b := range []byte(post("x")) {
			if _, err = nc.Write([]byte{b}); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if _, readErr := r.ReadByte(); err == nil || readErr == nil || time.Since(begun) > 10*time.Second {
			t.Errorf("cut after %v: %v, %v", time.Since(begun), err, readErr)
		}
	})
}

func TestASilentConnectionIsClosed(t *testing.T) {
	inLane(t, echo, func(t *testing.T, l *lane) {
		nc, r := l.dial()
		send(t, nc, post("x"))
		receive(t, r)
		begun := time.Now()
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) || time.Since(begun) != 90*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

func TestTheContextEndsWhenTheClientHasGone(t *testing.T) {
	ended := make(chan error, 1)
	inLane(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	}, func(t *testing.T, l *lane) {
		nc, _ := l.dial()
		send(t, nc, post("x"))
		time.Sleep(time.Hour) // no deadline of the read ends it
		nc.Close()
		if err := <-ended; !errors.Is(err, errGone) {
			t.Errorf("context ended with %v", err)
		}
	})
}

func TestWhatIsSentAheadDuringALongRequestIsNotLost(t *testing.T) {
	inLane(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Second)
		echo(w, r)
		if err := r.Context().Err(); err != nil {
			t.Errorf("the context has ended: %v", err)
		}
		time.Sleep(time.Second)
	}, func(t *testing.T, l *lane) {
		nc, r := l.dial()
		send(t, nc, post("one"))
		time.Sleep(1500 * time.Millisecond) // the watch reads by now
		send(t, nc, post("two"))
		send(t, nc, post("three"))
		for _, want := range []string{"one", "two", "three"} {
			if _, text := receive(t, r); text != want {
				t.Errorf("answer = %q, want %q", text, want)
			}
		}
	})
}

func TestAFlushedAnswerIsChunked(t *testing.T) {
	inLane(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Break", "a\r\nX-Evil: b")
		for i := range 3 {
			fmt.Fprintf(w, "part %d;", i)
			_, _ = w.Write(nil)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
		}
	}, func(t *testing.T, l *lane) {
		nc, r := l.dial()
		send(t, nc, post("x")+post("y"))
		for range 2 {
			resp, text := receive(t, r)
			if text != "part 0;part 1;part 2;" || len(resp.TransferEncoding) != 1 || resp.Header.Get("X-Evil") != "" {
				t.Errorf("answer = %q, %q, %q", text, resp.TransferEncoding, resp.Header)
			}
		}
	})
}

func TestALargeAnswerIsWhole(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 64<<10)
	inLane(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(large)+1))
		_, _ = io.WriteString(w, "!")
		_, _ = io.WriteString(w, large)
		if _, err := io.WriteString(w, "more"); err == nil {
			t.Error("more than was announced could be written")
		}
	}, func(t *testing.T, l *lane) {
		nc, r := l.dial()
		send(t, nc, post("x")+post("x"))
		for range 2 {
			if _, text := receive(t, r); text != "!"+large {
				t.Errorf("%d bytes", len(text))
			}
		}
	})
}

func TestAnAnswerThatIsTooShortEndsTheConnection(t *testing.T) {
	inLane(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "short")
	}, func(t *testing.T, l *lane) {
		nc, r := l.dial()
		send(t, nc, post("x"))
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("body ended with %v", err)
		}
	})
}

func TestAnUnwantedBodyIsReadOrEndsTheConnection(t *testing.T) {
	refuse := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
	for size, closes := range map[int]bool{100: false, 200 << 10: false, maxDiscarded + 100<<10: true} {
		inLane(t, refuse, func(t *testing.T, l *lane) {
			nc, r := l.dial()
			go func() { _, _ = io.WriteString(nc, post(strings.Repeat("x", size))) }()
			if resp, text := receive(t, r); resp.StatusCode != http.StatusUnauthorized || text != "" || resp.Close != closes {
				t.Errorf("%d bytes: %d %q, close %v", size, resp.StatusCode, text, resp.Close)
			}
		})
	}
}

func TestAPanicEndsTheConnectionAndNothingElse(t *testing.T) {
	inLane(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Panic") != "" {
			panic("broken")
		}
		echo(w, r)
	}, func(t *testing.T, l *lane) {
		nc, r := l.dial()
		other, otherReader := l.dial()
		send(t, nc, "POST /mcp HTTP/1.1\r\nHost: gw\r\nX-Panic: 1\r\nContent-Length: 0\r\n\r\n")
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("after a panic: %v", err)
		}
		send(t, other, post("x"))
		receive(t, otherReader)
	})
}

func TestShutdownFinishesWhatRunsAndClosesWhatIsIdle(t *testing.T) {
	inLane(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(10 * time.Second)
		echo(w, r)
	}, func(t *testing.T, l *lane) {
		_, silent := l.dial()
		nc, r := l.dial()
		send(t, nc, post("x"))
		handed, handedReader := l.dial()
		send(t, handed, strings.Replace(post("y"), "/mcp", "/mcp?", 1))
		time.Sleep(time.Second)
		stopped := make(chan error, 1)
		go func() { stopped <- l.server.Shutdown(t.Context()) }()
		if _, err := silent.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("an idle connection: %v", err)
		}
		for _, r := range []*bufio.Reader{r, handedReader} {
			if resp, _ := receive(t, r); resp.StatusCode != http.StatusOK || !resp.Close {
				t.Errorf("answer = %d, close %v", resp.StatusCode, resp.Close)
			}
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if _, err := l.network.Host("client").Dial(t.Context(), "gw:7440"); err == nil {
			t.Error("connections are still taken")
		}
	})
}

func TestShutdownWaitsNoLongerThanItsContext(t *testing.T) {
	inLane(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		<-r.Context().Done()
	}, func(t *testing.T, l *lane) {
		nc, _ := l.dial()
		send(t, nc, post("x"))
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := l.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown gave %v", err)
		}
	})
}
