package fsm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// TestScripts runs the conversations in testdata. A script has:
//
//	apply [at=TIME] [index=N] [term=N]
//	NAME {fields as JSON} [producer=#D seq=N acked=N] [fence=TERM] [key=K route=R hash=D] [actor=NAME] [scope=N]
//
// one command per line, all in one entry; `at` is the leader's stamp. #D stands
// for the id of 32 digits D; states and registry types are written as their
// names; TIME is a duration since 1970.
//
//	entries type=T [prefix=P] [after=K] [limit=N]   sessions [by=user|client|state|owner of=X] [after=ID]
//	whereis type=T key=K   session id=ID   upstreams   members   claims   producers   epoch   settings   counts
//	call id=#D   calls [after=#D]   token name=N   tokens [after=N] [limit=N]   keyring
//	expired at=TIME   meta   checks   windows   configure [index=N] DATA   reopen   restore
//	slice alias=A [key=K]   slices   pages alias=A [key=K] generation=G   loose
//	archive   label name=N   labels [after=N] [limit=N]
//	fill [tokens=N] [labels=N] [credentials=N]
//
// fill makes records with names that no script uses.
//
// After every step the digest is compared with one of the whole state, and the
// counters with a recount. Together the scripts must meet every rejection of the
// command table, and no other.
func TestScripts(t *testing.T) {
	met := make(map[string]bool)
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{t: t, fs: vfs.NewMem(), met: met}
		s.m = openTest(t, s.fs)
		datadriven.RunTest(t, path, s.run)
		if err := s.m.Close(); err != nil && !s.faulted {
			t.Error(err)
		}
	})
	for _, row := range kinds {
		if row.make == nil {
			continue
		}
		for _, r := range row.make().rejections() {
			name := fmt.Sprintf("%s %v", row.name, r.kind)
			if !met[name] {
				t.Errorf("no script meets the rejection %s", name)
			}
			delete(met, name)
		}
		delete(met, row.name+" accepted")
	}
	for name := range met {
		t.Errorf("the command table does not have %s", name)
	}
}

// meet notes what a command was answered, unless any command may be.
func (s *script) meet(command string, o Outcome) {
	switch {
	case o.Replayed:
	case o.Kind == 0:
		s.met[command+" accepted"] = true
	case o.Kind == fault.Invalid, o.Kind == fault.OutcomeUnknown, o.Kind == fault.Mismatch,
		strings.HasPrefix(o.Message, "the command was made in term"),
		strings.Contains(o.Message, "of producer") && o.Kind == fault.Overloaded:
	default:
		s.met[fmt.Sprintf("%s %v", command, o.Kind)] = true
	}
}

type script struct {
	met     map[string]bool // by command and rejection
	t       *testing.T
	fs      *vfs.MemFS
	m       *Machine
	index   uint64
	term    uint64
	faulted bool
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	s.t = t
	if d.Cmd == "apply" || d.Cmd == "configure" || d.Cmd == "raw" {
		out := s.apply(d)
		s.check()
		return out
	}
	if d.Cmd == "reopen" {
		return s.reopen()
	}
	if d.Cmd == "fill" {
		return s.fill(d)
	}
	if d.Cmd == "restore" {
		return s.restore()
	}
	v, err := s.m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	return s.show(v, d)
}

func (s *script) apply(d *datadriven.TestData) string {
	s.index++
	scanArg(d, "index", &s.index)
	if s.term == 0 {
		s.term = 1
	}
	scanArg(d, "term", &s.term)
	e := Entry{Index: s.index, Term: s.term}
	switch d.Cmd {
	case "configure":
		e.Kind, e.Data = EntryConfiguration, []byte(d.Input)
	case "raw":
		data, err := parseHex(d.Input)
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		e.Data = data
	default:
		e.Data = s.envelope(d)
	}
	results, err := s.m.Apply([]Entry{e})
	if err != nil {
		s.faulted = true
		return "fault: " + err.Error() + "\n"
	}
	if results[0] == nil {
		return ""
	}
	var out strings.Builder
	names := strings.Split(d.Input, "\n")
	for i, o := range results[0] {
		name, _, _ := strings.Cut(names[i], " ")
		s.meet(name, o)
		out.WriteString(outcomeLine(o) + "\n")
	}
	return out.String()
}

func (s *script) id(d *datadriven.TestData, arg string) (id record.ID) {
	if arg == "" {
		return id
	}
	id, err := record.ParseID(strings.Repeat(strings.TrimPrefix(arg, "#"), 32))
	if err != nil {
		d.Fatalf(s.t, "%v", err)
	}
	return id
}

