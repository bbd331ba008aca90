package front

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/server/mcp"
)

// Labels of messages that are no request, and of requests with methods that are
// not in labels: a client does not get to name a metric.
const (
	labelBatch        = "batch"
	labelNotification = "notification"
	labelAnswer       = "answer"
	labelOther        = "other"
)

var labels = []string{
	"GET", "POST", "DELETE", "OPTIONS",
	labelBatch, labelNotification, labelAnswer, labelOther,
	mcp.Initialize, mcp.Ping, mcp.Discover,
	mcp.ToolsList, mcp.ToolsCall,
	mcp.ResourcesList, mcp.TemplatesList, mcp.ResourcesRead,
	mcp.ResourcesSub, mcp.ResourcesUnsub,
	mcp.PromptsList, mcp.PromptsGet,
	mcp.Complete, mcp.SetLevel, mcp.SubscriptionsListen,
}

var known = func() map[string]bool {
	m := make(map[string]bool)
	for _, label := range labels {
		m[label] = true
	}
	return m
}()

// labelOf is what a message is counted as.
func labelOf(m *mcp.Message) string {
	switch m.Kind() {
	case mcp.KindRequest:
		if method := m.Method(); known[method] {
			return method
		}
		return labelOther
	case mcp.KindNotification:
		return labelNotification
	default:
		return labelAnswer
	}
}

// classes are the status classes that the front answers with.
var classes = []int{2, 4, 5}

// metrics are resolved beforehand: a request costs three additions.
type metrics struct {
	requests       map[string]*[6]prometheus.Counter // by label, then by class of the status, see classes
	received, sent prometheus.Counter
	messages       rate // bodies that were read
}

func newMetrics(r prometheus.Registerer, f *Front) *metrics {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mcpraft_mcp_requests_total",
		Help: "Requests of the MCP port, by method of the message (else of HTTP) and class of the HTTP status.",
	}, []string{"method", "class"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mcpraft_mcp_bytes_total",
		Help: "Bytes of bodies of the MCP port, by direction.",
	}, []string{"direction"})
	m := &metrics{
		requests: make(map[string]*[6]prometheus.Counter, len(labels)),
		received: bytes.WithLabelValues("in"),
		sent:     bytes.WithLabelValues("out"),
	}
	for _, label := range labels {
		m.requests[label] = new([6]prometheus.Counter)
		for _, class := range classes {
			m.requests[label][class] = requests.WithLabelValues(label, strconv.Itoa(class)+"xx")
		}
	}
	if r != nil {
		r.MustRegister(requests, bytes,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "mcpraft_mcp_streams_open",
				Help: "Event streams that the MCP port holds open.",
			}, func() float64 { return float64(f.streams.count()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "mcpraft_mcp_requests_running",
				Help: "Requests that the MCP port works on, GET streams apart.",
			}, func() float64 { return float64(len(f.slots)) }))
	}
	return m
}

// count notes a visit that is over.
func (m *metrics) count(v *visit) {
	byClass := m.requests[v.label]
	if byClass == nil { // a method of HTTP that is none of MCP's
		byClass = m.requests[labelOther]
	}
	class := v.status / 100
	if !slices.Contains(classes, class) {
		class = 5 // nothing was answered: the client left, or a handler broke
	}
	byClass[class].Inc()
	if v.received > 0 {
		m.messages.mark(time.Now())
	}
	m.received.Add(float64(v.received))
	m.sent.Add(float64(v.sent))
}
