package e2e

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"sync/atomic"
	"testing"
)

// A balancer is the load balancer that a company has in front of its nodes, at
// its least helpful: every request goes to the next node, whatever session it
// belongs to. It adds the token, which the conformance suite does not send, and
// keeps Host and Origin. A node that takes no connection is passed over; a
// request that was sent is never sent again.
type balancer struct {
	*httptest.Server
	nodes []string // host:port of the MCP ports
	next  atomic.Uint64

	silent atomic.Pointer[string] // the node that streams a silentCall; nil: none
}

// silentCall is in the body of a call during which a test kills the node that has
// it. The reference server says nothing for 11 s: 5 s until the node shows the
// client an event stream, on which it can come back, and 6 s that another node has
// to wait for the answer.
const silentCall = `"duration":11`

func startBalancer(t *testing.T, token string, nodes ...string) *balancer {
	t.Helper()
	b := &balancer{nodes: nodes}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.Host = "http", r.In.Host
			if token != "" {
				r.Out.Header.Set("Authorization", "Bearer "+token)
			}
		},
		Transport:     b,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // that a node was killed in the midst of an answer
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	b.Server = httptest.NewServer(proxy)
	t.Cleanup(b.Close)
	return b
}

// maxForwarded bounds a request's body: it is kept until a node has taken the
// connection.
const maxForwarded = 8 << 20

func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxForwarded)); err != nil {
			return nil, err
		}
	}
	var refused error
	for range b.nodes {
		try := r.Clone(r.Context())
		node := b.nodes[b.next.Add(1)%uint64(len(b.nodes))]
		try.URL.Host = node
		if r.Body != nil {
			try.Body = io.NopCloser(bytes.NewReader(body))
		}
		answer, err := direct.RoundTrip(try)
		if err == nil && bytes.Contains(body, []byte(silentCall)) {
			b.silent.Store(&node)
		}
		if err == nil || !isDial(err) {
			return answer, err
		}
		refused = err
	}
	return nil, refused
}

// direct makes a new connection for each request, so that none is sent on one
// that a killed node has left behind.
var direct = &http.Transport{DisableKeepAlives: true}

func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func TestBalancerGoesRound(t *testing.T) {
	t.Parallel()
	var asked [3]atomic.Int32
	var nodes []string
	for i := range asked {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked[i].Add(1)
			body, _ := io.ReadAll(r.Body)
			if r.Header.Get("Authorization") != "Bearer secret" || r.Host != "gw.example" || string(body) != "x" {
				http.Error(w, "not as sent", http.StatusBadRequest)
			}
		}))
		defer s.Close()
		nodes = append(nodes, s.Listener.Addr().String())
	}
	dead := freePorts(t, 1)[0]
	b := startBalancer(t, "secret", slices.Insert(nodes, 1, dead)...)
	for range 8 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL, bytes.NewReader([]byte("x")))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "gw.example"
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("status %d", answer.StatusCode)
		}
	}
	for i := range asked {
		if asked[i].Load() < 2 {
			t.Errorf("node %d was asked %d times of 8", i, asked[i].Load())
		}
	}
}
