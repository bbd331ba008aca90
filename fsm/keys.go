package fsm

import (
	"encoding/binary"
	"slices"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// A tableID is the first byte of a key. Numbers are for ever: append, never
// reuse. docs/format/keys.md describes each.
type tableID byte

const (
	tableMeta tableID = 0x00 // this replica's position; not replicated as keys

	tableEpoch    tableID = 0x01
	tableMember   tableID = 0x02
	tableClaim    tableID = 0x03
	tableKeyRing  tableID = 0x04
	tableEntry    tableID = 0x10
	tableUpstream tableID = 0x18

	tableSessionEntryCount tableID = 0x11 // registry entries of TypeSession

	tableSession            tableID = 0x20
	tableSessionByUser      tableID = 0x21
	tableSessionByClient    tableID = 0x22
	tableSessionByState     tableID = 0x23
	tableSessionByOwner     tableID = 0x24
	tableSessionSettings    tableID = 0x25
	tableSessionCount       tableID = 0x26
	tableSessionCountByUser tableID = 0x27
	tableCall               tableID = 0x28
	tableCallCount          tableID = 0x29

	tableToken      tableID = 0x2c
	tableTokenCount tableID = 0x2d

	tableProducer               tableID = 0x30
	tableIdempotency            tableID = 0x31
	tableIdempotencyByExpiry    tableID = 0x32
	tableIdempotencyCount       tableID = 0x33
	tableIdempotencyCountByUser tableID = 0x34
	tableWindow                 tableID = 0x35
	tableProducerOfNode         tableID = 0x36

	tableSlice     tableID = 0x48
	tableSlicePage tableID = 0x49
	tableStaging   tableID = 0x4a

	tableArchive         tableID = 0x52
	tableLabel           tableID = 0x53
	tableLabelCount      tableID = 0x54
	tableCredential      tableID = 0x3c
	tableCredentialCount tableID = 0x3d

	tableLocal tableID = 0xf0 // of this node alone: not in the digest, not in snapshots
)

// keyVersion is the second byte of a key: how the rest of it and the value are
// encoded.
const keyVersion = 1

// Replicated keys are those from tableEpoch up to, not including, tableLocal.
var (
	replicatedLower = []byte{byte(tableMeta) + 1}
	replicatedUpper = []byte{byte(tableLocal)}
)

// Keys outside the replicated tables.
var (
	keyMeta          = []byte{byte(tableMeta), keyVersion, 0}
	keyConfiguration = []byte{byte(tableMeta), keyVersion, 1}
	keyChecks        = []byte{byte(tableLocal), keyVersion, 0}
	keyMismatch      = []byte{byte(tableLocal), keyVersion, 1}
)

// key starts a key: table, encoding version, scope.
func (id tableID) key(scope record.Scope) []byte {
	k := append(make([]byte, 0, 64), byte(id), keyVersion)
	return binary.BigEndian.AppendUint32(k, uint32(scope))
}

// textKey ends a key with one text. Being last it needs no terminator.
func (id tableID) textKey(scope record.Scope, text string) []byte {
	return append(id.key(scope), text...)
}

// appendPart adds a text that is not the last of its key. No text of a key
// contains NUL (record refuses control characters), so NUL ends it and keeps
// the order of the texts.
func appendPart(k []byte, text string) []byte { return append(append(k, text...), 0) }

// prefixEnd is the first key after all that start with prefix.
func prefixEnd(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// after is the first key behind k.
func after(k []byte) []byte { return append(slices.Clone(k), 0) }
