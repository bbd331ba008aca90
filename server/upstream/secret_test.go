package upstream_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/upstream"
)

func TestSecretsRefuseHeadersOfTheProtocol(t *testing.T) {
	for _, header := range []string{"mcp-session-id", "Mcp-Param-X", "host", "content-length", "Transfer-Encoding", "x y", "x\r\ny", "accept"} {
		if _, err := upstream.NewSecrets(map[string]upstream.Secret{"s": {File: "f", Header: header}}); err == nil {
			t.Errorf("%q was taken", header)
		}
	}
	if _, err := upstream.NewSecrets(map[string]upstream.Secret{"a": {}, "b": {File: "f", Scheme: "a\nb"}}); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("not every mistake is reported: %v", err)
	}
}

func TestSecretThatCannotBeUsedIsNamedAndNeverShown(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, path := range []string{
		file("open", "topsecret", 0o644), file("empty", " \n", 0o600), file("lines", "topsecret\nmore", 0o600),
		file("long", strings.Repeat("topsecret", 4000), 0o600), filepath.Join(dir, "missing"),
	} {
		secrets, err := upstream.NewSecrets(map[string]upstream.Secret{"s": {File: path}})
		if err != nil {
			t.Fatal(err)
		}
		inBubble(t, legacy(), func(b *bed) {
			b.change(func(r *record.Upstream) { r.SecretRef = "s" })
			_, err := b.call(user("a"), nil)
			b.wantFault(err, fault.Unavailable, `"s"`)
			if strings.Contains(err.Error(), "topsecret") {
				b.Errorf("the error shows the secret: %v", err)
			}
			b.wantSeen("tools/call", 0)
		}, func(c *upstream.Config) { c.Secrets = secrets })
	}
}

// keys are credentials of the cluster: key-1, and key-2 once that was refused.
type keys struct{ refused []string }

func (k *keys) Get(context.Context, string) (header, value string, err error) {
	return "X-Key", fmt.Sprintf("key-%d", len(k.refused)+1), nil
}

func (k *keys) Refused(_, header, value string) bool {
	k.refused = append(k.refused, header+" "+value)
	return len(k.refused) < 2
}

func TestRefusedCredentialIsReplacedAndTheRequestSentAgain(t *testing.T) {
	for _, f := range []*fake{legacy(), modern()} {
		opening := "initialize"
		if f.modern {
			opening = "server/discover"
		}
		for _, what := range []string{opening, "tools/call"} {
			shown := &keys{}
			f.script(what, func(h *hit) {
				if h.in.Header.Get("X-Key") != "key-2" {
					h.WriteHeader(http.StatusUnauthorized)
					return
				}
				h.behave()
			})
			inBubble(t, f, func(b *bed) {
				b.change(func(r *record.Upstream) { r.Credential = "c" })
				if _, err := b.call(user("a"), nil); err != nil {
					b.Errorf("%s: %v", what, err)
				}
				if !slices.Equal(shown.refused, []string{"X-Key key-1"}) {
					b.Errorf("%s: refused were %q", what, shown.refused)
				}
			}, func(c *upstream.Config) { c.Credentials = shown })
			f.script(what, nil)
		}
	}
}
