package workload

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/test/model"
)

// What an answer of the MCP port says of a request.
func TestAnswersOfTheMCPPortHaveTheFateThatTheyPromise(t *testing.T) {
	const reason = `{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"m","data":{"gateway":{"reason":"REASON"}}}}`
	for _, c := range []struct {
		status int
		body   string
		want   model.Fate
	}{
		{http.StatusNotFound, "", model.Rejected},
		{http.StatusMethodNotAllowed, "", model.Rejected},
		{http.StatusServiceUnavailable, "", model.Refused},
		{http.StatusTooManyRequests, "", model.Refused},
		{http.StatusServiceUnavailable, strings.ReplaceAll(reason, "REASON", "overloaded"), model.Refused},
		{http.StatusGatewayTimeout, "", model.Unsettled},
		{http.StatusBadGateway, strings.ReplaceAll(reason, "REASON", "outcome_unknown"), model.Unsettled},
		{http.StatusUnauthorized, "", model.Defective},
		{http.StatusInternalServerError, "", model.Defective},
	} {
		err := statusFault(&http.Response{StatusCode: c.status}, []byte(c.body))
		if got := model.FateOf(fault.Of(err)); got != c.want {
			t.Errorf("%d %s: %v, want %v", c.status, c.body, got, c.want)
		}
	}
	for body, want := range map[string]model.Fate{
		strings.ReplaceAll(reason, "REASON", nodeLost):               model.Unsettled,
		strings.ReplaceAll(reason, "REASON", "outcome_unknown"):      model.Unsettled,
		strings.ReplaceAll(reason, "REASON", "timeout"):              model.Unsettled,
		strings.ReplaceAll(reason, "REASON", "unavailable"):          model.Refused,
		strings.ReplaceAll(reason, "REASON", "internal"):             model.Defective,
		`{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"x"}}`: model.Defective,
		`{"jsonrpc":"2.0","id":7}`:                                   model.Defective,
	} {
		var m message
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		if got := model.FateOf(fault.Of(m.fault())); got != want {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
}

func TestEventsAreReadOneByOne(t *testing.T) {
	const text = ": open\n\nid: 1\ndata:\n\nid: 2\ndata: {\"method\":\"notifications/progress\",\"params\":{\"progress\":4}}\n\ndata: {\"id\":7,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"t\"}]}}\n\n"
	var ids []string
	var progress float64
	var result strings.Builder
	for e, err := range events(strings.NewReader(text)) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.id)
		progress += e.message.Params.Progress
		result.WriteString(e.message.text())
	}
	if strings.Join(ids, ",") != ",1,2," || progress != 4 || result.String() != "t" {
		t.Errorf("ids %q, progress %v, result %q", ids, progress, result.String())
	}
}

func TestAFencedStoreTakesNoOlderToken(t *testing.T) {
	f := NewFenced()
	for _, step := range []struct {
		token uint64
		want  bool
	}{{5, true}, {5, true}, {4, false}, {9, true}, {5, false}} {
		if got := f.write("a", step.token); got != step.want {
			t.Errorf("token %d: %v, want %v", step.token, got, step.want)
		}
	}
	if !f.write("b", 1) {
		t.Error("another name has tokens of its own")
	}
}
