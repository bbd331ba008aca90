package mcpclient

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	protocol   = mcp.V20251125
	maxMessage = 16 << 20         // bytes of one message
	maxPages   = 1000             // of a list
	maxResumes = 10               // of one stream, without an event in between
	askTimeout = 10 * time.Second // for an answer to the server to be taken
	endTimeout = 2 * time.Second  // for the end of a session
)

// Config is what a Client is made of.
type Config struct {
	URLs    []string    // of the same endpoint at one node or several, tried in this order; at least one
	Token   string      // bearer token
	TLS     *tls.Config // nil: the system's
	Name    string      // of the program, for the server's logs
	Version string      // likewise

	// Notify is told of every notification, in the order of arrival. Nil: nobody.
	Notify func(method string, params []byte)
	// Answer answers what the server asks of its user, such as
	// elicitation/create. Nil: the client declares that there is nobody to ask.
	Answer func(ctx context.Context, method string, params []byte) (result []byte, err error)
}

// A Client is one session. Its methods are called by one goroutine at a time.
type Client struct {
	c        Config
	endpoint *Endpoint
	session  string
	version  string // negotiated
	last     int64  // id of the newest request
}

// New makes a client. Nothing is sent before Open.
func New(c Config) *Client {
	return &Client{c: c, endpoint: NewEndpoint(c.URLs, c.Token, c.TLS)}
}

// A Server is what a server says of itself when a session opens.
type Server struct {
	Version string // of the protocol, negotiated
	Result  []byte // of initialize
}

// Open begins the session.
func (c *Client) Open(ctx context.Context) (Server, error) {
	capabilities := "{}"
	if c.c.Answer != nil {
		capabilities = `{"elicitation":{"form":{}}}`
	}
	params := fmt.Sprintf(`{"protocolVersion":%q,"capabilities":%s,"clientInfo":{"name":%s,"version":%s}}`,
		protocol, capabilities, mcp.Quote(cmp.Or(c.c.Name, "mcpraft")), mcp.Quote(cmp.Or(c.c.Version, "0")))
	result, err := c.Call(ctx, mcp.Initialize, []byte(params))
	if err != nil {
		return Server{}, err
	}
	version, ok := mcp.Text(mcp.Field(result, "protocolVersion"))
	if !ok {
		return Server{}, fault.New(fault.Unreachable, "the server does not speak MCP: its answer to initialize has no protocolVersion")
	}
	c.version = version
	return Server{Version: version, Result: result}, c.post(ctx, mcp.Notification(mcp.Initialized, nil))
}

// Close ends the session. That it could not be told is no error: it expires.
func (c *Client) Close(ctx context.Context) {
	defer c.endpoint.Close()
	if c.session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodDelete, nil, "")
	if err == nil {
		resp.Body.Close()
	}
}

// Call sends a request and gives its result. A failure that the server reports is
// a *fault.Error with its words.
func (c *Client) Call(ctx context.Context, method string, params []byte) ([]byte, error) {
	c.last++
	id := mcp.NumberID(c.last)
	resp, err := c.send(ctx, http.MethodPost, mcp.Request(id, method, params).Bytes(), "")
	if err != nil {
		return nil, err
	}
	if method == mcp.Initialize {
		c.session = resp.Header.Get(mcp.HeaderSession)
	}
	answer, err := c.await(ctx, resp, id)
	if err != nil {
		return nil, err
	}
	if e := answer.Err(); e != nil {
		return nil, failure(0, e)
	}
	return answer.Result(), nil
}

