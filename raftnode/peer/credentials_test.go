package peer

import (
	"crypto/x509"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// store writes a node's files to dir and returns their names.
func store(t testing.TB, dir string, p Pair, cas []byte) (cert, key, ca string) {
	t.Helper()
	cert, key, ca = filepath.Join(dir, "node.crt"), filepath.Join(dir, "node.key"), filepath.Join(dir, "ca.crt")
	if err := p.Write(cert, key, true); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(ca, cas, 0o644); err != nil {
		t.Fatal(err)
	}
	return cert, key, ca
}

func TestKeysAreForTheirOwnerOnlyAndNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	ca := must(MakeCA("test"))
	cert, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	if err := ca.Pair().Write(cert, key, false); err != nil {
		t.Fatal(err)
	}
	if info := must(os.Stat(key)); info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key is %v, want 0600", info.Mode().Perm())
	}
	err := must(MakeCA("test")).Pair().Write(cert, key, false)
	wantKind(t, err, fault.Conflict, "exists already")
	again := must(LoadCA(cert, key))
	if again.Cluster() != "test" || !slices.Equal(again.Pair().Cert, ca.Pair().Cert) {
		t.Errorf("read back a CA of cluster %q", again.Cluster())
	}
	if entries := must(os.ReadDir(dir)); len(entries) != 2 {
		t.Errorf("files left: %v", entries)
	}
}

func TestCAIssuesWhatItsClusterAccepts(t *testing.T) {
	ca := must(MakeCA("test"))
	creds := must(NewCredentials(must(ca.Issue("n1", []string{"n1.example", "10.0.0.1"}, 30*24*time.Hour)), ca.Pair().Cert))
	if got := creds.Name(); got != (Name{"test", "n1"}) {
		t.Errorf("name %v", got)
	}
	leaf := creds.loaded.cert.Leaf
	if got := leaf.URIs[0].String(); got != "mcpraft://test/n1" {
		t.Errorf("URI %s", got)
	}
	if !slices.Equal(leaf.DNSNames, []string{"n1.example"}) || len(leaf.IPAddresses) != 1 {
		t.Errorf("hosts %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
	if left := time.Until(creds.Expiry()); left < 29*24*time.Hour || left > 30*24*time.Hour {
		t.Errorf("valid for %v, want 30 days", left)
	}
	long := must(NewCredentials(must(ca.Issue("n1", nil, 2*CAValidity)), ca.Pair().Cert))
	if long.Expiry().After(ca.cert.NotAfter.Add(time.Second)) {
		t.Errorf("certificate outlasts its CA: %v", long.Expiry())
	}
}

func TestBadNamesAndPairsAreRefused(t *testing.T) {
	ca, other := must(MakeCA("test")), must(MakeCA("test"))
	_, err := MakeCA("Prod!")
	wantKind(t, err, fault.Invalid, `cluster name "Prod!" is not valid`)
	_, err = ca.Issue("N 1", nil, 0)
	wantKind(t, err, fault.Invalid, `"N 1" is not a name`)
	_, err = ca.Issue("n1", nil, -1)
	wantKind(t, err, fault.Invalid, "negative")
	pair := must(ca.Issue("n1", nil, 0))
	_, err = NewCredentials(pair, other.Pair().Cert)
	wantKind(t, err, fault.Unauthenticated, "not signed by a CA")
	_, err = NewCredentials(Pair{pair.Cert, must(ca.Issue("n1", nil, 0)).Key}, ca.Pair().Cert)
	wantKind(t, err, fault.Invalid, "certificate and key")
	_, err = NewCredentials(pair, nil)
	wantKind(t, err, fault.Invalid, "CA file holds no certificate")
	_, err = NewCredentials(pair, pair.Key)
	wantKind(t, err, fault.Invalid, `"PRIVATE KEY", is not a certificate`)
	_, err = NewCredentials(pair, slices.Concat(ca.Pair().Cert, pair.Cert))
	wantKind(t, err, fault.Invalid, `certificate 2, "n1", is not that of an authority`)
	_, err = NewCredentials(ca.Pair(), ca.Pair().Cert)
	wantKind(t, err, fault.Unauthenticated, "0 names of the form mcpraft://CLUSTER/NODE, want one")
	_, err = ParseCA(pair)
	wantKind(t, err, fault.Invalid, "is not the CA of a cluster")
}

func TestCertificateIsReadAgainWhenItsFilesChange(t *testing.T) {
	dir := t.TempDir()
	ca := must(MakeCA("test"))
	first, second := must(ca.Issue("n1", nil, time.Hour)), must(ca.Issue("n1", nil, 2*time.Hour))
	creds := must(LoadCredentials(store(t, dir, first, ca.Pair().Cert)))
	before := creds.Expiry()

	store(t, dir, second, ca.Pair().Cert)
	if got := creds.Expiry().Sub(before); got < 59*time.Minute {
		t.Errorf("the new certificate expires %v later, want 1h", got)
	}
	if err := creds.Err(); err != nil {
		t.Error(err)
	}

	// What does not hold together is not taken, and told.
	before = creds.Expiry()
	cert, key, caFile := filepath.Join(dir, "node.crt"), filepath.Join(dir, "node.key"), filepath.Join(dir, "ca.crt")
	for _, c := range []struct {
		spoil func()
		words string
	}{
		{func() { os.WriteFile(cert, []byte("half a certif"), 0o600) }, "certificate and key of the node"},
		{func() { os.Remove(key) }, "no such file"},
		{func() { store(t, dir, must(ca.Issue("n2", nil, 0)), ca.Pair().Cert) }, "names node n2 of cluster test, this node is n1 of test"},
		{func() { writeFile(caFile, must(MakeCA("test")).Pair().Cert, 0o644) }, "not signed by a CA"},
	} {
		store(t, dir, second, ca.Pair().Cert)
		c.spoil()
		err := creds.Err()
		if err == nil {
			t.Errorf("%s: taken without an error", c.words)
			continue
		}
		wantKind(t, err, fault.Of(err), c.words)
		if creds.Expiry() != before || creds.Name().Node != "n1" {
			t.Errorf("%s: taken", c.words)
		}
	}
	store(t, dir, first, ca.Pair().Cert)
	if err := creds.Err(); err != nil || creds.Expiry().Equal(before) {
		t.Errorf("good files were not taken again: %v", err)
	}
}

func TestExpiredCertificateLoadsAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := must(MakeCA("test"))
		pair := must(ca.Issue("n1", nil, time.Hour))
		time.Sleep(2 * time.Hour)
		creds := must(NewCredentials(pair, ca.Pair().Cert))
		if creds.Expiry().After(time.Now()) {
			t.Errorf("expires %v", creds.Expiry())
		}
		if err := creds.ownExpiry(); ReasonOf(err) != ReasonCertExpired {
			t.Errorf("own certificate: %v", err)
		}
	})
}

