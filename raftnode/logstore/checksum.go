package logstore

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// The extension of an entry, docs/format/log-entry.md.
const (
	extensionVersion = 1
	extensionBytes   = 1 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is the CRC32C of what an entry is: index, term, type and data.
func sum(l *raft.Log) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	return crc32.Update(crc32.Update(0, castagnoli, head[:]), castagnoli, l.Data)
}

// seal gives l the extension that says its checksum.
func seal(l *raft.Log) {
	l.Extensions = binary.BigEndian.AppendUint32([]byte{extensionVersion}, sum(l))
}

// decodeExtension reads the checksum out of an entry's extension.
func decodeExtension(b []byte) (uint32, error) {
	if len(b) == 0 {
		return 0, fault.New(fault.Integrity, "it carries no checksum")
	}
	if b[0] != extensionVersion {
		return 0, fault.New(fault.Integrity, "its checksum has format %d, this binary reads %d", b[0], extensionVersion)
	}
	if len(b) != extensionBytes {
		return 0, fault.New(fault.Integrity, "its checksum has %d bytes, want %d", len(b), extensionBytes)
	}
	return binary.BigEndian.Uint32(b[1:]), nil
}

// verify reports how l differs from what its leader sealed.
func verify(l *raft.Log) error {
	want, err := decodeExtension(l.Extensions)
	if err != nil {
		return err
	}
	if got := sum(l); got != want {
		return fault.New(fault.Integrity, "its bytes sum to %08x, its checksum says %08x", got, want)
	}
	return nil
}

// checksum seals entries that have no extension (this node leads), checks those
// that have one (they came from a leader) before they are stored, and checks
// every entry that is read.
type checksum struct {
	layer
	path    string
	failure *failure
}

func (c *checksum) StoreLog(log *raft.Log) error { return c.StoreLogs([]*raft.Log{log}) }

// StoreLogs sets Extensions in place, as raft's middleware is meant to: what
// the layers above keep and send to followers must carry the checksum.
func (c *checksum) StoreLogs(logs []*raft.Log) error {
	for _, l := range logs {
		if len(l.Extensions) == 0 {
			seal(l)
			continue
		}
		if err := verify(l); err != nil {
			return c.failure.trip(fault.New(fault.Integrity,
				"raft log%s: entry %d (term %d) arrived damaged and is not stored: %w", at(c.path), l.Index, l.Term, err).
				WithHint("the leader of term %d sent it or this machine's memory damaged it: start the node again; "+
					"if it stops on the same entry, transfer leadership to another node and test the memory of both machines", l.Term))
		}
	}
	return c.layer.StoreLogs(logs)
}

func (c *checksum) GetLog(index uint64, log *raft.Log) error {
	if err := c.layer.GetLog(index, log); err != nil {
		return err
	}
	if err := verifyRead(c.path, index, log); err != nil {
		return c.failure.trip(err)
	}
	return nil
}

// verifyRead reports how an entry read at index differs from what was stored.
func verifyRead(path string, index uint64, log *raft.Log) error {
	if log.Index != index {
		return fault.New(fault.Integrity, "raft log%s: where entry %d belongs, entry %d is stored", at(path), index, log.Index).
			WithHint("%s", hintDamaged)
	}
	if err := verify(log); err != nil {
		return fault.New(fault.Integrity, "raft log%s: entry %d is damaged on disk: %w", at(path), index, err).
			WithHint("%s", hintDamaged)
	}
	return nil
}

const hintDamaged = "test the disk; then remove this node from the cluster, empty its data directory and let it join again: " +
	"the other nodes have its data. On the last node, use mcpraft offline force-new-cluster or a backup"
