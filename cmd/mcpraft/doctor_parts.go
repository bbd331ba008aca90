package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

const (
	lowSpacePercent  = 10                  // of free disk space: below it the doctor warns
	fullSpacePercent = 5                   // below it a node takes only deletes and administration
	expiresSoon      = 14 * 24 * time.Hour // a certificate
	doctorTimeout    = 2 * time.Second     // for one connection to another node
)

// examineData looks at the data directory. A lock that another process holds
// means that the node is running.
func examineData(dir string) (e *examination, running bool) {
	e = &examination{Name: "data directory"}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		examineParent(e, dir)
		return e, false
	case err != nil:
		e.fail("", "%s", err)
		return e, false
	case !info.IsDir():
		e.fail("name a directory in node.data_dir", "%s is not a directory", dir)
		return e, false
	}
	if info.Mode().Perm()&0o007 != 0 {
		e.warn("chmod o= "+dir, "%s is open to every user of this machine (mode %04o)", dir, info.Mode().Perm())
	}
	if !writable(dir) {
		e.fail("run the node, and the doctor, as the owner of the directory", "this user may not write to %s", dir)
		return e, false
	}
	pid, running := lockHolder(filepath.Join(dir, "LOCK"))
	if running {
		e.ok("%s is in use by process %d", dir, pid)
	} else {
		e.ok("%s is writable and not in use", dir)
	}
	examineSpace(e, dir)
	return e, running
}

// examineParent looks at where a data directory that does not exist would be.
func examineParent(e *examination, dir string) {
	parent := filepath.Dir(dir)
	for {
		if _, err := os.Stat(parent); err == nil || parent == filepath.Dir(parent) {
			break
		}
		parent = filepath.Dir(parent)
	}
	if !writable(parent) {
		e.fail("make it for the user that runs the node, or correct node.data_dir", "%s does not exist, and this user may not make it in %s", dir, parent)
		return
	}
	e.ok("%s does not exist yet: the node makes it", dir)
	examineSpace(e, parent)
}

func examineSpace(e *examination, dir string) {
	free, total, ok := space(dir)
	if !ok || total == 0 {
		return
	}
	percent := float64(free) / float64(total) * 100
	text := fmt.Sprintf("%.0f %% of the disk is free (%s)", percent, gibibytes(free))
	switch {
	case percent < fullSpacePercent:
		e.fail("make room: the node takes only deletes and administration", "%s", text)
	case percent < lowSpacePercent:
		e.warn(fmt.Sprintf("make room: below %d %% the node takes only deletes and administration", fullSpacePercent), "%s", text)
	default:
		e.ok("%s", text)
	}
}

