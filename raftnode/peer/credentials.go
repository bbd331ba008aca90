package peer

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// Credentials are the certificate and key of a node and the CAs that it trusts.
// From files, they are read again at the first handshake after a file changed;
// new ones that do not hold together, or name another node, are not taken, and
// Err says why. All methods may run concurrently.
type Credentials struct {
	files *files // nil: given as bytes, never change

	mu     sync.Mutex
	loaded material
	err    error // why newer files were not taken
}

// material is what the files hold.
type material struct {
	cert  tls.Certificate // Leaf is set
	roots *x509.CertPool
	name  Name
}

// NewCredentials uses a pair that is held in memory. cas holds one or more CA
// certificates, PEM: several while the CA is being replaced.
func NewCredentials(p Pair, cas []byte) (*Credentials, error) {
	m, err := parseMaterial(p, cas)
	if err != nil {
		return nil, err
	}
	return &Credentials{loaded: m}, nil
}

// LoadCredentials reads certificate, key and CA certificates from PEM files. An
// expired certificate is no error here: it is told at each handshake, and by
// Expiry.
func LoadCredentials(certFile, keyFile, caFile string) (*Credentials, error) {
	f := &files{names: [3]string{certFile, keyFile, caFile}}
	seen, err := f.stat()
	if err != nil {
		return nil, err
	}
	m, err := f.read()
	if err != nil {
		return nil, err
	}
	f.seen = seen
	return &Credentials{files: f, loaded: m}, nil
}

// Name is the name in the certificate.
func (c *Credentials) Name() Name { return c.current().name }

// Expiry is when the certificate stops to be valid.
func (c *Credentials) Expiry() time.Time { return c.current().cert.Leaf.NotAfter }

// Err is why the files that are there now are not in use; nil if they are.
func (c *Credentials) Err() error {
	c.current()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// current is what is valid now, after a look at the files.
func (c *Credentials) current() material {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files != nil {
		c.refresh()
	}
	return c.loaded
}

// refresh takes newer files if they are good. Files that were read while someone
// was writing them are looked at again when they change once more.
func (c *Credentials) refresh() {
	seen, err := c.files.stat()
	if err == nil && seen == c.files.seen {
		return
	}
	if err != nil {
		c.err = err
		return
	}
	m, err := c.files.read()
	if err == nil && m.name != c.loaded.name {
		err = fault.New(fault.Conflict, "%s names node %s of cluster %s, this node is %s of %s",
			c.files.names[0], m.name.Node, m.name.Cluster, c.loaded.name.Node, c.loaded.name.Cluster)
	}
	c.files.seen, c.err = seen, err
	if err == nil {
		c.loaded = m
	}
}

func parseMaterial(p Pair, cas []byte) (material, error) {
	cert, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return material{}, fault.New(fault.Invalid, "certificate and key of the node: %w", err)
	}
	roots, err := parseCAs(cas)
	if err != nil {
		return material{}, err
	}
	chain, err := x509.ParseCertificates(joinChain(cert))
	if err != nil {
		return material{}, fault.New(fault.Invalid, "certificate of the node: %w", err)
	}
	// As of a time when it was valid: an expired certificate is told later.
	at := clamp(time.Now(), cert.Leaf.NotBefore, cert.Leaf.NotAfter)
	name, err := verify(chain, roots, x509.ExtKeyUsageServerAuth, at)
	if err == nil {
		_, err = verify(chain, roots, x509.ExtKeyUsageClientAuth, at)
	}
	if err != nil {
		return material{}, err
	}
	return material{cert: cert, roots: roots, name: name}, nil
}

func joinChain(cert tls.Certificate) []byte {
	var der []byte
	for _, c := range cert.Certificate {
		der = append(der, c...)
	}
	return der
}

func parseCAs(data []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, fault.New(fault.Invalid, "CA file: block %d, %q, is not a certificate", n+1, block.Type)
		}
		if !cert.IsCA {
			return nil, fault.New(fault.Invalid, "CA file: certificate %d, %q, is not that of an authority", n+1, cert.Subject.CommonName).
				WithHint("name the ca.crt that the nodes' certificates were issued with, not a node's own certificate")
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, fault.New(fault.Invalid, "CA file holds no certificate")
	}
	return pool, nil
}

