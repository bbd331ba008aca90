package upstream_test

import (
	"os"
	"path/filepath"
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
