package mcp

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestFromFaultTellsTheClientNoCause(t *testing.T) {
	cause := errors.New("password=hunter2")
	err := fmt.Errorf("routing: %w", fault.New(fault.Unreachable, "the upstream db does not answer: %w", cause).WithHint("try later").WithDetail("upstream", "db"))
	got := string(Failed("1", FromFault(err, "req-1")).Bytes())
	want := `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"the upstream db does not answer; try later","data":{"details":{"upstream":"db"},"request_id":"req-1","gateway":{"reason":"unreachable","retryable":true}}}}`
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	e := &Error{Code: CodeResourceNotFound, Message: "m"}
	if FromFault(fmt.Errorf("x: %w", e), "req") != e {
		t.Error("an error of the protocol was replaced")
	}
	if got := FromFault(cause, "req"); got.Message != "internal error; the node's log has the details under this request id" {
		t.Errorf("a foreign error says %q", got.Message)
	}
}
