package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	maxSecretBytes = 16 << 10
	recheckSecret  = time.Second // how old the last look at a file may be
)

// A Secret is where a credential for upstreams comes from.
type Secret struct {
	File   string // holds the credential; white space around it is no part of it
	Header string // header that carries it; "" means Authorization
	Scheme string // what stands before it; "" means "Bearer" for Authorization, nothing otherwise
}

// Secrets are the credentials of a node for its upstreams, by the name that a
// record's SecretRef gives. Files are read when they are needed, and again when
// they have changed; values appear in no log and no error.
type Secrets struct {
	byName map[string]*secret
}

// NewSecrets takes the secrets of a node's configuration, and refuses headers
// that are the protocol's own.
func NewSecrets(byName map[string]Secret) (*Secrets, error) {
	s := &Secrets{byName: make(map[string]*secret, len(byName))}
	var errs []error
	for name, from := range byName {
		if err := from.validate(); err != nil {
			errs = append(errs, fmt.Errorf("secret %q: %w", name, err))
		}
		s.byName[name] = &secret{from: from}
	}
	return s, errors.Join(errs...)
}

func (s Secret) validate() error {
	switch {
	case s.File == "":
		return errors.New("file is missing")
	case !printable(s.Scheme):
		return errors.New("scheme holds characters that no header may hold")
	}
	return ValidHeader(s.Header)
}

// ValidHeader reports why a credential cannot be in the header of that name, or
// nil; "" is Authorization.
func ValidHeader(header string) error {
	name := http.CanonicalHeaderKey(header)
	switch {
	case !isToken(header) && header != "":
		return fmt.Errorf("header %q is no name of a header", header)
	case strings.HasPrefix(name, "Mcp-") || reserved[name]:
		return fmt.Errorf("header %q is the protocol's own", header)
	}
	return nil
}

// reserved are the headers that a message is framed or routed by.
var reserved = map[string]bool{
	"Host": true, "Content-Length": true, "Content-Type": true, "Transfer-Encoding": true, "Connection": true,
	"Accept": true, "Expect": true, "Te": true, "Trailer": true, "Upgrade": true, "Last-Event-Id": true,
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// Credentials are those of the cluster, by the name that a record's Credential
// gives. Both methods may be called from any goroutine.
type Credentials interface {
	// Get is the header that carries the credential. It may wait for an access token.
	Get(ctx context.Context, name string) (header, value string, err error)
	// Refused says that an upstream did not take it, and reports whether another
	// may be had.
	Refused(name, header, value string) bool
}

// A credential is one header.
type credential struct {
	header string
	value  string
}

func (c *credential) equal(o *credential) bool {
	return c == o || c != nil && o != nil && *c == *o
}

// credential is what this upstream is shown, nil if nothing is.
func (up *upstream) credential(ctx context.Context) (*credential, error) {
	if up.rec.Credential == "" {
		return up.ups.o.Secrets.get(up.rec.SecretRef)
	}
	if up.ups.o.Credentials == nil {
		return nil, fault.New(fault.Unavailable, "this node has no credentials of the cluster, and upstream %q wants %q", up.rec.Alias, up.rec.Credential)
	}
	header, value, err := up.ups.o.Credentials.Get(ctx, up.rec.Credential)
	if err != nil {
		return nil, err
	}
	return &credential{header: header, value: value}, nil
}

// refusedCredential gives up what a request in this session carried, and reports
// whether it is worth sending again with another.
func (p *path) refusedCredential() bool {
	if p.up.rec.Credential == "" {
		p.up.ups.o.Secrets.forget(p.up.rec.SecretRef)
		return false
	}
	if p.shown == nil || p.up.ups.o.Credentials == nil {
		return false
	}
	return p.up.ups.o.Credentials.Refused(p.up.rec.Credential, p.shown.header, p.shown.value)
}

// get is the credential of that name; nil for the name "".
func (s *Secrets) get(name string) (*credential, error) {
	if name == "" {
		return nil, nil
	}
	var found *secret
	if s != nil {
		found = s.byName[name]
	}
	if found == nil {
		return nil, fault.New(fault.Unavailable, "this node has no upstream secret %q", name).
			WithHint("name its file in the configuration of every node")
	}
	c, err := found.get(time.Now())
	if err != nil {
		return nil, fault.New(fault.Unavailable, "the upstream secret %q cannot be read: %w", name, err).
			WithHint("the node's log says why")
	}
	return c, nil
}

// forget makes the next get read the file: an upstream has refused the value.
func (s *Secrets) forget(name string) {
	if s == nil || s.byName[name] == nil {
		return
	}
	found := s.byName[name]
	found.mu.Lock()
	defer found.mu.Unlock()
	found.looked = time.Time{}
}

type secret struct {
	from Secret

	mu      sync.Mutex
	current *credential
	looked  time.Time // at the file
	seen    fs.FileInfo
}

func (s *secret) get(now time.Time) (*credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && now.Sub(s.looked) < recheckSecret {
		return s.current, nil
	}
	info, err := os.Stat(s.from.File)
	if err != nil {
		return s.stale(err)
	}
	if s.current == nil || !unchanged(s.seen, info) {
		value, err := readSecret(s.from.File)
		if err != nil {
			return s.stale(err)
		}
		if c := s.from.credential(value); s.current == nil || *c != *s.current {
			s.current = c
		}
	}
	s.seen, s.looked = info, now
	return s.current, nil
}

// stale goes on with the value from before, if there is one: a file that is
// being replaced is missing for a moment.
func (s *secret) stale(err error) (*credential, error) {
	if s.current != nil {
		return s.current, nil
	}
	return nil, err
}

func unchanged(a, b fs.FileInfo) bool {
	return a != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func readSecret(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("%s can be used by every user of this machine (mode %04o)", name, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(string(data))
	switch {
	case len(data) > maxSecretBytes:
		return "", fmt.Errorf("%s has more than %d bytes", name, maxSecretBytes)
	case value == "":
		return "", fmt.Errorf("%s is empty", name)
	case !printable(value):
		return "", fmt.Errorf("%s holds more than one line, or characters that no header may hold", name)
	}
	return value, nil
}

func (s Secret) credential(value string) *credential {
	c := &credential{header: "Authorization", value: value}
	scheme := s.Scheme
	if s.Header != "" {
		c.header = http.CanonicalHeaderKey(s.Header)
	}
	if scheme == "" && c.header == "Authorization" {
		scheme = "Bearer"
	}
	if scheme != "" {
		c.value = scheme + " " + value
	}
	return c
}
