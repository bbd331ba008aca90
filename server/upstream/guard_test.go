package upstream_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

func TestGuardRefusesAddressesByWhereTheyLead(t *testing.T) {
	never := []string{
		"169.254.169.254", "169.254.0.1", "0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.1", "240.0.0.1",
		"100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "192.0.2.1",
		"::", "fe80::1", "fe80::1%eth0", "ff02::1", "fd00:ec2::254", "fd20:ce::254", "2001:db8::1", "2001:0:1::",
		"::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::169.254.169.254",
	}
	private := []string{
		"127.0.0.1", "127.8.8.8", "::1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fc00::1", "fd12::1", "fec0::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1",
	}
	public := []string{"1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"}
	check := func(list []string, permitted, permittedPrivate bool) {
		for _, s := range list {
			addr := netip.MustParseAddr(s)
			if err := (upstream.Guard{}).Permit(addr); (err == nil) != permitted {
				t.Errorf("%s: %v", s, err)
			}
			err := upstream.Guard{AllowPrivate: true}.Permit(addr)
			if (err == nil) != permittedPrivate {
				t.Errorf("%s with private addresses allowed: %v", s, err)
			}
		}
	}
	check(never, false, false)
	check(private, false, true)
	check(public, true, true)
}

// The dialler itself asks the guard: nothing is listening there, and nothing is
// tried.
func TestPrivateAddressIsNotDialledUnlessAllowed(t *testing.T) {
	for _, target := range []string{"http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/", "http://169.254.169.254/latest", "http://[::ffff:169.254.169.254]/"} {
		ups := upstream.New(upstream.Config{Lookup: func(string) (record.Upstream, error) {
			return record.Upstream{Alias: "up", Transport: "http", URL: target, Revision: 1}, nil
		}})
		_, err := ups.Call(t.Context(), "up", user("a"), mcp.Request("1", "tools/list", nil), nil)
		if fault.Of(err) != fault.Unreachable {
			t.Errorf("%s: %v", target, err)
		}
		if _, ok := errors.AsType[*upstream.RefusedAddressError](err); !ok {
			t.Errorf("%s: %v", target, err)
		}
	}
}
