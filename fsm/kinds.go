package fsm

import (
	"fmt"
	"reflect"
	"strings"
)

// kind is a command's number on the log.
type kind uint16

// Numbers are for ever: append, never reuse, never reorder.
const (
	kindEpochStart         kind = 1
	kindInitCluster        kind = 2
	kindSetClusterVersion  kind = 3
	kindOpenProducer       kind = 4
	kindCloseProducers     kind = 5
	kindDigestCheck        kind = 6
	kindPutMember          kind = 7
	kindRemoveMember       kind = 8
	kindAcquireClaim       kind = 9
	kindReleaseClaim       kind = 10
	kindRegisterEntry      kind = 11
	kindUnregisterEntry    kind = 12
	kindCreateSession      kind = 13
	kindMoveSession        kind = 14
	kindTouchSessions      kind = 15
	kindExpireSessions     kind = 16
	kindPurgeSessions      kind = 17
	kindUpdateSession      kind = 18
	kindPutSessionSettings kind = 19
	kindPutUpstream        kind = 20
	kindRemoveUpstream     kind = 21
	kindSweepIdempotency   kind = 22
	kindBindSession        kind = 23
	kindPutCalls           kind = 24
	kindDropCalls          kind = 25
	kindPutToken           kind = 26
	kindRevokeToken        kind = 27
	kindPutKeyRing         kind = 28
	kindActivateSessions   kind = 29
	kindStagePage          kind = 30
	kindSwapSlice          kind = 31
	kindFailSlice          kind = 32
	kindDropPages          kind = 33
	kindArchiveAdvance     kind = 35
	kindNoteBackup         kind = 36
	kindPutLabel           kind = 37
	kindRemoveLabels       kind = 38
	kindNoteVerification   kind = 39
	kindPutCredential      kind = 44
	kindRemoveCredential   kind = 45
	kindSealCredential     kind = 46
)

// A row is what the log needs to know of a command beside its methods.
type row struct {
	name         string
	make         func() Command
	clusterWide  bool // changes records of the whole cluster: its scope is 0
	housekeeping bool // the cluster's own upkeep: no reason for another digest check
}

