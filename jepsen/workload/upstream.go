package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/cluster"
	"github.com/mcpraft/mcpraft/jepsen/history"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// A Mood is how the upstream behaves.
type Mood int32

const (
	Well    Mood = iota // it answers
	Hanging             // it carries calls out and never answers
	Cutting             // it carries calls out and resets the connection
	Babbler             // it carries calls out and answers garbage
)

// An Upstream is the MCP server behind the cluster. It has one tool, mark, which
// writes down that it was called, and by which name.
type Upstream struct {
	url    string
	server *http.Server
	out    *history.Writer
	clock  *history.Clock
	mood   atomic.Int32
	spoilt atomic.Int64 // calls that a bad mood has met
	wg     sync.WaitGroup
}

// NewUpstream serves on l until Close.
func NewUpstream(l net.Listener, clock *history.Clock, store *history.Store) (*Upstream, error) {
	out, err := store.Client("upstream")
	if err != nil {
		return nil, err
	}
	u := &Upstream{url: "http://" + l.Addr().String() + "/mcp", out: out, clock: clock}
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: 10 * time.Second}
	u.wg.Go(func() { _ = u.server.Serve(l) })
	return u, nil
}

// Register tells the cluster of the upstream.
func (u *Upstream) Register(ctx context.Context, l *cluster.Cluster) error {
	var last error
	for range 50 {
		for _, n := range l.Nodes() {
			_, _, err := n.Client().PutUpstream(ctx, &adminapi.PutUpstreamRequest{Alias: alias, UpstreamSpec: adminapi.UpstreamSpec{Transport: "http", URL: u.url}})
			if err == nil {
				return nil
			}
			last = err
		}
	}
	return fmt.Errorf("registering the upstream: %w", last)
}

// Feel changes the mood.
func (u *Upstream) Feel(m Mood) { u.mood.Store(int32(m)) }

// Spoilt is how many calls a bad mood has met.
func (u *Upstream) Spoilt() int64 { return u.spoilt.Load() }

// Close ends the server and its file.
func (u *Upstream) Close() error {
	err := u.server.Close()
	u.wg.Wait()
	return errors.Join(err, u.out.Close())
}

// incoming is what a node sends.
type incoming struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		ProtocolVersion string    `json:"protocolVersion"`
		Arguments       arguments `json:"arguments"`
		Meta            struct {
			ProgressToken json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	} `json:"params"`
}

func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		return
	}
	if r.Method != http.MethodPost {
		http.Error(w, "no stream here", http.StatusMethodNotAllowed)
		return
	}
	var in incoming
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil || json.Unmarshal(body, &in) != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case in.ID == nil:
		w.WriteHeader(http.StatusAccepted)
	case in.Method == "initialize":
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":%q,"capabilities":{"tools":{}},"serverInfo":{"name":"jepsen","version":"1"}}}`, in.ID, protocol)
	case in.Method == "tools/list":
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"mark","inputSchema":{"type":"object"}}]}}`, in.ID)
	case in.Method == "ping":
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{}}`, in.ID)
	case in.Method == "tools/call":
		u.call(w, r, &in)
	default:
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"unknown method"}}`, in.ID)
	}
}

// call carries a call out, and answers as the mood is.
func (u *Upstream) call(w http.ResponseWriter, r *http.Request, in *incoming) {
	now := u.clock.Now()
	u.out.Add(&history.Operation{Client: "upstream", Workload: Tools, Do: history.Executed, Key: in.Params.Arguments.Key, Call: now, Return: now, Ended: now, End: history.OK})
	mood := Mood(u.mood.Load())
	if mood != Well {
		u.spoilt.Add(1)
	}
	switch mood {
	case Hanging:
		<-r.Context().Done()
	case Cutting:
		if nc, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if tcp, ok := nc.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			nc.Close()
		}
	case Babbler:
		_, _ = io.WriteString(w, "\x00{]garbage")
	default:
		u.answer(w, r, in)
	}
}

func (u *Upstream) answer(w http.ResponseWriter, r *http.Request, in *incoming) {
	a := in.Params.Arguments
	result := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%q}]}}`, in.ID, a.Key)
	if a.Steps == 0 {
		_, _ = io.WriteString(w, result)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	tick := time.NewTicker(a.Delay)
	defer tick.Stop()
	for step := 1; step <= a.Steps; step++ {
		fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":%s,\"progress\":%d}}\n\n", in.Params.Meta.ProgressToken, step)
		if flush.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
	fmt.Fprintf(w, "data: %s\n\n", result)
}