func (s *script) fill(d *datadriven.TestData) string {
	var tokens, labels, credentials uint64
	scanArg(d, "tokens", &tokens)
	scanArg(d, "labels", &labels)
	scanArg(d, "credentials", &credentials)
	var proposals []Proposal
	for i := range labels {
		proposals = append(proposals, propose(&PutLabel{Name: fmt.Sprintf("zz-fill-%d", i)}))
	}
	for i := range credentials {
		proposals = append(proposals, propose(&PutCredential{Credential: record.Credential{
			Name: fmt.Sprintf("zz-fill-%d", i), Kind: record.CredentialHeader, Secret: []byte("f"),
		}}))
	}
	for i := range tokens {
		proposals = append(proposals, propose(&PutToken{Token: record.Token{
			Name: fmt.Sprintf("zz-fill-%d", i), Hash: bytes.Repeat([]byte("f"), record.TokenHashBytes), Principal: testActor,
		}}))
	}
	for batch := range slices.Chunk(proposals, 500) {
		s.index++
		if _, err := s.m.Apply([]Entry{envelopeEntry(s.t, s.index, 0, batch...)}); err != nil {
			d.Fatalf(s.t, "%v", err)
		}
	}
	s.check()
	return "ok\n"
}

func parseHex(s string) (b []byte, err error) {
	_, err = fmt.Sscanf(strings.ReplaceAll(s, " ", ""), "%x", &b)
	return b, err
}

func outcomeLine(o Outcome) string {
	line := "accepted"
	if o.Kind != 0 {
		line = fmt.Sprintf("%v: %s", o.Kind, o.Message)
	}
	if o.Replayed {
		line = "replayed: " + line
	}
	if o.Revision != 0 {
		line += fmt.Sprintf(" [revision %d]", o.Revision)
	}
	if len(o.Value) > 0 {
		c, err := o.Counts()
		line += fmt.Sprintf(" [changed %d, skipped %d]%s", c.Changed, c.Skipped, errorText(err))
	}
	return line
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return " " + err.Error()
}

// envelope encodes the commands without validating them, so that scripts see
// what apply makes of what a leader would refuse.
func (s *script) envelope(d *datadriven.TestData) []byte {
	var stamp record.LogTime
	if arg := text(d, "at"); arg != "" {
		stamp = s.time(d, arg)
	}
	var encoded [][]byte
	for line := range strings.Lines(d.Input) {
		encoded = append(encoded, s.proposal(d, strings.TrimSpace(line)))
	}
	data, err := AppendEnvelope(stamp, encoded)
	if err != nil {
		d.Fatalf(s.t, "%v", err)
	}
	return data
}

func (s *script) time(d *datadriven.TestData, arg string) record.LogTime {
	at, err := time.ParseDuration(arg)
	if err != nil {
		d.Fatalf(s.t, "%v", err)
	}
	return record.LogTimeAt(time.UnixMilli(at.Milliseconds()))
}

var (
	idPattern   = regexp.MustCompile(`#([0-9a-f])`)
	wordPattern = regexp.MustCompile(`(?i)"(type|state|to)": *"(\w+)"`)
	timePattern = regexp.MustCompile(`(?i)"(lastactive|seenlastactive)": *"(\w+)"`)
)

func (s *script) proposal(d *datadriven.TestData, line string) []byte {
	line = idPattern.ReplaceAllStringFunc(line, func(m string) string { return strings.Repeat(m[1:], 32) })
	name, rest, _ := strings.Cut(line, " ")
	c := commandNamed(name)
	if c == nil {
		d.Fatalf(s.t, "no command %q", name)
	}
	options := s.decodeCommand(d, rest, c)
	p := Proposal{Actor: testActor, Command: c}
	for option := range strings.FieldsSeq(options) {
		key, value, _ := strings.Cut(option, "=")
		s.setOption(d, &p, key, value)
	}
	return encodeUnchecked(s.t, &p)
}

// decodeCommand reads the JSON at the start of text into c; the rest is options.
func (s *script) decodeCommand(d *datadriven.TestData, text string, c Command) string {
	text = wordPattern.ReplaceAllStringFunc(text, func(m string) string {
		parts := wordPattern.FindStringSubmatch(m)
		if typ, err := record.ParseEntryType(parts[2]); err == nil && strings.EqualFold(parts[1], "type") {
			return fmt.Sprintf(`%q:%d`, parts[1], typ)
		}
		if state, err := record.ParseSessionState(parts[2]); err == nil {
			return fmt.Sprintf(`%q:%d`, parts[1], state)
		}
		return m
	})
	text = timePattern.ReplaceAllStringFunc(text, func(m string) string {
		parts := timePattern.FindStringSubmatch(m)
		return fmt.Sprintf(`%q:%d`, parts[1], s.time(d, parts[2]))
	})
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(c); err != nil {
		d.Fatalf(s.t, "%v in %s", err, text)
	}
	return text[dec.InputOffset():]
}

