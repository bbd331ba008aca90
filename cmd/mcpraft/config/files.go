package config

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// Bounds of a secret in a file, without surrounding white space, in bytes.
const (
	minSecretBytes = 32
	maxSecretBytes = 4096
)

// CheckFiles reads the files that the configuration names and reports every one
// that cannot serve: unreadable, open to other users, expired, or made for
// another cluster or node. The error is an *Error.
func (l *Loaded) CheckFiles() error {
	c := fileChecker{Loaded: l}
	if name := l.Config.Auth.BootstrapTokenFile; name != "" {
		if _, err := ReadSecret(name); err != nil {
			c.wrong("auth.bootstrap_token_file", err)
		}
	}
	c.auth()
	c.gateway()
	for _, name := range slices.Sorted(maps.Keys(l.Config.TLS.Profiles)) {
		c.profile(name, l.Config.TLS.Profiles[name])
	}
	if len(c.problems) == 0 {
		return nil
	}
	return newError(c.problems, l.lines)
}

type fileChecker struct {
	*Loaded
	problems []Problem
}

func (c *fileChecker) wrong(path string, err error) {
	p := Problem{Origin: c.Origin(path), Message: path + ": " + err.Error()}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		p.Hint = f.Hint
	}
	c.problems = append(c.problems, p)
}

// profile checks that certificate and key belong together and are of today, and
// for the peer port that they name this node of this cluster.
func (c *fileChecker) profile(name string, p Profile) {
	at := "tls.profiles." + name
	if err := keptFromOthers(p.KeyFile); err != nil {
		c.wrong(at+".key_file", err)
		return
	}
	pair, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	if err != nil {
		c.wrong(at+".cert_file", fileFault(err))
		return
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) || now.Before(pair.Leaf.NotBefore) {
		c.wrong(at+".cert_file", fault.New(fault.Invalid, "%s is valid from %s to %s, and today is %s", p.CertFile,
			pair.Leaf.NotBefore.Format(time.DateOnly), pair.Leaf.NotAfter.Format(time.DateOnly), now.Format(time.DateOnly)).
			WithHint("issue a new one with mcpraft cluster cert issue"))
	}
	if c.Config.Listen.Peer.TLS != name {
		return
	}
	credentials, err := peer.LoadCredentials(p.CertFile, p.KeyFile, p.CAFile)
	if err != nil {
		c.wrong(at+".ca_file", fileFault(err))
		return
	}
	want := peer.Name{Cluster: c.Config.Cluster.Name, Node: c.Config.Node.Name}
	if got := credentials.Name(); got != want {
		c.wrong(at+".cert_file", fault.New(fault.Invalid, "%s is the certificate of node %s of cluster %s, this is node %s of cluster %s",
			p.CertFile, got.Node, got.Cluster, want.Node, want.Cluster).
			WithHint("issue one with mcpraft cluster cert issue %s, or correct node.name and cluster.name", want.Node))
	}
}

// ReadSecret reads a secret from a file that other users cannot read. White
// space around it is no part of it.
func ReadSecret(name string) (string, error) {
	if err := keptFromOthers(name); err != nil {
		return "", err
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fileFault(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return "", fileFault(err)
	}
	secret := strings.TrimSpace(string(data))
	switch {
	case len(data) > maxSecretBytes:
		return "", fault.New(fault.Invalid, "%s has more than %d bytes", name, maxSecretBytes)
	case len(secret) < minSecretBytes:
		return "", fault.New(fault.Invalid, "%s holds %d characters, a secret has at least %d", name, len(secret), minSecretBytes).
			WithHint("openssl rand -hex 32 makes one")
	case plain(secret) != nil || strings.ContainsAny(secret, " \t"):
		return "", fault.New(fault.Invalid, "%s holds more than one word", name)
	}
	return secret, nil
}

// keptFromOthers refuses a file that every user of the machine can read. The
// group may: that is how orchestrators mount secrets.
func keptFromOthers(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return fileFault(err)
	}
	if info.IsDir() {
		return fault.New(fault.Invalid, "%s is a directory", name)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return fault.New(fault.Invalid, "%s can be read by every user of this machine (mode %04o)", name, info.Mode().Perm()).
			WithHint("chmod o= %s", name)
	}
	return nil
}

// Fingerprint is what is shown of a secret file: "sha256:" and eight digits of
// its content's hash, or why it cannot be read.
func Fingerprint(name string) string {
	data, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file"
	case err != nil:
		return "not readable"
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:4])
}

// fileFault is err, of opening or reading a file, in a sentence.
func fileFault(err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return fault.New(fault.Invalid, "%s: %s", p.Path, reason(p.Err))
	}
	return fault.New(fault.Invalid, "%s", err)
}

func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file"
	case errors.Is(err, fs.ErrPermission):
		return "this user may not read it"
	default:
		return fmt.Sprint(err)
	}
}