func TestCertificateOfTheFutureBlamesTheClocks(t *testing.T) {
	ca := must(MakeCA("test"))
	creds := must(NewCredentials(must(ca.Issue("n1", nil, 0)), ca.Pair().Cert))
	_, err := nameWhenValid(creds.loaded.cert.Leaf, time.Now().Add(-time.Hour))
	if e, ok := errors.AsType[*fault.Error](err); !ok || ReasonOf(err) != ReasonCertExpired || e.Hint != "compare the clocks of the nodes" {
		t.Errorf("%v", err)
	}
}

func TestExpiredCAIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := must(MakeCA("test"))
		creds := must(NewCredentials(must(ca.Issue("n1", nil, 2*CAValidity)), ca.Pair().Cert))
		leaf := *creds.loaded.cert.Leaf
		leaf.NotAfter = leaf.NotAfter.Add(CAValidity) // another CA might have outlived this one
		_, err := verify([]*x509.Certificate{&leaf}, creds.loaded.roots, x509.ExtKeyUsageServerAuth, time.Now().Add(CAValidity+time.Hour))
		if ReasonOf(err) != ReasonCertExpired {
			t.Errorf("%v", err)
		}
		wantKind(t, err, fault.Unauthenticated, `CA certificate "mcpraft CA of test" is valid from 1999-12-31 to 2009-12-29 only`)
	})
}

// TestCAIsReplacedUnderARunningCluster walks through a rotation: trust both, then
// issue anew, then trust the new one only. No step stops the calls.
func TestCAIsReplacedUnderARunningCluster(t *testing.T) {
	bubble(t, func(w *world) {
		next := must(MakeCA("test"))
		both := slices.Concat(w.ca.Pair().Cert, next.Pair().Cert)
		dirs := map[string]string{"n1": w.t.TempDir(), "n2": w.t.TempDir()}
		nodes := map[string]*testNode{}
		for name, dir := range dirs {
			files := must(LoadCredentials(store(w.t, dir, must(w.ca.Issue(name, nil, 0)), w.ca.Pair().Cert)))
			n := w.start(name, setup{credentials: files})
			n.echo()
			nodes[name] = n
		}
		step := func(what string, of func(node string) (Pair, []byte)) {
			for name, dir := range dirs {
				pair, cas := of(name)
				store(w.t, dir, pair, cas)
				time.Sleep(time.Second) // other modification times
				for _, ends := range [][2]string{{"n1", "n2"}, {"n2", "n1"}} {
					if _, err := nodes[ends[0]].CallAddr(w.t.Context(), nodes[ends[1]].addr, opEcho, nil); err != nil {
						w.t.Errorf("%s at %s: %v", what, name, err)
					}
				}
			}
		}
		issued := map[string]Pair{}
		for name := range dirs {
			issued[name] = must(w.ca.Issue(name, nil, 0))
		}
		step("trust both", func(node string) (Pair, []byte) { return issued[node], both })
		step("certificates of the new CA", func(node string) (Pair, []byte) { return must(next.Issue(node, nil, 0)), both })
		for name := range dirs {
			issued[name] = must(next.Issue(name, nil, 0))
		}
		step("trust the new CA", func(node string) (Pair, []byte) { return issued[node], next.Pair().Cert })

		old := w.start("n3", setup{trusts: both})
		_, err := old.CallAddr(w.t.Context(), nodes["n1"].addr, opEcho, nil)
		wantRefusal(w.t, err, ReasonCertUntrusted, `certificate "n3" is not signed by a CA that this node trusts`)
		for _, n := range nodes {
			n.stop()
		}
		old.stop()
	})
}

func TestNamesHaveOneSpelling(t *testing.T) {
	ok := Name{"prod", "n1"}
	if got, err := parseName(ok.URI()); got != ok || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{
		"mcpraft://prod", "mcpraft://prod/", "mcpraft://prod/n1/", "mcpraft://prod/n1/n2", "mcpraft://prod:1/n1", "mcpraft://u@prod/n1",
		"mcpraft://prod/n1?x", "mcpraft://prod/n1#x", "mcpraft://PROD/n1", "mcpraft:///n1", "mcpraft:prod/n1", "https://prod/n1", "mcpraft://prod/%6e1",
	} {
		if got, err := parseName(must(url.Parse(text))); err == nil {
			t.Errorf("%s was read as %v", text, got)
		}
	}
}