// List gives each item of a list that may have pages: the elements of the member
// that is named, of the result of method.
func (c *Client) List(ctx context.Context, method, member string, each func(item []byte) error) error {
	params := []byte("{}")
	for range maxPages {
		result, err := c.Call(ctx, method, params)
		if err != nil {
			return err
		}
		list := mcp.Field(result, member)
		if len(list) == 0 || list[0] != '[' {
			return fault.New(fault.Integrity, "the answer to %s has no list of %s", method, member)
		}
		for item := range strictjson.Elements(list) {
			if err := each(item); err != nil {
				return err
			}
		}
		cursor, ok := mcp.Text(mcp.Field(result, "nextCursor"))
		if !ok {
			return nil
		}
		params = fmt.Appendf(nil, `{"cursor":%s}`, mcp.Quote(cursor))
	}
	return fault.New(fault.TooLarge, "the list has more than %d pages", maxPages)
}

// post sends a message that gets no answer.
func (c *Client) post(ctx context.Context, m *mcp.Message) error {
	resp, err := c.send(ctx, http.MethodPost, m.Bytes(), "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxMessage)) // so that the connection is used again
	return nil
}

// send gives the response of the first address that takes the request. An error
// status is an error.
func (c *Client) send(ctx context.Context, method string, body []byte, lastEvent string) (*http.Response, error) {
	header := make(http.Header)
	if c.session != "" {
		header.Set(mcp.HeaderSession, c.session)
	}
	if c.version != "" {
		header.Set(mcp.HeaderVersion, c.version)
	}
	if lastEvent != "" {
		header.Set(mcp.HeaderLastEventID, lastEvent)
	}
	resp, err := c.endpoint.Send(ctx, method, header, body)
	if err != nil {
		return nil, err
	}
	return Checked(resp)
}

// await reads responses until the one to id, and answers what the server asks.
func (c *Client) await(ctx context.Context, resp *http.Response, id mcp.ID) (*mcp.Message, error) {
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage+1))
		if err != nil {
			return nil, lost(err)
		}
		return answerIn(text, id)
	}
	s := stream{client: c, id: id}
	for {
		answer, err := s.read(ctx, resp.Body)
		resp.Body.Close()
		if answer != nil || err != nil {
			return answer, err
		}
		if resp, err = s.resume(ctx); err != nil {
			return nil, err
		}
	}
}

func answerIn(text []byte, id mcp.ID) (*mcp.Message, error) {
	m, err := mcp.Parse(text, mcp.FromUpstream)
	if err != nil {
		return nil, fault.New(fault.Integrity, "the answer is not a JSON-RPC message: %v", err)
	}
	if m.ID() != id {
		return nil, fault.New(fault.Integrity, "the answer is to request %s, not to %s", m.ID(), id)
	}
	return m, nil
}

func lost(err error) error {
	return fault.New(fault.OutcomeUnknown, "the connection broke before the answer came: %v", err).
		WithHint("what was asked may have been done: look before you repeat it")
}

// A stream is the answer of one request, over as many connections as it takes.
type stream struct {
	client *Client
	id     mcp.ID
	event  string        // id of the last event
	retry  time.Duration // that the server asked for
	empty  int           // connections in a row without an event
}

// read reads one connection. It gives nil, nil when that has ended without the
// answer.
func (s *stream) read(ctx context.Context, body io.Reader) (*mcp.Message, error) {
	events := sse.NewReader(body, maxMessage)
	s.empty++
	for {
		e, err := events.Next()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, sse.ErrTooLarge) {
			return nil, fault.New(fault.TooLarge, "a message of the server has more than %d bytes", maxMessage)
		}
		if err != nil {
			return nil, nil //nolint:nilerr // the stream has ended: the caller resumes it
		}
		s.empty = 0
		if e.HasID {
			s.event = e.ID
		}
		s.retry = cmp.Or(e.Retry, s.retry)
		if len(e.Data) == 0 {
			continue
		}
		m, err := mcp.Parse(e.Data, mcp.FromUpstream)
		if err != nil {
			return nil, fault.New(fault.Integrity, "an event is not a JSON-RPC message: %v", err)
		}
		if done, err := s.take(ctx, m); done || err != nil {
			return m, err
		}
	}
}

