package snapshot

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/internal/strictjson"
)

const (
	jsonFormat       = 1 // of all of them
	maxManifestBytes = 4 << 20
	maxFiles         = 9999
)

// A Manifest describes one backup. It is written last and never changes.
type Manifest struct {
	ID          string       `json:"id"` // time, index and some random digits; sorts by time
	State       State        `json:"state"`
	Created     time.Time    `json:"created"`          // by the clock of the node that took it
	Creator     string       `json:"creator"`          // node and version, for people
	Reason      string       `json:"reason,omitempty"` // schedule, request, gap, …, for people
	Size        int64        `json:"size"`             // of the state as a stream, in bytes
	SHA256      Hash         `json:"sha256"`           // of the state as a stream
	Cipher      string       `json:"cipher"`
	Compression string       `json:"compression"`
	Keys        []seal.KeyID `json:"keys,omitempty"` // any one of them opens it
	Files       []Part       `json:"files"`          // in the order of the stream
}

// A Part is one file of a backup, an object in the destination.
type Part struct {
	Name   string `json:"name"`   // below the folder of the backup
	Plain  int64  `json:"plain"`  // bytes of the stream that are in it
	Size   int64  `json:"size"`   // bytes in the destination
	SHA256 Hash   `json:"sha256"` // of those
}

// StoredBytes is what the files take in the destination.
func (m Manifest) StoredBytes() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

const idTime = "20060102T150405Z"

// newID is a name for a backup that is taken now. The random part keeps two nodes
// apart that take one at the same time.
func newID(now time.Time, index uint64) string {
	var salt [4]byte
	rand.Read(salt[:])
	return fmt.Sprintf("%s-%d-%s", now.UTC().Format(idTime), index, hex.EncodeToString(salt[:]))
}

// parseID is the time in the id of a backup; ok is false for anything that newID
// does not make.
func parseID(id string) (created time.Time, ok bool) {
	parts := strings.Split(id, "-")
	if len(parts) != 3 || len(parts[2]) != 8 {
		return time.Time{}, false
	}
	created, err := time.Parse(idTime, parts[0])
	if err != nil {
		return time.Time{}, false
	}
	index, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	salt, err := hex.DecodeString(parts[2])
	if err != nil {
		return time.Time{}, false
	}
	return created, fmt.Sprintf("%s-%d-%x", created.Format(idTime), index, salt) == id
}

// ValidID reports why id cannot name a backup, or nil.
func ValidID(id string) error {
	if _, ok := parseID(id); !ok {
		return fault.New(fault.Invalid, "%q is not the id of a backup", id).WithHint("`mcpraft backup ls` shows them; one looks like 20260512T140210Z-88120-5f3a90c1")
	}
	return nil
}

// Validate reports why m cannot be a manifest, or nil.
func (m Manifest) Validate() error {
	if err := ValidID(m.ID); err != nil {
		return err
	}
	if err := m.State.Validate(); err != nil {
		return err
	}
	if len(m.Files) == 0 || len(m.Files) > maxFiles {
		return fault.New(fault.Invalid, "backup %s has %d files, want 1 to %d", m.ID, len(m.Files), maxFiles)
	}
	var plain int64
	for i, f := range m.Files {
		if f.Name != fileName(i) || f.Plain < 0 || f.Size < 0 || plain+f.Plain < plain {
			return fault.New(fault.Invalid, "file %d of backup %s is not valid: %+v", i+1, m.ID, f)
		}
		plain += f.Plain
	}
	if plain != m.Size {
		return fault.New(fault.Invalid, "the files of backup %s have %d bytes of %d", m.ID, plain, m.Size)
	}
	return nil
}

// fileName is the name of file number i, from 0.
func fileName(i int) string { return fmt.Sprintf("%04d.state", i+1) }

// The objects of a cluster's backups, docs/format/backup.md. Each kind has a folder,
// so that a list of backups is a list of manifests and nothing else.
func folder(cluster record.ID, kind string) string {
	return "v1/" + cluster.String() + "/" + kind + "/"
}

const (
	manifests = "manifest"
	states    = "state"
	holds     = "hold"
	checks    = "verify"
)

const jsonSuffix = ".json"

// An envelope is what stands around every small JSON object. The hash is of the
// bytes of the body, so that a change of any is noticed, without keys.
type envelope struct {
	SHA256 Hash            `json:"sha256"`
	Body   json.RawMessage `json:"body"`
}

type body struct {
	Format int             `json:"format"`
	Value  json.RawMessage `json:"value"`
}

// encode is v in an envelope.
func encode(v any) ([]byte, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	inner, err := json.Marshal(body{Format: jsonFormat, Value: value})
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(envelope{SHA256: sha256.Sum256(inner), Body: inner})
	return append(b, '\n'), err
}

// decode reads what encode wrote, strictly.
func decode(data []byte, v any) error {
	var e envelope
	if err := strictjson.DecodeBytes(data, &e); err != nil {
		return unreadable(err)
	}
	if sum := sha256.Sum256(e.Body); sum != e.SHA256 {
		return fault.New(fault.Integrity, "its SHA-256 does not match: bytes were changed")
	}
	var b body
	if err := (strictjson.Rules{AllowUnknown: true}).DecodeBytes(e.Body, &b); err != nil {
		return unreadable(err)
	}
	if b.Format != jsonFormat {
		return fault.New(fault.Unsupported, "it has format %d, this binary reads %d", b.Format, jsonFormat)
	}
	if err := strictjson.DecodeBytes(b.Value, v); err != nil {
		return unreadable(err)
	}
	return nil
}

func unreadable(err error) error {
	return fault.New(fault.Integrity, "it is not readable: %v", err)
}
