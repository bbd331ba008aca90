package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/mcpclient"
)

// places are the addresses of the endpoint.
type places struct {
	find  func(ctx context.Context) ([]string, error)
	token string
	roots *tls.Config

	mu       sync.Mutex
	endpoint *mcpclient.Endpoint // nil: to be found
}

// at is the endpoint, found if it must be.
func (p *places) at(ctx context.Context) (*mcpclient.Endpoint, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.endpoint != nil {
		return p.endpoint, nil
	}
	urls, err := p.find(ctx)
	if err != nil {
		return nil, err
	}
	if len(urls) == 0 {
		return nil, fault.New(fault.Unreachable, "no node has an MCP port that can be reached from here")
	}
	p.endpoint = mcpclient.NewEndpoint(urls, p.token, p.roots)
	return p.endpoint, nil
}

// forget makes the next request look for addresses anew.
func (p *places) forget(old *mcpclient.Endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.endpoint == old && old != nil {
		p.endpoint = nil
		old.Close()
	}
}

func (p *places) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.endpoint != nil {
		p.endpoint.Close()
	}
}

// A sending is one attempt after another to have a request taken, until patience
// ends.
type sending struct {
	places *places
	until  time.Time
	wait   time.Duration
}

func (p *places) sending() *sending {
	return &sending{places: p, until: time.Now().Add(patience), wait: firstWait}
}

// send gives the response of the first node that takes a request. One that could
// not be reached, or that says that it did nothing and another may, is passed
// over.
func (s *sending) send(ctx context.Context, method string, header http.Header, body []byte) (*http.Response, error) {
	for {
		endpoint, err := s.places.at(ctx)
		if err == nil {
			url := endpoint.URL()
			var resp *http.Response
			if resp, err = endpoint.Send(ctx, method, header, body); err == nil {
				resp, err = mcpclient.Checked(resp)
			}
			if err == nil {
				return resp, nil
			}
			switch refusal := refusalOf(err); {
			case refusal != nil && refusal.Status == http.StatusServiceUnavailable:
				endpoint.Next(url) // it did nothing; another one may
			case refusal == nil && fault.Of(err) == fault.Unreachable:
				s.places.forget(endpoint)
			default:
				return nil, err
			}
		}
		if !s.again(ctx, err) {
			return nil, orEnded(ctx, err)
		}
	}
}

// refusalOf is err as the answer of a node, nil if it is none.
func refusalOf(err error) *mcpclient.Refusal {
	refusal, _ := errors.AsType[*mcpclient.Refusal](err)
	return refusal
}

// again waits before the next attempt after err; false: there is none.
func (s *sending) again(ctx context.Context, err error) bool {
	return fault.Of(err).Retryable() && s.pause(ctx)
}

// pause waits before the next attempt, longer each time; false: there is none.
func (s *sending) pause(ctx context.Context) bool {
	wait := s.wait/2 + rand.N(s.wait) // so that many bridges do not come at once
	s.wait = min(2*s.wait, longestWait)
	return time.Now().Add(wait).Before(s.until) && sleep(ctx, wait)
}

// sleep waits; false: ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func orEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// onlyReads reports whether a request of method may be carried out twice: it is
// made to look, or leaves things as they are the second time.
func onlyReads(method string) bool {
	switch method {
	case mcp.Initialize, mcp.Ping, mcp.Discover, mcp.SubscriptionsListen, mcp.ToolsList, mcp.ResourcesList, mcp.TemplatesList,
		mcp.ResourcesRead, mcp.ResourcesSub, mcp.ResourcesUnsub, mcp.PromptsList, mcp.PromptsGet, mcp.Complete, mcp.SetLevel,
		mcp.TasksGet, mcp.TasksList, mcp.TasksResult:
		return true
	default:
		return false
	}
}

// unknown is the error of a call whose node was lost with the answer.
func unknown(method string) error {
	return fault.New(fault.OutcomeUnknown, "the connection to the node that carried this %s was lost before the answer came; it may have been carried out", method).
		WithHint("it was not sent again: look before you repeat it")
}
