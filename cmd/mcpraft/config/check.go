package config

import (
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// check adds what is wrong between the values, or with a value in a way that its
// type does not know.
func (l *loader) check() {
	if l.unread {
		return // what is missing may stand in that file
	}
	l.checkNode()
	l.checkListen()
	l.checkProfiles()
	l.checkCluster()
	l.checkAuth()
	l.checkGateway()
	l.checkSessions()
	l.checkBackup()
	l.checkPITR()
}

// wrong adds a problem of a value, at the place that gave it. A value that could
// not be taken has its problem already.
func (l *loader) wrong(path, hint, format string, args ...any) {
	if !l.suspect[path] {
		l.add(originOf(l.origins, path), hint, path+": "+format, args...)
	}
}

// missing adds that path is empty and why it must not be, at its place or else at
// that of the reason. Beside an unknown key it adds nothing: that was probably
// meant.
func (l *loader) missing(path, reason, hint, format string, args ...any) {
	if _, given := l.origins[path]; given {
		reason = path
	}
	if !l.suspect[path] && !l.suspect[parent(path)] && !l.suspect[reason] {
		l.add(originOf(l.origins, reason), hint, path+" is missing: "+format, args...)
	}
}

// originOf is where path got its value: its own place, else that of the nearest
// section around it, else the defaults.
func originOf(origins map[string]Origin, path string) Origin {
	for ; path != ""; path = parent(path) {
		if o, ok := origins[path]; ok {
			return o
		}
	}
	return Origin{Layer: FromDefault}
}

func (l *loader) checkNode() {
	n := l.config.Node
	if err := record.ValidNode(n.Name); err != nil {
		l.wrong("node.name", "use a-z, 0-9 and -, at most 63, not - first", "%q cannot name a node", n.Name)
	}
	l.checkPath("node.data_dir", n.DataDir)
	if filepath.Clean(n.DataDir) == "/" {
		l.wrong("node.data_dir", "name a directory of the node's own", "the root of the file system is no data directory")
	}
}

// checkPath wants an absolute path: a relative one means another file after the
// next change of the working directory.
func (l *loader) checkPath(path, value string) {
	switch {
	case value == "":
		l.missing(path, parent(path), "", "it must name a path")
	case !filepath.IsAbs(value):
		l.wrong(path, "", "%q is not an absolute path", value)
	}
}

// listeners are the addresses of a node by path.
func (c *Config) listeners() []struct {
	path string
	*Listener
} {
	return []struct {
		path string
		*Listener
	}{
		{"listen.mcp", &c.Listen.MCP},
		{"listen.admin", &c.Listen.Admin},
		{"listen.peer", &c.Listen.Peer},
	}
}

func (l *loader) checkListen() {
	all := l.config.listeners()
	for i, one := range all {
		host, port, ok := l.checkAddress(one.path+".addr", one.Addr)
		if !ok {
			continue
		}
		for _, other := range all[:i] {
			otherHost, otherPort, _ := splitAddress(other.Addr)
			if port == otherPort && (host == otherHost || isWildcard(host) || isWildcard(otherHost)) {
				l.wrong(one.path+".addr", "each listener needs a port of its own", "%s is taken by %s.addr", one.Addr, other.path)
			}
		}
		l.checkTLS(one.path, one.Listener, host)
	}
	l.checkAdvertise()
}

// checkTLS wants a certificate wherever another machine can connect.
func (l *loader) checkTLS(path string, listener *Listener, host string) {
	peer := path == "listen.peer"
	profile, known := l.config.TLS.Profiles[listener.TLS]
	switch {
	case listener.TLS == PlainText && !peer:
	case listener.TLS == PlainText:
		l.wrong(path+".tls", "make certificates with mcpraft cluster cert init and cluster cert issue", "nodes never talk in plain text")
	case listener.TLS == "" && isLoopback(host) && !(peer && l.others() > 0):
	case listener.TLS == "" && isLoopback(host):
		l.missing(path+".tls", "cluster.join", "make certificates with mcpraft cluster cert init and cluster cert issue, and name their profile",
			"cluster.join names other nodes")
	case listener.TLS == "" && peer:
		l.missing(path+".tls", path+".addr", "make certificates with mcpraft cluster cert init and cluster cert issue, and name their profile",
			"%s is not loopback", listener.Addr)
	case listener.TLS == "":
		l.missing(path+".tls", path+".addr", "name a profile of tls.profiles, or write off if something in front ends TLS",
			"%s is not loopback", listener.Addr)
	case !known:
		hint := "tls.profiles has none"
		if names := slices.Sorted(maps.Keys(l.config.TLS.Profiles)); len(names) > 0 {
			hint = "tls.profiles has " + strings.Join(names, ", ")
		}
		l.wrong(path+".tls", hint, "there is no profile %q", listener.TLS)
	case peer && profile.CAFile == "":
		at := "tls.profiles." + listener.TLS
		l.missing(at+".ca_file", at, "name the ca.crt of mcpraft cluster cert init", "listen.peer uses this profile")
	}
}

// others counts the addresses of cluster.join that are not this node's own.
func (l *loader) others() int {
	self, n := l.config.PeerAddr(), 0
	for _, addr := range l.config.Cluster.Join {
		if addr != self {
			n++
		}
	}
	return n
}

// checkAdvertise wants an address that others can connect to.
func (l *loader) checkAdvertise() {
	for _, one := range l.config.listeners() {
		path := one.path + ".advertise"
		if one.Advertise == "" {
			continue
		}
		if host, _, ok := l.checkAddress(path, one.Advertise); ok && isWildcard(host) {
			l.wrong(path, "name this host", "%q is no address that others can connect to", one.Advertise)
		}
	}
	peer := l.config.Listen.Peer
	host, port, ok := splitAddress(peer.Addr)
	if ok && peer.Advertise == "" && isWildcard(host) {
		l.missing("listen.peer.advertise", "listen.peer.addr",
			fmt.Sprintf("write the name or address of this host, as in %s:%d", exampleHost(l.config.Node.Name), port),
			"%s names no host", peer.Addr)
		return
	}
	if host, _, ok = splitAddress(l.config.PeerAddr()); !ok || !isLoopback(host) {
		return
	}
	for i, join := range l.config.Cluster.Join {
		if other, _, ok := splitAddress(join); ok && !isLoopback(other) && !isWildcard(other) {
			l.wrong(fmt.Sprintf("cluster.join[%d]", i), "set listen.peer.addr and listen.peer.advertise",
				"%s is another machine, and this node can be reached on loopback only (%s)", join, l.config.PeerAddr())
			return
		}
	}
}

func exampleHost(node string) string {
	if record.ValidNode(node) != nil {
		return "node-1"
	}
	return node
}

func (l *loader) checkProfiles() {
	for _, name := range slices.Sorted(maps.Keys(l.config.TLS.Profiles)) {
		p, at := l.config.TLS.Profiles[name], "tls.profiles."+name
		l.checkPath(at+".cert_file", p.CertFile)
		l.checkPath(at+".key_file", p.KeyFile)
		if p.CAFile != "" {
			l.checkPath(at+".ca_file", p.CAFile)
		}
	}
}

func (l *loader) checkCluster() {
	c := l.config.Cluster
	if err := record.ValidNode(c.Name); err != nil {
		l.wrong("cluster.name", "use a-z, 0-9 and -, at most 63, not - first", "%q cannot name a cluster", c.Name)
	}
	l.checkJoin(c.Join)
	switch c.BootstrapExpect {
	case 0:
		return
	case 1, 3, 5:
	default:
		l.wrong("cluster.bootstrap_expect", "an even number of voters survives no more failures than one less", "%d is not 1, 3 or 5", c.BootstrapExpect)
		return
	}
	if c.NonVoter {
		l.wrong("cluster.non_voter", "remove one of the two", "a node that never votes cannot form a cluster, and cluster.bootstrap_expect is %d", c.BootstrapExpect)
	}
	if others := l.others(); others < c.BootstrapExpect-1 {
		l.wrong("cluster.join", "list the peer address of every node", "%d of the %d other nodes are listed, and cluster.bootstrap_expect is %d",
			others, c.BootstrapExpect-1, c.BootstrapExpect)
	}
	if token := l.config.Auth.BootstrapTokenFile; token == "" {
		l.missing("auth.bootstrap_token_file", "cluster.bootstrap_expect",
			"write at least 32 random characters into a file and name it there, the same on every node",
			"nobody could call the new cluster")
	} else {
		l.checkPath("auth.bootstrap_token_file", token)
	}
}

func (l *loader) checkJoin(join []string) {
	for i, addr := range join {
		path := fmt.Sprintf("cluster.join[%d]", i)
		host, _, ok := l.checkAddress(path, addr)
		switch {
		case !ok:
		case isWildcard(host):
			l.wrong(path, "name the host", "%q names no host", addr)
		case slices.Contains(join[:i], addr):
			l.wrong(path, "", "%q is listed twice", addr)
		}
	}
}

func (l *loader) checkSessions() {
	if s := l.config.Sessions; s.MaxPerPrincipal > s.MaxTotal {
		l.wrong("sessions.max_per_principal", "", "%d is more than sessions.max_total (%d)", s.MaxPerPrincipal, s.MaxTotal)
	}
}

// checkAddress wants host:port.
func (l *loader) checkAddress(path, addr string) (host string, port int, ok bool) {
	if host, port, ok = splitAddress(addr); !ok {
		hint := "write it as 127.0.0.1:7440, [::1]:7440 or node-1:7442"
		if strings.Contains(addr, "://") {
			hint = "an address has no scheme and no path: " + hint
		}
		l.wrong(path, hint, "%q is not host:port", addr)
	}
	return host, port, ok
}

// splitAddress is host:port in its parts; the port is a number from 1 to 65535.
func splitAddress(addr string) (host string, port int, ok bool) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil || strings.ContainsAny(host, " /%@") {
		return "", 0, false
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return host, int(n), err == nil && n > 0
}

func isWildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// PeerAddr is the address that other nodes reach this one at, host:port.
func (c *Config) PeerAddr() string { return c.reachable(c.Listen.Peer) }

// AdminAddr is the address that users reach the admin API at, host:port.
func (c *Config) AdminAddr() string { return c.reachable(c.Listen.Admin) }

// MCPAddr is the address that clients reach the MCP endpoint at, host:port.
func (c *Config) MCPAddr() string { return c.reachable(c.Listen.MCP) }

// reachable is what l advertises, else where it listens, else its port at the
// host that the peer listener advertises.
func (c *Config) reachable(l Listener) string {
	if l.Advertise != "" {
		return l.Advertise
	}
	host, port, _ := splitAddress(l.Addr)
	if !isWildcard(host) {
		return l.Addr
	}
	host, _, _ = splitAddress(c.Listen.Peer.Advertise)
	return net.JoinHostPort(host, strconv.Itoa(port))
}
