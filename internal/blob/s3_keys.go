package blob

import (
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/mcpraft/mcpraft/internal/fault"
)

const maxKeyBytes = 4096

// keyFiles takes the credentials of a bucket from two files, and again when one of
// them changes. It is a credentials.Provider.
type keyFiles struct {
	access, secret string

	mu   sync.Mutex
	read [2]time.Time // modification times of what was read
}

// Retrieve reads both files.
func (k *keyFiles) Retrieve() (credentials.Value, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	modified := k.modified()
	access, err := readKey("access_key_file", k.access)
	if err != nil {
		return credentials.Value{}, err
	}
	secret, err := readKey("secret_key_file", k.secret)
	if err != nil {
		return credentials.Value{}, err
	}
	k.read = modified
	return credentials.Value{AccessKeyID: access, SecretAccessKey: secret, SignerType: credentials.SignatureV4}, nil
}

// RetrieveWithCredContext is Retrieve.
func (k *keyFiles) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

// IsExpired reports whether a file has changed since it was read.
func (k *keyFiles) IsExpired() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.read != k.modified()
}

// modified is when the files changed. One that cannot be asked counts as
// unchanged: the keys that were read stay good.
func (k *keyFiles) modified() [2]time.Time {
	times := k.read
	for i, path := range []string{k.access, k.secret} {
		if info, err := os.Stat(path); err == nil {
			times[i] = info.ModTime()
		}
	}
	return times
}

// readKey reads the one line of a file. Its errors do not show it.
func readKey(field, path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fault.New(fault.Invalid, "%s: %v", field, err)
	}
	key := strings.TrimSpace(string(b))
	if key == "" || len(key) > maxKeyBytes || strings.ContainsAny(key, " \t\r\n") {
		return "", fault.New(fault.Invalid, "%s: %s does not hold one word on one line", field, path)
	}
	return key, nil
}
