// Command client performs the client scenarios of the official conformance suite
// through server/upstream, so that the suite judges how the gateway behaves
// towards its upstreams. The suite starts it once for each scenario:
//
//	MCP_CONFORMANCE_SCENARIO=http-custom-headers MCP_CONFORMANCE_CONTEXT='{…}' client http://localhost:1234
//
// It exits with 0 when the scenario was carried out; whether it was passed is for
// the suite to say.
package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"os/signal"
	"strconv"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

const alias = "suite"

// scenarios are what the suite can ask for.
var scenarios = map[string]func(context.Context, *client) error{
	"initialize":                open,
	"tools_call":                callListed,
	"http-standard-headers":     everything,
	"http-custom-headers":       callFromContext,
	"http-invalid-tool-headers": callListed,
	"sse-retry":                 callListed,
	"request-metadata":          callListed,
	"json-schema-ref-no-deref":  list,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Getenv("MCP_CONFORMANCE_SCENARIO"), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, scenario string, args []string) error {
	perform := scenarios[scenario]
	if perform == nil {
		return fmt.Errorf("scenario %q is not one that this client knows", scenario)
	}
	if len(args) < 2 {
		return errors.New("usage: client URL")
	}
	rec := record.Upstream{Alias: alias, Transport: record.TransportHTTP, URL: args[len(args)-1], Revision: 1}
	ups := upstream.New(upstream.Config{
		Lookup:       func(string) (record.Upstream, error) { return rec, nil },
		AllowPrivate: true, // the suite listens on loopback
		Name:         "mcpraft-conformance",
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	ctx, cancel := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- ups.Run(ctx) }()
	defer func() { cancel(); <-ran }() //nolint:errcheck // what it says after its end
	c := &client{ups: ups, caller: upstream.Caller{
		Principal:    record.Principal{Issuer: "conformance", Subject: "suite"},
		Session:      "1",
		Capabilities: []byte(`{"roots":{},"sampling":{},"elicitation":{}}`),
	}}
	defer ups.Close(context.WithoutCancel(ctx), alias, c.caller)
	return perform(ctx, c)
}

// A client is a caller with one session.
type client struct {
	ups    *upstream.Upstreams
	caller upstream.Caller
	sent   int64
}

// call sends a request; params may be nil. An error of the server is an error.
func (c *client) call(ctx context.Context, method string, params []byte) ([]byte, error) {
	c.sent++
	answer, err := c.ups.Call(ctx, alias, c.caller, mcp.Request(mcp.NumberID(c.sent), method, params), polite{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	if answer.Kind() == mcp.KindFailure {
		return nil, fmt.Errorf("%s: %w", method, answer.Err())
	}
	return answer.Result(), nil
}

// polite is what a client says that has nobody to ask.
type polite struct{}

func (polite) Notification(*mcp.Message)         {}
func (polite) Progressed(string, string, mcp.ID) {}

func (polite) Ask(_ context.Context, m *mcp.Message) (*mcp.Message, error) {
	switch m.Method() {
	case mcp.ElicitationCreate:
		return mcp.Answer(m.ID(), []byte(`{"action":"decline"}`)), nil
	case mcp.RootsList:
		return mcp.Answer(m.ID(), []byte(`{"roots":[]}`)), nil
	default:
		return nil, &mcp.Error{Code: mcp.CodeDeclined, Message: "declined"}
	}
}

func open(ctx context.Context, c *client) error {
	_, err := c.ups.Open(ctx, alias, c.caller)
	return err
}

// listed gives the items that a list method answers with.
func (c *client) listed(ctx context.Context, method, member string) (iter.Seq[[]byte], error) {
	result, err := c.call(ctx, method, nil)
	if err != nil {
		return nil, err
	}
	return strictjson.Elements(mcp.Field(result, member)), nil
}

func list(ctx context.Context, c *client) error {
	_, err := c.call(ctx, mcp.ToolsList, nil)
	return err
}

// callListed calls every tool that is listed, with an argument for each property
// that its schema requires.
func callListed(ctx context.Context, c *client) error {
	if err := open(ctx, c); err != nil {
		return err
	}
	tools, err := c.listed(ctx, mcp.ToolsList, "tools")
	if err != nil {
		return err
	}
	for tool := range tools {
		params := mcp.WithField(nil, mcp.Field(tool, "name"), "name")
		params = mcp.WithField(params, arguments(mcp.Field(tool, "inputSchema")), "arguments")
		if _, err := c.call(ctx, mcp.ToolsCall, params); err != nil {
			return err
		}
	}
	return nil
}

// arguments makes a value for each required property.
func arguments(schema []byte) []byte {
	made := []byte("{}")
	n := 0
	for name := range strictjson.Elements(mcp.Field(schema, "required")) {
		property, _ := mcp.Text(name)
		kind, _ := mcp.Text(mcp.Field(schema, "properties", property, "type"))
		n++
		value := mcp.Quote("value " + strconv.Itoa(n))
		switch kind {
		case "integer", "number":
			value = strconv.AppendInt(nil, int64(n), 10)
		case "boolean":
			value = []byte("true")
		}
		made = mcp.WithField(made, value, property)
	}
	return made
}

// callFromContext lists the tools and makes the calls that the suite wants.
func callFromContext(ctx context.Context, c *client) error {
	if _, err := c.call(ctx, mcp.ToolsList, nil); err != nil {
		return err
	}
	wanted := mcp.Field([]byte(os.Getenv("MCP_CONFORMANCE_CONTEXT")), "toolCalls")
	for call := range strictjson.Elements(wanted) {
		params := mcp.WithField(nil, mcp.Field(call, "name"), "name")
		params = mcp.WithField(params, mcp.Field(call, "arguments"), "arguments")
		if _, err := c.call(ctx, mcp.ToolsCall, params); err != nil {
			return err
		}
	}
	return nil
}

// everything lists tools, resources and prompts, and uses each of them once.
func everything(ctx context.Context, c *client) error {
	if err := callListed(ctx, c); err != nil {
		return err
	}
	for _, kind := range []struct{ list, member, use, key string }{
		{mcp.ResourcesList, "resources", mcp.ResourcesRead, "uri"},
		{mcp.PromptsList, "prompts", mcp.PromptsGet, "name"},
	} {
		items, err := c.listed(ctx, kind.list, kind.member)
		if err != nil {
			return err
		}
		for item := range items {
			params := mcp.WithField(nil, mcp.Field(item, kind.key), kind.key)
			if _, err := c.call(ctx, kind.use, params); err != nil {
				return err
			}
		}
	}
	return nil
}
