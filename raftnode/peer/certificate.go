package peer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// Validity of the certificates that we make ourselves.
const (
	CAValidity   = 10 * 365 * 24 * time.Hour
	CertValidity = 365 * 24 * time.Hour

	clockSkew = 5 * time.Minute // a certificate is valid this long before it was made
)

// A Pair is a certificate and its private key, both PEM.
type Pair struct {
	Cert []byte
	Key  []byte // PKCS #8
}

// Write stores the pair: the certificate readable by all, the key by its owner
// only. Neither file is ever seen half-written. Without replace an existing file
// is a Conflict and nothing is written.
func (p Pair) Write(certFile, keyFile string, replace bool) error {
	for _, name := range []string{certFile, keyFile} {
		if _, err := os.Lstat(name); err == nil && !replace {
			return fault.New(fault.Conflict, "%s exists already", name).WithHint("move it away, or choose another place")
		}
	}
	// The key first: a certificate without its key is of no use, and a node that
	// reads between the two keeps what it has.
	if err := writeFile(keyFile, p.Key, 0o600); err != nil {
		return err
	}
	return writeFile(certFile, p.Cert, 0o644)
}

// writeFile puts a synced file under its name in one step.
func writeFile(name string, data []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// A CA signs the certificates of the nodes of one cluster. Its key belongs on no
// node; only `mcpraft cluster cert issue` and `mcpraft dev` need it.
type CA struct {
	cluster string
	cert    *x509.Certificate
	key     crypto.Signer
	pair    Pair
}

// MakeCA makes a CA for the cluster of that name, valid for CAValidity.
// Its key is ECDSA P-256, which is allowed under FIPS 140-3 too.
func MakeCA(cluster string) (*CA, error) {
	if err := clusterNameError(cluster); err != nil {
		return nil, fault.New(fault.Invalid, "%s", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{cluster}, CommonName: caName(cluster)},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	pair, err := sign(template, template, key, key, CAValidity)
	if err != nil {
		return nil, err
	}
	return ParseCA(pair)
}

func caName(cluster string) string { return "mcpraft CA of " + cluster }

// ParseCA reads a CA that MakeCA made.
func ParseCA(p Pair) (*CA, error) {
	loaded, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, fault.New(fault.Invalid, "CA certificate and key: %w", err)
	}
	cert, key := loaded.Leaf, loaded.PrivateKey
	signer, ok := key.(crypto.Signer)
	if !ok || !cert.IsCA || len(cert.Subject.Organization) != 1 || clusterNameError(cert.Subject.Organization[0]) != nil {
		return nil, fault.New(fault.Invalid, "certificate %q is not the CA of a cluster", cert.Subject).
			WithHint("use the files of `mcpraft cluster cert init`")
	}
	return &CA{cluster: cert.Subject.Organization[0], cert: cert, key: signer, pair: p}, nil
}

// LoadCA reads a CA from the files that Pair.Write wrote.
func LoadCA(certFile, keyFile string) (*CA, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	return ParseCA(Pair{Cert: cert, Key: key})
}

// Cluster is the name of the cluster that ca signs for.
func (ca *CA) Cluster() string { return ca.cluster }

// Pair is the CA itself. Its Cert is what nodes are given as their CA file.
func (ca *CA) Pair() Pair { return ca.pair }

// Issue makes a key and a certificate for a node. Hosts, DNS names or IP
// addresses, go into it for other programs that look at them; between nodes only
// the name in the URI counts, so that a node may change its address. Validity 0
// means CertValidity; it never outlasts the CA.
func (ca *CA) Issue(node string, hosts []string, validity time.Duration) (Pair, error) {
	if err := record.ValidNode(node); err != nil {
		return Pair{}, err
	}
	if validity < 0 {
		return Pair{}, fault.New(fault.Invalid, "validity %v of a certificate is negative", validity)
	}
	if validity == 0 {
		validity = CertValidity
	}
	name := Name{Cluster: ca.cluster, Node: node}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{ca.cluster}, CommonName: node},
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{name.URI()},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	return sign(template, ca.cert, key, ca.key, min(validity, time.Until(ca.cert.NotAfter)))
}

// sign completes template with times and a serial number and signs it.
func sign(template, parent *x509.Certificate, key, signer crypto.Signer, validity time.Duration) (Pair, error) {
	now := time.Now()
	template.NotBefore = now.Add(-clockSkew)
	template.NotAfter = now.Add(validity)
	// CreateCertificate draws a serial number when there is none.
	cert, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, fault.New(fault.Invalid, "certificate of %s: %w", template.Subject.CommonName, err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}

// nameOf is the one name of a node in cert.
func nameOf(cert *x509.Certificate) (Name, error) {
	var names []*url.URL
	for _, u := range cert.URIs {
		if u.Scheme == nameScheme {
			names = append(names, u)
		}
	}
	if len(names) != 1 {
		return Name{}, fmt.Errorf("certificate %q has %d names of the form %s://CLUSTER/NODE, want one", cert.Subject, len(names), nameScheme)
	}
	return parseName(names[0])
}

// verify checks a chain, leaf first, against roots and returns the name that it
// proves. The name is given with an expired certificate too: it was signed.
func verify(chain []*x509.Certificate, roots *x509.CertPool, use x509.ExtKeyUsage, now time.Time) (Name, error) {
	leaf := chain[0]
	o := x509.VerifyOptions{
		Roots:         roots,
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{use},
		CurrentTime:   now,
	}
	for _, cert := range chain[1:] {
		o.Intermediates.AddCert(cert)
	}
	_, err := leaf.Verify(o)
	if err == nil {
		return nameWhenValid(leaf, now)
	}
	// Would it verify at a time when it was valid? Then time is all that is wrong.
	o.CurrentTime = clamp(now, leaf.NotBefore, leaf.NotAfter)
	if _, err := leaf.Verify(o); err == nil {
		return nameWhenValid(leaf, now)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired && invalid.Cert.IsCA {
		return Name{}, refuse(ReasonCertExpired, fault.Unauthenticated, "CA certificate %q is valid from %s to %s only",
			invalid.Cert.Subject.CommonName, day(invalid.Cert.NotBefore), day(invalid.Cert.NotAfter)).
			WithHint("make a new CA with `mcpraft cluster cert init` and add it to the CA file of every node before using it")
	}
	return Name{}, refuse(ReasonCertUntrusted, fault.Unauthenticated, "certificate %q is not signed by a CA that this node trusts", leaf.Subject.CommonName).
		WithHint("issue it with the CA of this cluster, or add its CA to the CA file of every node")
}

func nameWhenValid(leaf *x509.Certificate, now time.Time) (Name, error) {
	name, err := nameOf(leaf)
	switch {
	case err != nil:
		return Name{}, refuse(ReasonCertName, fault.Unauthenticated, "%s", err).
			WithHint("issue it with `mcpraft cluster cert issue`")
	case now.After(leaf.NotAfter):
		return name, refuse(ReasonCertExpired, fault.Unauthenticated, "certificate of %s expired on %s", name.Node, day(leaf.NotAfter)).
			WithHint("issue a new one with `mcpraft cluster cert issue %s`", name.Node)
	case now.Before(leaf.NotBefore):
		return name, refuse(ReasonCertExpired, fault.Unauthenticated, "certificate of %s is valid from %s on; it is %s here",
			name.Node, leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)).
			WithHint("compare the clocks of the nodes")
	}
	return name, nil
}

func clamp(t, from, to time.Time) time.Time {
	if t.Before(from) {
		return from
	}
	if t.After(to) {
		return to
	}
	return t
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
