package upstream

import (
	"fmt"
	"net/netip"
	"syscall"
)

// A Guard decides which addresses may be dialled. It looks at the address that
// the kernel is about to connect to, after names are resolved, so that no
// answer of a name server can lead around it.
//
// Link-local and metadata addresses, multicast, unspecified and reserved ones
// are refused always. Private and loopback addresses are refused unless
// AllowPrivate is set. IPv4 addresses inside IPv6 ones (mapped, NAT64, 6to4)
// count as what they lead to.
type Guard struct {
	AllowPrivate bool
}

// never holds what no upstream has: addresses that speak for the machine or the
// cloud it runs in, and addresses that nobody has.
var never = prefixes(
	"0.0.0.0/8",          // "this host", which connects to loopback
	"169.254.0.0/16",     // link-local, metadata of most clouds
	"192.0.0.0/24",       // protocol assignments, metadata of some clouds
	"100.100.100.200/32", // metadata of Alibaba Cloud
	"168.63.129.16/32",   // wire server of Azure
	"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",
	"198.18.0.0/15",
	"224.0.0.0/4", "240.0.0.0/4",
	"::/128",
	"fe80::/10",
	"fd00:ec2::254/128",         // metadata of AWS
	"fd20:ce::254/128",          // metadata of Google Cloud
	"2001::/32",                 // Teredo: leads to any IPv4 address
	"2001:db8::/32", "100::/64", // documentation, discard
	"64:ff9b:1::/48", // local NAT64: leads anywhere
	"ff00::/8",
)

// private holds what is inside somebody's network.
var private = prefixes(
	"127.0.0.0/8", "::1/128",
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
	"100.64.0.0/10", // carrier-grade NAT, also overlay networks
	"fc00::/7", "fec0::/10",
)

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
	compat    = netip.MustParsePrefix("::/96") // deprecated, but some stacks still take it
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// A RefusedAddressError says that an address may not be dialled.
type RefusedAddressError struct {
	Addr    netip.Addr
	Private bool // AllowPrivate would permit it
}

func (e *RefusedAddressError) Error() string {
	if e.Private {
		return fmt.Sprintf("address %v is private, and upstreams.allow_private is off", e.Addr)
	}
	return fmt.Sprintf("address %v is never dialled", e.Addr)
}

// Permit reports why addr may not be dialled, as a *RefusedAddressError, or nil.
func (g Guard) Permit(addr netip.Addr) error {
	plain := effective(addr)
	for _, p := range never {
		if p.Contains(plain) {
			return &RefusedAddressError{Addr: addr}
		}
	}
	if g.AllowPrivate {
		return nil
	}
	for _, p := range private {
		if p.Contains(plain) {
			return &RefusedAddressError{Addr: addr, Private: true}
		}
	}
	return nil
}

// effective is the address that packets to addr end up at.
func effective(addr netip.Addr) netip.Addr {
	addr = addr.WithZone("").Unmap()
	if addr.Is4() {
		return addr
	}
	b := addr.As16()
	switch {
	case addr.IsLoopback() || addr.IsUnspecified():
		return addr
	case nat64.Contains(addr) || compat.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return addr
}

// Control is for net.Dialer.Control: it is called between making a socket and
// connecting it.
func (g Guard) Control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dialling: %w", err)
	}
	return g.Permit(ap.Addr())
}