// take does what a message asks for; it reports whether it is the answer.
func (s *stream) take(ctx context.Context, m *mcp.Message) (bool, error) {
	switch m.Kind() {
	case mcp.KindNotification:
		if s.client.c.Notify != nil {
			s.client.c.Notify(m.Method(), m.Params())
		}
		return false, nil
	case mcp.KindRequest:
		return false, s.client.reply(ctx, m)
	default:
		return m.ID() == s.id, nil
	}
}

// resume takes the stream up behind the last event.
func (s *stream) resume(ctx context.Context) (*http.Response, error) {
	if s.event == "" {
		return nil, lost(io.ErrUnexpectedEOF)
	}
	var err error
	for ; s.empty <= maxResumes; s.empty++ {
		select {
		case <-time.After(cmp.Or(s.retry, time.Second)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var resp *http.Response
		if resp, err = s.client.send(ctx, http.MethodGet, nil, s.event); err == nil {
			return resp, nil
		}
		if !fault.Of(err).Retryable() {
			return nil, err
		}
	}
	return nil, err
}

// reply answers a request of the server.
func (c *Client) reply(ctx context.Context, m *mcp.Message) error {
	answer := mcp.Failed(m.ID(), &mcp.Error{Code: mcp.CodeMethodNotFound, Message: "this client does not do " + m.Method()})
	switch {
	case m.Method() == mcp.Ping:
		answer = mcp.Answer(m.ID(), nil)
	case c.c.Answer != nil:
		result, err := c.c.Answer(ctx, m.Method(), m.Params())
		if err == nil {
			answer = mcp.Answer(m.ID(), result)
		} else if ctx.Err() != nil {
			return ctx.Err()
		} else {
			answer = mcp.Failed(m.ID(), &mcp.Error{Code: mcp.CodeDeclined, Message: err.Error()})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return c.post(ctx, answer)
}

// failure is an error of the server as a fault. What a node made says its kind;
// what an upstream made has a code only.
func failure(status int, e *mcp.Error) *fault.Error {
	f := fault.New(kindOf(status), "%s", e.Message)
	reason, _ := mcp.Text(mcp.Field(e.Data, "gateway", "reason"))
	if reason == "node_lost" {
		f.Kind = fault.OutcomeUnknown
	} else if kind := fault.Parse(reason); kind != fault.Internal {
		f.Kind = kind
	} else if status == 0 || status == http.StatusOK {
		f.Kind = kindOfCode(e.Code)
	}
	if hint, ok := mcp.Text(mcp.Field(e.Data, "hint")); ok {
		f.Hint = hint
	}
	if id, ok := mcp.Text(mcp.Field(e.Data, "request_id")); ok {
		f = f.WithDetail("request_id", id)
	}
	return f.WithDetail("code", strconv.Itoa(e.Code))
}

func kindOfCode(code int) fault.Kind {
	switch code {
	case mcp.CodeInvalidParams, mcp.CodeInvalidRequest, mcp.CodeParse:
		return fault.Invalid
	case mcp.CodeMethodNotFound:
		return fault.Unsupported
	case mcp.CodeResourceNotFound:
		return fault.NotFound
	}
	return fault.Internal
}

// kindOf is the kind of an HTTP status.
func kindOf(status int) fault.Kind {
	switch status {
	case http.StatusBadRequest:
		return fault.Invalid
	case http.StatusUnauthorized:
		return fault.Unauthenticated
	case http.StatusForbidden:
		return fault.Forbidden
	case http.StatusNotFound:
		return fault.NotFound
	case http.StatusMethodNotAllowed:
		return fault.MethodNotAllowed
	case http.StatusRequestEntityTooLarge:
		return fault.TooLarge
	case http.StatusTooManyRequests:
		return fault.Quota
	case http.StatusServiceUnavailable:
		return fault.Unavailable
	case http.StatusBadGateway:
		return fault.Unreachable
	case http.StatusGatewayTimeout:
		return fault.Timeout
	}
	return fault.Internal
}