func gibibytes(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// examineCertificates checks every file that the configuration names, and how
// long the certificates last.
func examineCertificates(loaded *config.Loaded) *examination {
	e := &examination{Name: "certificates and secrets"}
	if err := loaded.CheckFiles(); err != nil {
		e.mistakes(err)
		return e
	}
	profiles := loaded.Config.TLS.Profiles
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		pair, err := tls.LoadX509KeyPair(profiles[name].CertFile, profiles[name].KeyFile)
		if err != nil {
			e.fail("", "profile %s: %s", name, err) // changed since CheckFiles
			continue
		}
		left := time.Until(pair.Leaf.NotAfter)
		if left < expiresSoon {
			e.warn("issue a new one with mcpraft cluster cert issue --replace", "profile %s expires in %d days", name, int(left.Hours()/24))
			continue
		}
		e.ok("profile %s: valid until %s", name, pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	if file := loaded.Config.Auth.BootstrapTokenFile; file != "" {
		e.ok("bootstrap token: %s", config.Fingerprint(file))
	} else {
		e.warn("name a file in auth.bootstrap_token_file", "there is no token: nobody may use the admin API")
	}
	if len(profiles) == 0 {
		e.ok("no certificates are configured: the node is alone on loopback")
	}
	return e
}

// examinePorts tries to listen where the node would.
func examinePorts(c *config.Config) *examination {
	e := &examination{Name: "ports"}
	for _, l := range []struct{ key, addr string }{
		{"listen.mcp", c.Listen.MCP.Addr}, {"listen.admin", c.Listen.Admin.Addr}, {"listen.peer", c.Listen.Peer.Addr},
	} {
		listener, err := net.Listen("tcp", l.addr)
		if err != nil {
			e.fail("stop what uses it, or correct "+l.key+".addr", "%s: %s", l.key, err)
			continue
		}
		if err := listener.Close(); err != nil {
			e.warn("", "%s: %s", l.key, err)
			continue
		}
		e.ok("%s: %s is free", l.key, l.addr)
	}
	return e
}

// examineClock asks the kernel whether the time is kept right: a node whose
// clock is 10 s ahead of the others may not lead.
func examineClock() *examination {
	e := &examination{Name: "clock"}
	switch kept, known := clockKept(); {
	case !known:
		e.ok("this system does not tell whether its clock is kept right")
	case kept:
		e.ok("kept right by the system")
	default:
		e.warn("run chrony, systemd-timesyncd or another NTP client", "the system does not keep its clock right; a node that is 10 s ahead of the others may not lead")
	}
	return e
}

// examinePeers connects to every address of cluster.join, all at once.
func (a *app) examinePeers(ctx context.Context, c *config.Config) *examination {
	e := &examination{Name: "other nodes"}
	others := slices.DeleteFunc(slices.Clone(c.Cluster.Join), func(addr string) bool { return addr == c.PeerAddr() })
	problems := make([]error, len(others))
	var wg sync.WaitGroup
	for i, addr := range others {
		wg.Go(func() { problems[i] = reach(ctx, addr) })
	}
	wg.Wait()
	for i, addr := range others {
		if problems[i] != nil {
			e.warn("fine if that node is stopped; else look at its listen.peer.addr, and at name resolution and firewalls between", "%s: %s", addr, problems[i])
			continue
		}
		e.ok("%s answers", addr)
	}
	if len(others) == 0 {
		e.ok("cluster.join names none")
	}
	return e
}

func reach(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: doctorTimeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// examineNode asks the node for its health. It needs no token for it.
func (a *app) examineNode(ctx context.Context, c *config.Config, running bool) *examination {
	e := &examination{Name: "running node"}
	client, err := adminClient(c)
	if err != nil {
		e.fail("", "%s", err)
		return e
	}
	defer client.Close()
	health, err := client.Health(ctx, adminapi.Readyz)
	switch {
	case err != nil && running:
		e.fail("its log on standard error says more", "a process uses the data directory, and the admin API does not answer: %s", err)
		return e
	case err != nil:
		e.ok("not running")
		return e
	case !running:
		e.warn("another process, or a node with another data directory, has the port", "the admin API answers, and nobody uses the data directory")
	}
	for _, check := range health.Checks {
		if check.OK {
			e.ok("%s", check.Name)
			continue
		}
		e.fail("", "%s: %s", check.Name, check.Detail)
	}
	if len(health.Checks) == 0 {
		e.ok("health: %s", health.Status)
	}
	return e
}

// adminClient is a client of the node that c configures.
func adminClient(c *config.Config) (*adminapi.Client, error) {
	host, port, err := net.SplitHostPort(c.Listen.Admin.Addr)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	addr := net.JoinHostPort(host, port)
	settings := adminapi.Config{Addrs: []string{"http://" + addr}, Timeout: doctorTimeout}
	if profile, ok := c.TLS.Profiles[c.Listen.Admin.TLS]; ok {
		settings.Addrs = []string{"https://" + addr}
		if settings.TLS, err = trust(profile.CertFile); err != nil {
			return nil, err
		}
	}
	return adminapi.New(settings)
}

// trust accepts exactly the certificate in certFile: the node on this machine is
// known by what it was configured with, whatever names the certificate has.
func trust(certFile string) (*tls.Config, error) {
	text, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", certFile)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // names are not compared; VerifyConnection does the rest
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			return err
		},
	}, nil
}
