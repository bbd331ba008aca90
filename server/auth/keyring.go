package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/raftnode"
)

// MACBytes is the length of what MAC makes: two bytes that name the key, and the
// first 14 of an HMAC-SHA-256.
const MACBytes = 16

const macIDBytes = 2

// ringRetry is the pause after the ring could not be read.
const ringRetry = time.Second

// A Reader opens the replicated state; *raftnode.Node is one.
type Reader interface {
	// Read returns a view that is as fresh as o asks. The caller closes it.
	Read(ctx context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error)
}

// A KeyRing is the cluster's keys as this node knows them. Run follows the
// replicated record; until it was read once, nothing can be made nor verified:
// wait for Ready. Every method may be called from any goroutine.
type KeyRing struct {
	root   seal.Ring
	reader Reader
	log    *slog.Logger
	keys   atomic.Pointer[keys]
	wake   chan struct{}
	loaded chan struct{} // closed after the first success
	once   sync.Once
	loads  func() // called when other keys are in use

	problem atomic.Pointer[error] // why there is no newer ring; nil: none known
}

// keys are those of one revision of the record.
type keys struct {
	revision uint64
	byID     map[uint32]*ringKey
	current  *ringKey
	sealing  seal.Ring // the current key alone: an upcoming one may be unknown elsewhere
	opening  seal.Ring // every key
}

// NewKeyRing makes a KeyRing of a node with these root keys. It is empty until
// Run has read the record.
func NewKeyRing(root seal.Ring, reader Reader, log *slog.Logger) *KeyRing {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &KeyRing{root: root, reader: reader, log: log, wake: make(chan struct{}, 1), loaded: make(chan struct{}), loads: func() {}}
}

// Run follows the record until ctx ends.
func (k *KeyRing) Run(ctx context.Context) error {
	for {
		var retry <-chan time.Time
		if err := k.load(ctx); err != nil && ctx.Err() == nil {
			k.report(err)
			retry = time.After(ringRetry)
		}
		select {
		case <-k.wake:
		case <-retry:
		case <-ctx.Done():
			return nil
		}
	}
}

// changed makes Run look again. It does not block.
func (k *KeyRing) changed() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// report keeps err for Err, and logs it once.
func (k *KeyRing) report(err error) {
	old := k.problem.Swap(&err)
	if old != nil && (*old).Error() == err.Error() {
		return
	}
	if fault.Of(err) == fault.NotFound {
		k.log.Debug("waiting for the key ring", "err", err)
		return
	}
	k.log.Error("key ring not read", "err", err)
}

// load reads the record. After an error the keys from before stay.
func (k *KeyRing) load(ctx context.Context) error {
	stored, err := readRing(ctx, k.reader, raftnode.Any)
	if err != nil {
		return err
	}
	if old := k.keys.Load(); old != nil && old.revision == stored.Revision {
		k.problem.Store(nil)
		return nil
	}
	r, err := openRing(k.root, stored)
	if err != nil {
		return err
	}
	loaded, err := newKeys(r, stored.Revision)
	if err != nil {
		return err
	}
	k.keys.Store(loaded)
	k.problem.Store(nil)
	k.once.Do(func() { close(k.loaded) })
	k.loads()
	k.log.Info("key ring read", "revision", stored.Revision, "key", loaded.current.ID, "keys", len(r.Keys))
	return nil
}

// readRing reads the record; NotFound until the leader has made it.
func readRing(ctx context.Context, reader Reader, mode raftnode.ReadMode) (record.KeyRing, error) {
	view, _, err := reader.Read(ctx, raftnode.ReadOptions{Mode: mode})
	if err != nil {
		return record.KeyRing{}, err
	}
	defer view.Close()
	return view.KeyRing()
}

