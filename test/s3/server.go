// Package s3 starts a real S3 server, versitygw, for tests: as a process, over HTTP
// or HTTPS, with keys that may do less than others. s3.mod pins its version; the
// first start builds it, which takes minutes.
package s3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/mcpraft/mcpraft/internal/blob"
)

const (
	rootAccess = "root-access"
	rootSecret = "root-secret-key"
	region     = "us-east-1"
	startLimit = time.Minute
)

// A Server is a running versitygw, which ends with its test.
type Server struct {
	t       *testing.T
	binary  string
	dir     string
	address string
	tls     bool
	client  *minio.Client
	process *exec.Cmd
}

// Start runs a server. Under go test -short it skips the test.
func Start(t *testing.T, useTLS bool) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("this test needs a real S3 server, which is built from s3.mod: run it without -short, as `make s3` does")
	}
	s := &Server{t: t, binary: build(t), dir: t.TempDir(), address: freeAddress(t), tls: useTLS}
	for _, name := range []string{"data", "meta", "users"} {
		if err := os.Mkdir(filepath.Join(s.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if useTLS {
		writeCertificate(t, s.file("cert.pem"), s.file("key.pem"))
	}
	s.Run()
	return s
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

// build is the path of the binary, from the build cache after the first time.
func build(t *testing.T) string {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-modfile=s3.mod", "-n", "versitygw")
	cmd.Dir = strings.TrimSpace(string(root))
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("building versitygw: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Run starts the process, also again after Kill, with what it stored before.
func (s *Server) Run() {
	s.t.Helper()
	args := []string{"--quiet", "--port", s.address, "--keep-alive", "--iam-dir", s.file("users")}
	if s.tls {
		args = append(args, "--cert", s.file("cert.pem"), "--key", s.file("key.pem"))
	}
	args = append(args, "posix", "--sidecar", s.file("meta"), s.file("data"))
	s.process = exec.Command(s.binary, args...)
	s.process.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+rootAccess, "ROOT_SECRET_KEY="+rootSecret)
	s.process.Stdout, s.process.Stderr = s.t.Output(), s.t.Output()
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.Kill)
	s.connect()
}

// Kill ends the process at once. It may be called again.
func (s *Server) Kill() {
	if s.process.ProcessState == nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
	}
}

// Pause stops the process without closing its connections, until Resume: a server
// that does not answer.
func (s *Server) Pause() { _ = s.process.Process.Signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (s *Server) Resume() { _ = s.process.Process.Signal(syscall.SIGCONT) }

// connect waits until the server answers.
func (s *Server) connect() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), startLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
		if err == nil {
			_ = conn.Close()
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("versitygw does not listen: %v", err)
		}
	}
	o := &minio.Options{Creds: credentials.NewStaticV4(rootAccess, rootSecret, ""), Secure: s.tls, Region: region, BucketLookup: minio.BucketLookupPath}
	if s.tls {
		transport, err := minio.DefaultTransport(true)
		if err != nil {
			s.t.Fatal(err)
		}
		pool := x509.NewCertPool()
		text, err := os.ReadFile(s.file("cert.pem"))
		if err != nil || !pool.AppendCertsFromPEM(text) {
			s.t.Fatalf("certificate: %v", err)
		}
		transport.TLSClientConfig.RootCAs = pool
		o.Transport = transport
	}
	var err error
	if s.client, err = minio.New(s.address, o); err != nil {
		s.t.Fatal(err)
	}
}

// Bucket makes a bucket and says how to reach it as the owner of everything.
func (s *Server) Bucket(name string) blob.S3Options {
	s.t.Helper()
	if err := s.client.MakeBucket(s.t.Context(), name, minio.MakeBucketOptions{Region: region}); err != nil {
		s.t.Fatal(err)
	}
	return s.options(name, rootAccess, rootSecret)
}

// User makes a key that may do to a bucket only what actions say, as in
// "s3:GetObject", and says how to reach the bucket with it.
func (s *Server) User(bucket, name string, actions ...string) blob.S3Options {
	s.t.Helper()
	secret := name + "-secret-key"
	scheme := "http://"
	if s.tls {
		scheme = "https://"
	}
	cmd := exec.CommandContext(s.t.Context(), s.binary, "admin", "--allow-insecure", "--access", rootAccess, "--secret", rootSecret,
		"--endpoint-url", scheme+s.address, "create-user", "--access", name, "--secret", secret, "--role", "user")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("create-user: %v: %s", err, out)
	}
	resource := "arn:aws:s3:::" + bucket
	policy := `{"Version":"2012-10-17","Statement":[` +
		statement(name, actions, resource, "s3:ListBucket", "s3:ListBucketMultipartUploads") + "," +
		statement(name, actions, resource+"/*", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload") + `]}`
	if err := s.client.SetBucketPolicy(s.t.Context(), bucket, policy); err != nil {
		s.t.Fatalf("policy %s: %v", policy, err)
	}
	return s.options(bucket, name, secret)
}

// statement allows those of actions that are about the kind of the resource, and
// to ask where the bucket is if there is none.
func statement(user string, actions []string, resource string, kind ...string) string {
	allowed := []string{`"s3:GetBucketLocation"`}
	if strings.HasSuffix(resource, "/*") {
		allowed = []string{`"s3:GetObjectTagging"`}
	}
	for _, action := range actions {
		for _, k := range kind {
			if k == action {
				allowed = append(allowed, `"`+action+`"`)
			}
		}
	}
	return `{"Effect":"Allow","Principal":{"AWS":["` + user + `"]},"Action":[` + strings.Join(allowed, ",") + `],"Resource":"` + resource + `"}`
}

func (s *Server) options(bucket, access, secret string) blob.S3Options {
	o := blob.S3Options{
		Endpoint: "http://" + s.address, Region: region, Bucket: bucket, Prefix: "mcpraft/test",
		AccessKeyFile: s.file(access + ".access"), SecretKeyFile: s.file(access + ".secret"),
	}
	if s.tls {
		o.Endpoint, o.CAFile = "https://"+s.address, s.file("cert.pem")
	}
	for path, text := range map[string]string{o.AccessKeyFile: access + "\n", o.SecretKeyFile: secret + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return o
}

// writeCertificate makes a certificate for loopback that signs itself.
func writeCertificate(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "versitygw"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
