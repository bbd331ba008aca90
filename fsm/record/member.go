package record

import (
	"slices"
	"strings"
)

// A Member is what every node tells the others of itself, written by the node's
// own process at each start and when it changes. Who votes is not here but in
// the Raft configuration; a member that left has no record.
type Member struct {
	Node      string  `cbor:"1,keyasint"`
	Disk      ID      `cbor:"2,keyasint"` // of its data directory
	Process   ID      `cbor:"3,keyasint"` // of its current start
	PeerAddr  string  `cbor:"4,keyasint"` // host:port
	AdminAddr string  `cbor:"5,keyasint,omitempty"`
	MCPAddr   string  `cbor:"6,keyasint,omitempty"`
	Binary    string  `cbor:"7,keyasint,omitempty"`  // version of the binary, for people
	Supports  uint32  `cbor:"8,keyasint"`            // highest cluster version it can live with
	Started   LogTime `cbor:"9,keyasint,omitempty"`  // set when applied
	Revision  uint64  `cbor:"10,keyasint,omitempty"` // set when applied

	Commands []string `cbor:"11,keyasint,omitempty"` // names of the commands that it can run as stdio upstreams, sorted
}

// MaxCommands is how many commands a node may offer.
const MaxCommands = 256

// Offers reports whether the node can run the command of that name.
func (m *Member) Offers(command string) bool {
	_, ok := slices.BinarySearch(m.Commands, command)
	return ok
}

// Validate reports every mistake of m.
func (m *Member) Validate() error {
	p := problems{noun: "member"}
	p.name("node", m.Node, MaxName)
	if m.Disk.IsZero() {
		p.add("disk", "is missing")
	}
	if m.Process.IsZero() {
		p.add("process", "is missing")
	}
	p.text("peer_addr", m.PeerAddr, 256, true)
	p.text("admin_addr", m.AdminAddr, 256, false)
	p.text("mcp_addr", m.MCPAddr, 256, false)
	p.text("binary", m.Binary, 64, false)
	if len(m.Commands) > MaxCommands {
		p.add("commands", "are %d, the limit is %d", len(m.Commands), MaxCommands)
		return p.err()
	}
	if !slices.IsSorted(m.Commands) {
		p.add("commands", "are not sorted")
	}
	for _, name := range m.Commands {
		p.reference("commands", name)
	}
	return p.err()
}

// A Claim is exclusive ownership of a name by one process. Token is its fencing
// token: the revision at which it was acquired, larger than that of any earlier
// holder. A holder shows it with every act that must not happen twice.
type Claim struct {
	Name     string  `cbor:"1,keyasint"` // path-like text of at most MaxKey bytes: "archiver", "stdio/github/0"
	Node     string  `cbor:"2,keyasint"`
	Process  ID      `cbor:"3,keyasint"`
	Acquired LogTime `cbor:"4,keyasint,omitempty"` // set when applied
	Token    uint64  `cbor:"5,keyasint,omitempty"` // set when applied
}

// Validate reports every mistake of c.
func (c *Claim) Validate() error {
	p := problems{noun: "claim"}
	p.text("name", c.Name, MaxKey, true)
	p.name("node", c.Node, MaxName)
	if c.Process.IsZero() {
		p.add("process", "is missing")
	}
	return p.err()
}

// ChildPrefix is that of the claims on child processes of stdio upstreams:
// stdio/ALIAS/SLOT.
const ChildPrefix = "stdio/"

// ChildClaim is the name of the claim on one child of an upstream. Slots of
// children that all callers share are numbers, others begin with a letter.
func ChildClaim(alias, slot string) string { return ChildPrefix + alias + "/" + slot }

// ParseChildClaim is the reverse of ChildClaim.
func ParseChildClaim(name string) (alias, slot string, ok bool) {
	rest, ok := strings.CutPrefix(name, ChildPrefix)
	if !ok {
		return "", "", false
	}
	alias, slot, ok = strings.Cut(rest, "/")
	return alias, slot, ok && slot != ""
}

// SharedSlot reports whether all callers share the child of that slot.
func SharedSlot(slot string) bool { return slot != "" && slot[0] >= '0' && slot[0] <= '9' }
