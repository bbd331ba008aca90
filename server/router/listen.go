package router

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// A filter is what a subscriptions/listen asks for, or is granted.
type filter struct {
	Tools     bool     `json:"toolsListChanged,omitzero"`
	Prompts   bool     `json:"promptsListChanged,omitzero"`
	Resources bool     `json:"resourcesListChanged,omitzero"`
	URIs      []string `json:"resourceSubscriptions,omitzero"`
}

// filterOf reads params.notifications.
func filterOf(c *claim, capabilities mcp.ClientCapabilities) (filter, *mcp.Error) {
	raw := object(mcp.Field(c.params, "notifications"))
	if raw == nil {
		return filter{}, invalidParams("params.notifications of %s is missing or not an object", mcp.SubscriptionsListen)
	}
	if tasks := mcp.Field(raw, "taskIds"); len(tasks) > 0 && tasks[0] == '[' && capabilities.Extensions[mcp.ExtensionTasks] == nil {
		required := mcp.WithField(nil, []byte("{}"), "extensions", mcp.ExtensionTasks)
		return filter{}, mcp.MissingCapability(required)
	}
	is := func(name string) bool { return string(mcp.Field(raw, name)) == "true" }
	f := filter{Tools: is("toolsListChanged"), Prompts: is("promptsListChanged"), Resources: is("resourcesListChanged")}
	for element := range strictjson.Elements(mcp.Field(raw, "resourceSubscriptions")) {
		uri, ok := mcp.Text(element)
		switch {
		case !ok:
			return filter{}, invalidParams("params.notifications.resourceSubscriptions has something that is not a string")
		case len(f.URIs) == record.MaxSubscriptions:
			return filter{}, invalidParams("params.notifications.resourceSubscriptions has more than %d URIs", record.MaxSubscriptions)
		}
		f.URIs = append(f.URIs, uri)
	}
	slices.Sort(f.URIs)
	f.URIs = slices.Compact(f.URIs)
	return f, nil
}

// granted is the part of f that an upstream with these capabilities can honour.
func (f filter) granted(capabilities []byte) filter {
	has := func(path ...string) bool { return string(mcp.Field(capabilities, path...)) == "true" }
	g := filter{
		Tools:     f.Tools && has("tools", "listChanged"),
		Prompts:   f.Prompts && has("prompts", "listChanged"),
		Resources: f.Resources && has("resources", "listChanged"),
	}
	if has("resources", "subscribe") {
		g.URIs = f.URIs
	}
	return g
}

func (f filter) nothing() bool { return !f.Tools && !f.Prompts && !f.Resources && len(f.URIs) == 0 }

// takes reports whether a notification was asked for.
func (f filter) takes(m *mcp.Message) bool {
	switch m.Method() {
	case mcp.ToolsListChanged:
		return f.Tools
	case mcp.PromptsListChanged:
		return f.Prompts
	case mcp.ResourcesListChanged:
		return f.Resources
	case mcp.ResourceUpdated:
		uri, _ := mcp.Text(mcp.Field(m.Params(), "uri"))
		return covers(f.URIs, uri)
	default:
		return false
	}
}

// missed are the notifications that f takes of what may have happened in a gap.
func (f filter) missed() []*mcp.Message {
	return slices.DeleteFunc(missed(f.URIs), func(m *mcp.Message) bool { return !f.takes(m) })
}

// beginWait is how long the acknowledgement waits for the upstream's own stream: who
// has it may change something at once and expect to hear of it.
const beginWait = 3 * time.Second

// A subscription is one subscriptions/listen at work.
type subscription struct {
	id     []byte // JSON-RPC id of the request, which every message names
	filter filter
	stream exchange.Stream
	once   sync.Once // guards the acknowledgement
}

// errDraining is why a subscription ends that the node has no time for any more.
var errDraining = errors.New("the node is about to stop")

// subscribe serves subscriptions/listen: it acknowledges what will be told, as soon
// as the upstream tells it to us or beginWait has passed, tells it until the client is gone, and ends with a result when the node is about to
// stop.
func (r *Router) subscribe(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim, caller upstream.Caller, s exchange.Stream) (exchange.Answer, error) {
	if q.JSONOnly {
		return refuse(q, m, invalidRequest("%s is answered by an event stream: Accept must list text/event-stream", m.Method())), nil
	}
	asked, e := filterOf(c, mcp.ParseClientCapabilities(caller.Capabilities))
	if e != nil {
		return refuse(q, m, e), nil
	}
	p, err := r.profile(ctx, q.Alias, caller)
	if err != nil {
		return r.notCalled(q, m, err)
	}
	caller.Capabilities = declared(caller.Capabilities, eras{client: mcp.V20260728, upstream: p.version})
	sub := &subscription{id: []byte(m.ID()), filter: asked.granted(mcp.Field(p.initialize, "capabilities")), stream: s}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.draining, func() { cancel(errDraining) })()
	if err := r.listen(ctx, q.Alias, caller, sub); err != nil && context.Cause(ctx) != errDraining {
		return r.notCalled(q, m, err)
	}
	sub.acknowledge()
	return exchange.Answer{Message: sub.end(m)}, nil
}

// listen tells the client what the upstream tells, until ctx ends.
func (r *Router) listen(ctx context.Context, alias string, caller upstream.Caller, sub *subscription) error {
	if sub.filter.nothing() {
		sub.acknowledge()
		<-ctx.Done()
		return context.Cause(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	var late sync.WaitGroup
	defer late.Wait()
	defer stop()
	late.Go(func() {
		if pause(ctx, beginWait) == nil {
			sub.acknowledge()
		}
	})
	watch := upstream.Watch{
		Tools: sub.filter.Tools, Prompts: sub.filter.Prompts, Resources: sub.filter.Resources, URIs: sub.filter.URIs,
		Missed: func() {
			for _, m := range sub.filter.missed() {
				sub.tell(m)
			}
		},
		Begun: sub.acknowledge,
	}
	return r.upstreams.Listen(ctx, alias, caller, watch, func(m *mcp.Message) {
		if sub.filter.takes(m) {
			sub.tell(m)
		}
	})
}

// acknowledge is the first that the client hears, once.
func (s *subscription) acknowledge() {
	s.once.Do(func() {
		m := mcp.Notification(mcp.Acknowledged, mcp.WithField(nil, marshal(s.filter), "notifications"))
		_ = s.stream.Send(sse.Event{Data: s.named(m).Bytes()}) // the client is gone: so will ctx be
	})
}

func (s *subscription) tell(m *mcp.Message) {
	s.acknowledge()
	_ = s.stream.Send(sse.Event{Data: s.named(m).Bytes()}) // the client is gone: so will ctx be
}

// named is a notification with the id of the subscription.
func (s *subscription) named(m *mcp.Message) *mcp.Message {
	return m.WithParams(mcp.WithField(m.Params(), s.id, "_meta", mcp.MetaSubscriptionID))
}

// end is the result of a subscription that ends in order.
func (s *subscription) end(m *mcp.Message) *mcp.Message {
	result := mcp.WithField([]byte(`{"resultType":"complete"}`), s.id, "_meta", mcp.MetaSubscriptionID)
	return mcp.Answer(m.ID(), result)
}
