package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

const testToken = "0123456789abcdef0123456789abcdef"

// writeNode writes the configuration of a node that is a cluster by itself, on
// free ports, and returns the file and the address of its admin API. With tls
// all its ports have certificates.
func writeNode(t *testing.T, tls bool) (file, adminAddr string) {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("token"), []byte(testToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addrs := freeAddrs(t, 3)
	profile := `""`
	if tls {
		profile = "p"
		ca, err := peer.MakeCA("test")
		if err != nil {
			t.Fatal(err)
		}
		issueTo(t, ca, path("node.crt"), path("node.key"))
		if err := os.WriteFile(path("ca.crt"), ca.Pair().Cert, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(`
node: {name: n1, data_dir: %q}
cluster: {name: test, bootstrap_expect: 1}
auth: {bootstrap_token_file: %q}
storage: {cache: 8MiB, memtable: 4MiB, ballast: 0B}
log: {format: text}
listen:
  mcp: {addr: %q, tls: %[6]s}
  admin: {addr: %[4]q, tls: %[6]s}
  peer: {addr: %[5]q, tls: %[6]s}
`, path("data"), path("token"), addrs[0], addrs[1], addrs[2], profile)
	if tls {
		text += fmt.Sprintf("tls: {profiles: {p: {cert_file: %q, key_file: %q, ca_file: %q}}}\n", path("node.crt"), path("node.key"), path("ca.crt"))
	}
	file = path("node.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, addrs[1]
}

func issueTo(t *testing.T, ca *peer.CA, certFile, keyFile string) {
	t.Helper()
	pair, err := ca.Issue("n1", []string{"127.0.0.1", "localhost"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Write(certFile, keyFile, true); err != nil {
		t.Fatal(err)
	}
}

// freeAddrs are n addresses on loopback that nobody used a moment ago.
func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs[i] = l.Addr().String()
	}
	return addrs
}

// startServer runs "mcpraft server" until stop is called, which returns the exit
// code. It returns when the node serves.
func startServer(t *testing.T, file string) (stop func() int) {
	t.Helper()
	a, _, _ := testApp()
	lines, stderr := io.Pipe()
	a.stderr = stderr
	ctx, cancel := context.WithCancel(t.Context())
	exit := make(chan int, 1)
	go func() {
		exit <- a.run(ctx, []string{"server", "--config", file})
		stderr.Close()
	}()
	log := bufio.NewScanner(lines)
	var seen strings.Builder
	for serving := false; !serving; {
		if !log.Scan() {
			cancel()
			t.Fatalf("the node ended with %d before it served:\n%s", <-exit, seen.String())
		}
		seen.WriteString(log.Text() + "\n")
		serving = strings.Contains(log.Text(), "msg=serving")
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, lines)
	}()
	return func() int {
		cancel()
		<-drained
		return <-exit
	}
}

func TestServerServesAndStopsInOrder(t *testing.T) {
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%t", tls), func(t *testing.T) {
			file, addr := writeNode(t, tls)
			stop := startServer(t, file)
			loaded, err := config.Load(config.Layers{Files: []string{file}})
			if err != nil {
				t.Fatal(err)
			}
			client, err := adminClient(&loaded.Config)
			if err != nil {
				t.Fatal(err)
			}
			health, err := client.Health(t.Context(), adminapi.Readyz)
			if err != nil || health.Status != "ok" {
				t.Errorf("health at %s = %+v, %v", addr, health, err)
			}
			client.Close()

			a, _, stderr := testApp()
			if code := a.run(t.Context(), []string{"server", "-c", file}); code != 5 || !strings.Contains(stderr.String(), "listen.peer.addr: the port cannot be opened") {
				t.Errorf("a second server on the same ports: exit %d, %s", code, stderr)
			}
			if code := stop(); code != 0 {
				t.Errorf("exit = %d, want 0", code)
			}
			again := startServer(t, file)
			if code := again(); code != 0 {
				t.Errorf("exit after a second start = %d, want 0", code)
			}
		})
	}
}

func TestServerRefusesWhatValidateRefuses(t *testing.T) {
	file, _ := writeNode(t, false)
	if err := os.Chmod(filepath.Join(filepath.Dir(file), "token"), 0o644); err != nil {
		t.Fatal(err)
	}
	a, _, stderr := testApp()
	if code := a.run(t.Context(), []string{"server", "-c", file}); code != 2 || !strings.Contains(stderr.String(), "can be read by every user") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(file), "data")); err == nil {
		t.Error("the data directory was made")
	}
}

func TestRenewedCertificatesAreServed(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	ca, err := peer.MakeCA("test")
	if err != nil {
		t.Fatal(err)
	}
	renewed := 0 // also the time at which the files were written, so that it always changes
	write := func() {
		issueTo(t, ca, certFile, keyFile)
		renewed++
		at := time.Unix(int64(renewed), 0)
		for _, file := range []string{certFile, keyFile} {
			if err := os.Chtimes(file, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	k, err := newCertificateKeeper(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		k.looked = time.Time{} // the last look is long ago
		cert, err := k.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.SerialNumber.String()
	}
	first := serial()
	write()
	second := serial()
	if first == second {
		t.Error("the old certificate is served after a renewal")
	}
	if err := os.WriteFile(keyFile, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if serial() != second {
		t.Error("a torn key replaced a certificate that works")
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	if serial() != second {
		t.Error("a missing file took the certificate away")
	}
	write()
	if serial() == second {
		t.Error("a renewal after a torn one is not served")
	}
}