func (s *script) setOption(d *datadriven.TestData, p *Proposal, key, value string) {
	number, _ := strconv.ParseUint(value, 10, 64)
	if key == "key" || key == "route" || key == "hash" {
		if p.Idempotency == nil {
			p.Idempotency = &Idempotency{Route: "PUT /v1/x", Hash: [32]byte{1}}
		}
	}
	switch key {
	case "producer":
		id, err := record.ParseID(value)
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		p.Producer = id
	case "seq":
		p.Sequence = number
	case "acked":
		p.Acked = number
	case "fence":
		p.Term = number
	case "scope":
		p.Scope = record.Scope(number)
	case "actor":
		p.Actor.Subject = value
	case "key":
		p.Idempotency.Key = value
	case "route":
		p.Idempotency.Route = value
	case "hash":
		p.Idempotency.Hash = [32]byte{byte(number)}
	default:
		d.Fatalf(s.t, "no option %q", key)
	}
}

func commandNamed(name string) Command {
	for _, row := range kinds {
		if row.name == name {
			return row.make()
		}
	}
	return nil
}

// encodeUnchecked is EncodeProposal for proposals that it would refuse.
func encodeUnchecked(t testing.TB, p *Proposal) []byte {
	t.Helper()
	data, err := encodeProposal(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (s *script) check() {
	s.t.Helper()
	if !s.faulted {
		checkDigest(s.t, s.m)
		checkCounters(s.t, s.m)
	}
}

func (s *script) reopen() string {
	err := s.m.Close()
	s.m, s.faulted = openTest(s.t, s.fs), false
	s.index = s.m.Meta().Index
	s.check()
	if err != nil {
		return err.Error() + "\n"
	}
	return "ok\n"
}

// restore sends the state through a snapshot stream into itself.
func (s *script) restore() string {
	stream := snapshotBytes(s.t, s.m)
	if err := s.m.Restore(bytes.NewReader(stream), Installed{}); err != nil {
		return err.Error() + "\n"
	}
	s.check()
	return "ok\n"
}

func (s *script) show(v *View, d *datadriven.TestData) string {
	var scope uint64
	scanArg(d, "scope", &scope)
	sc := record.Scope(scope)
	switch d.Cmd {
	case "entries":
		limit := uint64(1 << 20)
		scanArg(d, "limit", &limit)
		typ, err := record.ParseEntryType(text(d, "type"))
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		return lines(v.Entries(sc, typ, text(d, "prefix"), text(d, "after")), int(limit))
	case "whereis":
		typ, _ := record.ParseEntryType(text(d, "type"))
		return line(v.WhereIs(sc, typ, text(d, "key")))
	case "session":
		return line(v.Session(sc, text(d, "id")))
	case "sessions":
		return lines(s.sessions(v, sc, d), 1<<20)
	case "upstream":
		return line(v.Upstream(sc, text(d, "alias")))
	case "upstreams":
		return lines(v.Upstreams(sc, text(d, "after")), 1<<20)
	case "member":
		return line(v.Member(text(d, "node")))
	case "members":
		return lines(v.Members(), 1<<20)
	case "claim":
		return line(v.Claim(text(d, "name")))
	case "claims":
		return lines(v.Claims(text(d, "prefix")), 1<<20)
	case "producers":
		return lines(v.Producers(), 1<<20)
	case "call":
		return line(v.Call(sc, s.id(d, text(d, "id"))))
	case "calls":
		return lines(v.Calls(sc, s.id(d, text(d, "after"))), 1<<20)
	case "token":
		return line(v.Token(sc, text(d, "name")))
	case "tokens":
		limit := uint64(1 << 20)
		scanArg(d, "limit", &limit)
		return lines(v.Tokens(sc, text(d, "after")), int(limit))
	case "credential":
		return line(v.Credential(sc, text(d, "name")))
	case "credentials":
		return lines(v.Credentials(sc, text(d, "after")), 10)
	case "keyring":
		return line(v.KeyRing())
	case "slice":
		return line(v.Slice(sc, record.SliceID{Alias: text(d, "alias"), Key: text(d, "key")}))
	case "slices":
		return lines(v.Slices(sc), 1<<20)
	case "pages":
		var generation uint64
		scanArg(d, "generation", &generation)
		return lines(v.SlicePages(sc, record.SliceID{Alias: text(d, "alias"), Key: text(d, "key")}, generation), 1<<20)
	case "loose":
		return lines(v.LoosePages(sc), 1<<20)
	case "archive":
		return line(v.Archive())
	case "label":
		return line(v.Label(text(d, "name")))
	case "labels":
		limit := uint64(1 << 20)
		scanArg(d, "limit", &limit)
		return lines(v.Labels(text(d, "after")), int(limit))
	case "epoch":
		return line(v.Epoch())
	case "settings":
		return line(v.SessionSettings(sc))
	case "counts":
		total, err := v.SessionCount(sc)
		of, err2 := v.SessionCountOf(sc, record.Principal{Issuer: testActor.Issuer, Subject: text(d, "of")})
		return fmt.Sprintf("total=%d of=%d%s%s\n", total, of, errorText(err), errorText(err2))
	case "expired":
		return lines(v.ExpiredIdempotency(sc, s.time(d, text(d, "at"))), 1<<20)
	case "meta":
		m := v.Meta()
		m.Digest = record.Digest{} // changes with every record; checked after every step
		return brief(m) + "\n"
	case "checks":
		out := fmt.Sprintf("%d checks\n", len(s.m.Checks()))
		if mm := s.m.Mismatch(); mm != nil {
			out += fmt.Sprintf("mismatch at index %d\n", mm.Index)
		}
		return out
	case "windows":
		return s.windows()
	}
	d.Fatalf(s.t, "no such step")
	return ""
}

func (s *script) sessions(v *View, sc record.Scope, d *datadriven.TestData) iter.Seq2[record.Session, error] {
	of, after := text(d, "of"), text(d, "after")
	switch text(d, "by") {
	case "user":
		return v.SessionsByUser(sc, record.Principal{Issuer: testActor.Issuer, Subject: of}, after)
	case "client":
		return v.SessionsByClient(sc, of, after)
	case "state":
		state, err := record.ParseSessionState(of)
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		return v.SessionsByState(sc, state, after)
	case "owner":
		return v.SessionsByOwner(sc, of, after)
	}
	return v.Sessions(sc, after)
}

func (s *script) windows() string {
	var out []string
	for id, w := range s.m.state.windows {
		var kept []uint64
		for sequence := range w.outcomes {
			kept = append(kept, sequence)
		}
		slices.Sort(kept)
		out = append(out, fmt.Sprintf("%s floor=%d kept=%v packs=%d\n", id.Short(), w.floor, kept, len(w.packs)))
	}
	slices.Sort(out)
	return strings.Join(out, "")
}

func scanArg(d *datadriven.TestData, key string, into *uint64) {
	if d.HasArg(key) {
		*into, _ = strconv.ParseUint(text(d, key), 10, 64)
	}
}

func text(d *datadriven.TestData, key string) string {
	for _, arg := range d.CmdArgs {
		if arg.Key == key {
			return strings.Join(arg.Vals, ",")
		}
	}
	return ""
}

func line[T any](v T, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return brief(v) + "\n"
}

func lines[T any](list iter.Seq2[T, error], limit int) string {
	var out strings.Builder
	n := 0
	for v, err := range list {
		if n++; n > limit {
			out.WriteString("…\n")
			break
		}
		out.WriteString(line(v, err))
	}
	return out.String()
}

// brief shows the fields of a record that are set.
func brief(v any) string {
	var out []string
	value := reflect.ValueOf(v)
	if value.Kind() != reflect.Struct {
		return fmt.Sprintf("%x", v)
	}
	for i := range value.NumField() {
		f := value.Field(i)
		if f.IsZero() {
			continue
		}
		out = append(out, value.Type().Field(i).Name+"="+briefValue(f.Interface()))
	}
	return strings.Join(out, " ")
}

func briefValue(v any) string {
	switch v := v.(type) {
	case record.LogTime:
		s := time.Duration(v.Time().UnixMilli() * int64(time.Millisecond)).String()
		if counter := v & 0xffff; counter != 0 {
			s += fmt.Sprintf("+%d", counter)
		}
		return s
	case record.ID:
		return "#" + v.String()[:1]
	case record.Principal:
		return v.Subject
	case []byte:
		return string(v)
	case record.Pool:
		return "{" + brief(v) + "}"
	case []record.ListItem:
		var out []string
		for _, i := range v {
			out = append(out, "{"+brief(i)+"}")
		}
		return strings.Join(out, " ")
	}
	return fmt.Sprint(v)
}
