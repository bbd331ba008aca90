package adminapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// SnapshotPath is the route that sends the state as a snapshot file
// (docs/format/snapshot-file.md). It is plain HTTP only.
const SnapshotPath = "/v1/snapshot"

// SnapshotType is the media type of a snapshot file.
const SnapshotType = "application/vnd.mcpraft.snapshot"

// StallTimeout is how long either side of a long answer waits without a byte.
const StallTimeout = 30 * time.Second

// A SnapshotRequest asks for the state. Without options it is linearizable: it
// holds every write that was acknowledged before the request was sent.
type SnapshotRequest struct {
	ReadOptions
	Compression string // zstd or none; empty: zstd
}

// Snapshot asks a node for its state and hands the snapshot file, as it arrives,
// to take, which reads it to its end. Nodes are tried until one begins to answer.
// There is no limit to the whole, but one to its pauses: StallTimeout. An answer
// that ends early does not verify.
func (c *Client) Snapshot(ctx context.Context, r *SnapshotRequest, take func(Info, io.Reader) error) error {
	query := url.Values{}
	r.query(query)
	setIf(query, "compression", r.Compression)
	return c.long(ctx, http.MethodGet, SnapshotPath, query, nil, take)
}

// long sends a request whose answer takes its time and hands its body to take.
func (c *Client) long(ctx context.Context, method, path string, query url.Values, body []byte, take func(Info, io.Reader) error) error {
	var failed error
	err := c.visit(ctx, repeatable(method), func(ctx context.Context, t target) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		stalled := time.AfterFunc(max(c.timeout, StallTimeout), func() { cancel(errStalled(t)) })
		defer stalled.Stop()
		resp, err := c.http.begin(ctx, t, method, path, query, body)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		failed = take(infoFrom(resp.Header), &watched{r: resp.Body, timer: stalled, ctx: ctx})
		return nil
	})
	if err != nil {
		return err
	}
	return failed
}

func errStalled(t target) error {
	return fmt.Errorf("%s sent nothing for %v", t.addr, StallTimeout)
}

// watched puts the timer off with each read, and says why a read was cut off.
type watched struct {
	r     io.Reader
	timer *time.Timer
	ctx   context.Context
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.timer.Reset(StallTimeout)
	}
	if err != nil && err != io.EOF {
		if cause := context.Cause(w.ctx); cause != nil {
			err = cause
		}
		err = fault.New(fault.Unreachable, "the answer ended early: %w", err)
	}
	return n, err
}
