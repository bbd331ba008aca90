package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

func TestQuotedWordIsOneWordOfAShell(t *testing.T) {
	for _, word := range []string{"", "plain", "http://10.0.0.5/mcp", "two words", "it's", `"$HOME" \ *`, "a;b", "-x", "~", "naïve"} {
		out, err := exec.Command("sh", "-c", `printf %s `+shellQuote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("shellQuote(%q) = %s, which a shell reads as %q (%v)", word, shellQuote(word), out, err)
		}
	}
}

func TestLoopbackAddressIsOfUseOnThisMachineOnly(t *testing.T) {
	here := target{Addresses: []string{"127.0.0.1:7441"}}
	away := target{Addresses: []string{"https://node-1.example:7441"}}
	for _, addr := range []string{"127.0.0.1:7461", "[::1]:7461", "localhost:7461", "http://127.0.0.1:7461"} {
		if !here.reaches(addr) || away.reaches(addr) {
			t.Errorf("%s: from here %v, from away %v, want true and false", addr, here.reaches(addr), away.reaches(addr))
		}
	}
	if !away.reaches("10.0.0.4:7441") {
		t.Error("10.0.0.4 is not reached from away")
	}
}

func TestRemovalKeepsAMajorityOfReadyVoters(t *testing.T) {
	voter := func(node, state string) memberView { return memberView{Node: node, Voter: true, State: state} }
	replica := memberView{Node: "r", State: memberReady}
	for _, test := range []struct {
		name    string
		members []memberView
		node    string
		want    fault.Kind
	}{
		{"of three ready", []memberView{voter("a", memberReady), voter("b", memberReady), voter("c", memberReady)}, "a", 0},
		{"a dead one of three", []memberView{voter("a", memberReady), voter("b", memberReady), voter("c", memberUnreachable)}, "c", 0},
		{"a live one of two live and a dead", []memberView{voter("a", memberReady), voter("b", memberReady), voter("c", memberUnreachable)}, "a", fault.Conflict},
		{"when the others were not asked", []memberView{voter("a", memberReady), voter("b", memberNotAsked), voter("c", memberNotAsked)}, "a", fault.Conflict},
		{"the only one", []memberView{voter("a", memberReady), replica}, "a", fault.Conflict},
		{"a replica", []memberView{voter("a", memberReady), voter("b", memberUnreachable), replica}, "r", 0},
		{"a stranger", []memberView{voter("a", memberReady)}, "x", fault.NotFound},
	} {
		view := clusterView{Members: test.members}
		if got := fault.Of(view.quorumWithout(test.node)); got != test.want {
			t.Errorf("removing %s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestAgesAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 30 * time.Second: "30s", time.Minute: "1m", 90 * time.Minute: "1h", 47 * time.Hour: "47h", 49 * time.Hour: "2d",
	} {
		if got := ago(adminapi.TimeOf(time.Now().Add(-d))); got != want {
			t.Errorf("ago(%v) = %s, want %s", d, got, want)
		}
	}
	if got := ago(0); got != "" {
		t.Errorf("ago of nothing = %q", got)
	}
}

// A node that says so of an upstream was reached.
func TestHintToStartAClusterIsForNodesOnly(t *testing.T) {
	local := target{Addresses: []string{defaultAddr}}
	nobody := fault.New(fault.Unreachable, "no node answers")
	if err := fault.As(local.explain(nobody)); !strings.Contains(err.Hint, "mcpraft dev") {
		t.Errorf("when no node answers the hint is %q", err.Hint)
	}
	upstream := fault.New(fault.Unreachable, "upstream \"x\" cannot be reached").WithDetail("code", "-32603")
	if err := fault.As(local.explain(upstream)); err.Hint != "" {
		t.Errorf("when an upstream cannot be reached the hint is %q", err.Hint)
	}
}