// kinds has one row for each command; index 0 and gaps are no command.
var kinds = [...]row{
	kindEpochStart:         {"EpochStart", func() Command { return new(EpochStart) }, true, true},
	kindInitCluster:        {"InitCluster", func() Command { return new(InitCluster) }, true, false},
	kindSetClusterVersion:  {"SetClusterVersion", func() Command { return new(SetClusterVersion) }, true, false},
	kindOpenProducer:       {"OpenProducer", func() Command { return new(OpenProducer) }, true, true},
	kindCloseProducers:     {"CloseProducers", func() Command { return new(CloseProducers) }, true, true},
	kindDigestCheck:        {"DigestCheck", func() Command { return new(DigestCheck) }, true, true},
	kindPutMember:          {"PutMember", func() Command { return new(PutMember) }, true, false},
	kindRemoveMember:       {"RemoveMember", func() Command { return new(RemoveMember) }, true, false},
	kindAcquireClaim:       {"AcquireClaim", func() Command { return new(AcquireClaim) }, true, false},
	kindReleaseClaim:       {"ReleaseClaim", func() Command { return new(ReleaseClaim) }, true, false},
	kindRegisterEntry:      {"RegisterEntry", func() Command { return new(RegisterEntry) }, false, false},
	kindUnregisterEntry:    {"UnregisterEntry", func() Command { return new(UnregisterEntry) }, false, false},
	kindCreateSession:      {"CreateSession", func() Command { return new(CreateSession) }, false, false},
	kindMoveSession:        {"MoveSession", func() Command { return new(MoveSession) }, false, false},
	kindTouchSessions:      {"TouchSessions", func() Command { return new(TouchSessions) }, false, false},
	kindExpireSessions:     {"ExpireSessions", func() Command { return new(ExpireSessions) }, false, false},
	kindPurgeSessions:      {"PurgeSessions", func() Command { return new(PurgeSessions) }, false, false},
	kindUpdateSession:      {"UpdateSession", func() Command { return new(UpdateSession) }, false, false},
	kindPutSessionSettings: {"PutSessionSettings", func() Command { return new(PutSessionSettings) }, false, false},
	kindPutUpstream:        {"PutUpstream", func() Command { return new(PutUpstream) }, false, false},
	kindRemoveUpstream:     {"RemoveUpstream", func() Command { return new(RemoveUpstream) }, false, false},
	kindSweepIdempotency:   {"SweepIdempotency", func() Command { return new(SweepIdempotency) }, false, true},
	kindBindSession:        {"BindSession", func() Command { return new(BindSession) }, false, false},
	kindPutCalls:           {"PutCalls", func() Command { return new(PutCalls) }, false, false},
	kindDropCalls:          {"DropCalls", func() Command { return new(DropCalls) }, false, true},
	kindPutToken:           {"PutToken", func() Command { return new(PutToken) }, false, false},
	kindRevokeToken:        {"RevokeToken", func() Command { return new(RevokeToken) }, false, false},
	kindPutKeyRing:         {"PutKeyRing", func() Command { return new(PutKeyRing) }, true, false},
	kindActivateSessions:   {"ActivateSessions", func() Command { return new(ActivateSessions) }, false, false},
	kindStagePage:          {"StagePage", func() Command { return new(StagePage) }, false, false},
	kindSwapSlice:          {"SwapSlice", func() Command { return new(SwapSlice) }, false, false},
	kindFailSlice:          {"FailSlice", func() Command { return new(FailSlice) }, false, false},
	kindDropPages:          {"DropPages", func() Command { return new(DropPages) }, false, true},
	kindArchiveAdvance:     {"ArchiveAdvance", func() Command { return new(ArchiveAdvance) }, true, true},
	kindNoteBackup:         {"NoteBackup", func() Command { return new(NoteBackup) }, true, true},
	kindPutLabel:           {"PutLabel", func() Command { return new(PutLabel) }, true, false},
	kindRemoveLabels:       {"RemoveLabels", func() Command { return new(RemoveLabels) }, true, false},
	kindNoteVerification:   {"NoteVerification", func() Command { return new(NoteVerification) }, true, true},
	kindPutCredential:      {"PutCredential", func() Command { return new(PutCredential) }, false, false},
	kindRemoveCredential:   {"RemoveCredential", func() Command { return new(RemoveCredential) }, false, false},
	kindSealCredential:     {"SealCredential", func() Command { return new(SealCredential) }, false, false},
}

// known reports whether k is a command of this binary.
func (k kind) known() bool { return int(k) < len(kinds) && kinds[k].make != nil }

// CommandName is the name of a command in the command table, for logs and
// metrics.
func CommandName(c Command) string { return kinds[c.kind()].name }

// Upkeep reports whether c is the cluster's own upkeep: nothing that a caller asked
// for.
func Upkeep(c Command) bool { return kinds[c.kind()].housekeeping }

// CommandTable is the table of all commands in Markdown, as docs/commands.md
// and ARCHITECTURE.md hold it between the marks <!-- commands --> and
// <!-- /commands -->.
func CommandTable() string {
	var b strings.Builder
	b.WriteString("| number | command | fields | rejections |\n| ---: | --- | --- | --- |\n")
	for number, row := range kinds {
		if row.make == nil {
			continue
		}
		c := row.make()
		fmt.Fprintf(&b, "| %d | `%s` | %s | %s |\n", number, row.name, fieldList(c), rejectionList(c))
	}
	return b.String()
}

func fieldList(c Command) string {
	var list []string
	for f := range reflect.TypeOf(c).Elem().Fields() {
		list = append(list, fmt.Sprintf("%s `%s`", f.Name, strings.ReplaceAll(f.Type.String(), "fsm.", "")))
	}
	return strings.Join(list, ", ")
}

func rejectionList(c Command) string {
	var list []string
	for _, r := range c.rejections() {
		list = append(list, fmt.Sprintf("`%v` %s", r.kind, r.when))
	}
	if len(list) == 0 {
		return "none of its own"
	}
	return strings.Join(list, "; ")
}