func newKeys(r ring, revision uint64) (*keys, error) {
	k := &keys{revision: revision, byID: make(map[uint32]*ringKey, len(r.Keys)), current: r.current()}
	var all []seal.Key
	for i := range r.Keys {
		one := &r.Keys[i]
		k.byID[one.ID] = one
		if one.hashesOnly() {
			continue
		}
		sealers, err := seal.ParseKeys(one.Sealer)
		if err != nil {
			return nil, fault.New(fault.Integrity, "key %d of the key ring does not parse: %w", one.ID, err)
		}
		all = append(all, sealers...)
		if one == k.current {
			k.sealing = seal.NewRing(sealers...)
		}
	}
	k.opening = seal.NewRing(all...)
	return k, nil
}

// Ready waits until there are keys, or ctx ends.
func (k *KeyRing) Ready(ctx context.Context) error {
	select {
	case <-k.loaded:
		return nil
	default:
	}
	select {
	case <-k.loaded:
		return nil
	case <-ctx.Done():
		return errors.Join(k.Err(), ctx.Err())
	}
}

// Err is why the node has no keys, or not the newest; nil when all is well.
func (k *KeyRing) Err() error {
	if p := k.problem.Load(); p != nil && fault.Of(*p) != fault.NotFound {
		return *p
	}
	if k.keys.Load() == nil {
		return fault.New(fault.Unavailable, "this node has no keys of the cluster yet").
			WithHint("the leader makes them once the cluster has formed")
	}
	return nil
}

// MAC authenticates parts, in this order and with these boundaries, for one
// purpose: a constant text that no other use has. It has MACBytes bytes, and is
// nil before Ready.
func (k *KeyRing) MAC(purpose string, parts ...[]byte) []byte {
	known := k.keys.Load()
	if known == nil {
		return nil
	}
	return known.current.mac(purpose, parts)
}

// Verify reports whether mac is that of parts for purpose, by the current key or
// one that was current within Grace.
func (k *KeyRing) Verify(purpose string, mac []byte, parts ...[]byte) bool {
	known := k.keys.Load()
	if known == nil || len(mac) != MACBytes {
		return false
	}
	for _, key := range known.byID {
		if uint16(key.ID) == binary.BigEndian.Uint16(mac) && !key.hashesOnly() {
			return subtle.ConstantTimeCompare(key.mac(purpose, parts), mac) == 1
		}
	}
	return false
}

// Seal encrypts a small secret, at most seal.MaxValueBytes. The purpose says what
// kind of secret it is and aad which one; Open needs the same.
func (k *KeyRing) Seal(purpose string, aad, plaintext []byte) ([]byte, error) {
	known := k.keys.Load()
	if known == nil {
		return nil, k.Err()
	}
	return known.sealing.Seal(purpose, aad, plaintext)
}

// Open is the plaintext of what Seal made, by a key that is current or was within
// Grace. The error is Forbidden when the key is gone and Integrity when the bytes
// do not verify.
func (k *KeyRing) Open(purpose string, aad, sealed []byte) ([]byte, error) {
	known := k.keys.Load()
	if known == nil {
		return nil, k.Err()
	}
	return known.opening.Open(purpose, aad, sealed)
}

func (k *ringKey) mac(purpose string, parts [][]byte) []byte {
	mac := binary.BigEndian.AppendUint16(make([]byte, 0, macIDBytes+sha256.Size), uint16(k.ID))
	return k.hmac(mac, purpose, parts)[:MACBytes]
}

// hmac appends the HMAC of purpose and parts, each behind its length, to dst.
func (k *ringKey) hmac(dst []byte, purpose string, parts [][]byte) []byte {
	h := hmac.New(sha256.New, k.MAC)
	var length [8]byte
	write := func(part []byte) {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	write([]byte(purpose))
	for _, part := range parts {
		write(part)
	}
	return h.Sum(dst)
}

// Current reports whether sealed was made by Seal with the key that is used now.
func (k *KeyRing) Current(sealed []byte) bool {
	known := k.keys.Load()
	if known == nil {
		return false
	}
	id, err := seal.SealedBy(sealed)
	if err != nil {
		return false
	}
	_, ok := known.sealing.Find(id)
	return ok
}
