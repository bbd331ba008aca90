package admin

import (
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

func TestSecretsThatFitInNoHeaderAreRefusedAndNotRepeated(t *testing.T) {
	for want, c := range map[string]adminapi.NewCredential{
		"missing":            {Secret: " "},
		"limit is 16384":     {Secret: strings.Repeat("hush", 5000)},
		"at byte 4":          {Secret: "hush\nX-Other: 1"},
		"the protocol's own": {Secret: "hush", CredentialSpec: adminapi.CredentialSpec{Header: "Mcp-Session-Id"}},
		"no name of":         {Secret: "hush", CredentialSpec: adminapi.CredentialSpec{Header: "a b"}},
	} {
		err := validSecret(&adminapi.PutCredentialRequest{Name: "c", NewCredential: c})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%+v: %v, want %q", c.CredentialSpec, err, want)
		}
		if k := fault.Of(err); k != fault.Invalid && k != fault.TooLarge {
			t.Errorf("kind %v", k)
		}
	}
}
