package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateInterval is how often a handshake looks whether the files changed.
const certificateInterval = time.Second

// A certificateKeeper serves the certificate in two files and takes a new one
// when they change. A pair that does not fit together, as between the two writes
// of a renewal, is not taken: the old one serves on. It may be used by any
// number of handshakes at once.
type certificateKeeper struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	written [2]time.Time // when the files of current, or those refused last, were written
	looked  time.Time
}

func newCertificateKeeper(certFile, keyFile string, log *slog.Logger) (*certificateKeeper, error) {
	k := &certificateKeeper{certFile: certFile, keyFile: keyFile, log: log, looked: time.Now()}
	var err error
	if k.written, err = k.times(); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	k.current = &pair
	return k, nil
}

// get is the GetCertificate of a tls.Config.
func (k *certificateKeeper) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.looked) >= certificateInterval {
		k.looked = time.Now()
		k.refresh()
	}
	return k.current, nil
}

// refresh takes what the files hold if they changed since the last look.
func (k *certificateKeeper) refresh() {
	written, err := k.times()
	if err == nil && written == k.written {
		return
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(k.certFile, k.keyFile); err == nil {
			k.current, k.written = &pair, written
			k.log.Info("certificate renewed", "file", k.certFile, "expires", pair.Leaf.NotAfter)
			return
		}
		k.written = written
	}
	k.log.Warn("certificate not renewed, the old one serves on", "file", k.certFile, "err", err)
}

func (k *certificateKeeper) times() (written [2]time.Time, err error) {
	cert, errCert := os.Stat(k.certFile)
	key, errKey := os.Stat(k.keyFile)
	if err := errors.Join(errCert, errKey); err != nil {
		return written, err
	}
	return [2]time.Time{cert.ModTime(), key.ModTime()}, nil
}
