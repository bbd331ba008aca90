package bridge

import (
	"context"
	"errors"
	"net/http"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/mcpclient"
)

const (
	maxMends   = 3  // of what a request needs, before the refusal is the client's
	maxResumes = 10 // of one stream in a row without an event
)

// An era is what differs between the eras when a request is carried.
type era interface {
	// header is what a request has beside the message, and a number for the state
	// that it was made from.
	header(m *mcp.Message) (header http.Header, state int)
	// mend changes what made the gateway refuse a request that was made from state
	// and was not carried out. It reports whether the request can be sent again.
	mend(ctx context.Context, m *mcp.Message, refusal *mcpclient.Refusal, state int) (bool, error)
	// resumes reports whether a stream that was cut can be taken up.
	resumes() bool
}

// carry gives the answer to a request of the client. Other messages that come
// before it are given to each.
func (b *Bridge) carry(ctx context.Context, m *mcp.Message, e era, each func(*mcp.Message)) (*mcp.Message, error) {
	s := b.places.sending()
	for mends := 0; ; {
		header, state := e.header(m)
		resp, err := s.send(ctx, http.MethodPost, header, m.Bytes())
		if refusal := refusalOf(err); refusal != nil && mends < maxMends {
			mends++
			mended, failed := e.mend(ctx, m, refusal, state)
			if failed != nil {
				return nil, failed
			}
			if mended {
				continue
			}
			return nil, err
		}
		var answer *mcp.Message
		if err == nil {
			answer, err = b.follow(ctx, e, m, resp, each)
		}
		switch {
		case !lost(err):
			return answer, err
		case !onlyReads(m.Method()):
			return nil, unknown(m.Method())
		case !s.pause(ctx):
			return nil, orEnded(ctx, fault.New(fault.Unavailable, "no node answered %s within %v", m.Method(), patience))
		}
	}
}

// lost reports whether err says that a request may have been carried out and the
// answer did not come.
func lost(err error) bool {
	return errors.Is(err, errCut) || refusalOf(err) == nil && fault.Of(err) == fault.OutcomeUnknown
}

// follow reads the answer to m, and takes its stream up where it can be.
func (b *Bridge) follow(ctx context.Context, e era, m *mcp.Message, resp *http.Response, each func(*mcp.Message)) (*mcp.Message, error) {
	r := &reading{bridge: b, id: m.ID(), each: each}
	for empty := 0; ; empty++ {
		answer, err := r.read(ctx, resp)
		if !errors.Is(err, errCut) || r.event == "" || !e.resumes() || empty == maxResumes {
			return answer, err
		}
		if r.events > 0 {
			empty = 0
		}
		if !sleep(ctx, max(r.retry, firstWait)) {
			return nil, context.Cause(ctx)
		}
		if resp, err = b.takeUp(ctx, e, m, r.event); err != nil {
			b.log.Warn("a stream that was cut could not be taken up", "method", m.Method(), "err", err)
			return nil, orEnded(ctx, errCut)
		}
	}
}

// takeUp asks any node for what a stream said behind an event.
func (b *Bridge) takeUp(ctx context.Context, e era, m *mcp.Message, event string) (*http.Response, error) {
	header, _ := e.header(m)
	header.Set(mcp.HeaderLastEventID, event)
	return b.places.sending().send(ctx, http.MethodGet, header, nil)
}