// files are where Credentials come from: certificate, key, CAs.
type files struct {
	names [3]string
	seen  [3]version
}

// A version tells one content of a file from the next.
type version struct {
	modified time.Time
	size     int64
}

func (f *files) stat() (seen [3]version, err error) {
	for i, name := range f.names {
		info, err := os.Stat(name)
		if err != nil {
			return seen, err
		}
		seen[i] = version{info.ModTime(), info.Size()}
	}
	return seen, nil
}

func (f *files) read() (material, error) {
	var data [3][]byte
	for i, name := range f.names {
		var err error
		if data[i], err = os.ReadFile(name); err != nil {
			return material{}, err
		}
	}
	m, err := parseMaterial(Pair{Cert: data[0], Key: data[1]}, data[2])
	if err != nil {
		return material{}, fmt.Errorf("%s: %w", f.names[0], err)
	}
	return m, nil
}

// ALPN names. A number for each change that the other end must know of.
const (
	protocolCalls = "peer/1"
	protocolRaft  = "raft/1"
)

// serverTLS takes connections. The client's certificate must be there, and the
// handshake proves that the client has its key; whether it is one of ours is
// decided by verifyPeer after the handshake and before the first byte is read,
// because a refusal in the handshake could only be a TLS alert, never words.
func (c *Credentials) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protocolCalls, protocolRaft},
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, // a resumed session would skip the certificate
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			m := c.current()
			return &m.cert, nil
		},
	}
}

// clientTLS opens connections. The server's certificate is verified inside the
// handshake, by name in the URI instead of by host name, so that an impostor
// sees neither our certificate nor our hello.
func (c *Credentials) clientTLS(protocol string, want Name) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{protocol},
		InsecureSkipVerify: true, // of the host name: VerifyConnection does the whole verification
		VerifyConnection: func(s tls.ConnectionState) error {
			name, err := c.verifyPeer(s, x509.ExtKeyUsageServerAuth)
			if err != nil {
				return err
			}
			return matchName(name, want)
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			m := c.current()
			return &m.cert, nil
		},
	}
}

// verifyPeer is the name that the other end has proven.
func (c *Credentials) verifyPeer(s tls.ConnectionState, use x509.ExtKeyUsage) (Name, error) {
	if len(s.PeerCertificates) == 0 {
		return Name{}, refuse(ReasonCertUntrusted, fault.Unauthenticated, "no certificate was shown")
	}
	return verify(s.PeerCertificates, c.current().roots, use, time.Now())
}

// matchName checks a proven name. Without want.Node any node of the cluster will do.
func matchName(got, want Name) error {
	if got.Cluster != want.Cluster {
		return refuse(ReasonCluster, fault.Unauthenticated, "certificate is of node %s of cluster %s, this is cluster %s",
			got.Node, got.Cluster, want.Cluster).WithHint("check the address, or issue a certificate with the CA of cluster %s", want.Cluster)
	}
	if want.Node != "" && got.Node != want.Node {
		return refuse(ReasonCertName, fault.Unauthenticated, "certificate is of node %s, node %s was meant", got.Node, want.Node).
			WithHint("check the address of node %s and which certificate is installed there", want.Node)
	}
	return nil
}

// ownExpiry is an error when our own certificate is outside its time. The other
// end then only says that it broke off the handshake.
func (c *Credentials) ownExpiry() error {
	_, err := nameWhenValid(c.current().cert.Leaf, time.Now())
	return err
}

// describeTLS turns the error of a handshake into one that says what to do.
func (c *Credentials) describeTLS(err error) *fault.Error {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return e
	}
	if own := c.ownExpiry(); own != nil {
		return fault.As(own)
	}
	return refuse(ReasonTLS, fault.Unauthenticated, "TLS handshake: %w", err).
		WithHint("is this the peer port of an mcpraft node, with a certificate of this cluster?")
}
