package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/mcpraft/mcpraft/internal/strictjson"
)

// MaxBatch is how many messages one batch may hold.
const MaxBatch = 256

// maxMethod is the longest method, in bytes.
const maxMethod = 256

// Limits bound what is read, and say how much of a stranger's carelessness is
// mended.
type Limits struct {
	Bytes int // of one message or batch
	Depth int // of arrays and objects in each other

	// Lenient mends what a careless server writes, because one bad tool must not
	// lose a list: the last of members with the same name counts, a value below
	// Depth becomes null, names lose invalid UTF-8, a missing result is an empty
	// one, an error that is not an object becomes one. Repairs says where.
	Lenient bool
}

// The limits of the two sides.
var (
	Inbound      = Limits{Bytes: 4 << 20, Depth: 64}
	FromUpstream = Limits{Bytes: 16 << 20, Depth: 256, Lenient: true}
)

// Parse reads one message. The message keeps data, which nobody may change
// afterwards.
//
// Refused are: names twice in one object at any depth; members of the envelope, and
// of the parameters that decisions are made on, that differ from the known names
// in case or hold control characters (a reader that ignores case would see another
// message than we do); ids that are not a string or an integer; a result beside an
// error. A byte order mark is skipped. Strings with invalid UTF-8 or an unpaired
// surrogate are mended with U+FFFD, which Repairs tells.
//
// The error is always an *Error, of code CodeParse or CodeInvalidRequest, which
// says where; its ID is that of the refused message if it could be told.
func Parse(data []byte, l Limits) (*Message, error) {
	data, repairs, err := l.read(data)
	if err != nil {
		return nil, err
	}
	if data[0] != '{' {
		return nil, refusal("", "a message must be an object")
	}
	return l.message(data, repairs)
}

// ParseAny reads one message, or a batch of 1 to MaxBatch of them, for the
// revisions that have batches. One bad message refuses the batch.
func ParseAny(data []byte, l Limits) (list []*Message, batch bool, err error) {
	data, repairs, err := l.read(data)
	if err != nil {
		return nil, false, err
	}
	if data[0] == '{' {
		m, err := l.message(data, repairs)
		return []*Message{m}, false, err
	}
	if data[0] != '[' {
		return nil, false, refusal("", "a message must be an object, or an array of objects")
	}
	for element := range strictjson.Elements(data) {
		if len(list) == MaxBatch {
			return nil, true, refusal("", "a batch of more than %d messages", MaxBatch)
		}
		if element[0] != '{' {
			return nil, true, refusal("", "message %d of the batch is not an object", len(list))
		}
		m, err := l.message(element, within(repairs, fmt.Sprintf("/%d", len(list))))
		if err != nil {
			return nil, true, err
		}
		list = append(list, m)
	}
	if len(list) == 0 {
		return nil, true, refusal("", "an empty batch")
	}
	return list, true, nil
}

// read makes data valid JSON on one line, without what surrounds it.
func (l Limits) read(data []byte) ([]byte, []strictjson.Repair, error) {
	if len(data) > l.Bytes {
		return nil, nil, refusal("", "larger than the limit of %d bytes", l.Bytes)
	}
	rules := strictjson.Rules{Depth: l.Depth}
	err := rules.Valid(data)
	if err == nil {
		data = bytes.Trim(bytes.TrimPrefix(data, byteOrderMark), " \t\r\n")
		if bytes.IndexByte(data, '\n') >= 0 || bytes.IndexByte(data, '\r') >= 0 {
			data = strictjson.Compact(data)
		}
		return data, nil, nil
	}
	tolerance := strictjson.MendStrings
	if l.Lenient {
		tolerance = strictjson.MendStructure
	}
	mended, repairs, err := rules.Mend(data, tolerance)
	if err != nil {
		return nil, nil, unreadable(err)
	}
	return mended, repairs, nil
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// unreadable is the answer to a message that is not JSON by our rules.
func unreadable(err error) *Error {
	code := CodeParse
	if errors.Is(err, strictjson.ErrDuplicateName) || errors.Is(err, strictjson.ErrTooDeep) {
		code = CodeInvalidRequest
	}
	return &Error{Code: code, Message: "the message cannot be read: " + err.Error()}
}

// refusal is the answer to JSON that is no message of ours.
func refusal(id ID, format string, args ...any) *Error {
	return &Error{Code: CodeInvalidRequest, Message: "the message is refused: " + fmt.Sprintf(format, args...), ID: id}
}

// within are the repairs below path, told from there.
func within(repairs []strictjson.Repair, path string) []strictjson.Repair {
	var out []strictjson.Repair
	for _, r := range repairs {
		if rest, ok := strings.CutPrefix(r.Path, path); ok && (rest == "" || rest[0] == '/') {
			out = append(out, strictjson.Repair{Path: rest, Reason: r.Reason})
		}
	}
	return out
}

// message reads the envelope in valid JSON that begins with a brace.
func (l Limits) message(data []byte, repairs []strictjson.Repair) (*Message, error) {
	m := &Message{wire: data, repairs: repairs}
	if err := m.find(); err != nil {
		return nil, err
	}
	id, idErr := m.readID()
	m.id = id
	if version := m.part(partVersion); string(version) != `"2.0"` {
		return nil, refusal(id, `"jsonrpc" must be "2.0"`)
	}
	if idErr != nil {
		return nil, idErr
	}
	var err error
	if m.parts[partMethod].none() {
		err = m.readAnswer(l)
	} else {
		err = m.readCall(l)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// find notes where the parts are.
func (m *Message) find() error {
	for member := range strictjson.Members(m.wire) {
		p, known := partOf(member.Name)
		if known {
			m.parts[p] = span{member.At, member.At + len(member.Value)}
			continue
		}
		if err := lookalike(member.Name, partNames[:]); err != nil {
			return err
		}
	}
	return nil
}

// partOf is the part that has the quoted name.
func partOf(quoted []byte) (part, bool) {
	for p, name := range partNames {
		if string(quoted) == name {
			return part(p), true
		}
	}
	return 0, false
}

// readID reads the id, which may be absent, and null beside an error.
func (m *Message) readID() (ID, error) {
	raw := m.part(partID)
	if raw == nil {
		return "", nil
	}
	if raw[0] == 'n' && m.parts[partMethod].none() && !m.parts[partError].none() {
		return "", nil
	}
	id, ok := ParseID(raw)
	if !ok {
		return "", refusal("", `"id" must be a string or an integer of at most %d bytes`, MaxID)
	}
	return id, nil
}

// readCall reads a request or a notification.
func (m *Message) readCall(l Limits) error {
	if !m.parts[partResult].none() || !m.parts[partError].none() {
		return refusal(m.id, "a method beside a result or an error")
	}
	method, ok := methodOf(m.part(partMethod))
	if !ok || method == "" || len(method) > maxMethod {
		return refusal(m.id, `"method" must be a string of 1 to %d bytes`, maxMethod)
	}
	m.method, m.kind = method, KindRequest
	if m.id == "" {
		m.kind = KindNotification
	}
	params := m.Params()
	if params == nil {
		return nil
	}
	if params[0] != '{' {
		return refusal(m.id, `"params" must be an object`)
	}
	if l.Lenient {
		return nil
	}
	return m.checkParams(params)
}

// checkParams refuses names that are almost those that decisions are made on.
func (m *Message) checkParams(params []byte) error {
	for member := range strictjson.Members(params) {
		if err := lookalike(member.Name, decisive); err != nil {
			err.ID = m.id
			return err
		}
	}
	return nil
}

// decisive are the names in params, quoted, that routing and rights depend on.
var decisive = []string{
	`"_meta"`, `"name"`, `"uri"`, `"arguments"`, `"ref"`, `"taskId"`, `"requestId"`, `"progressToken"`,
	`"level"`, `"cursor"`, `"notifications"`, `"inputResponses"`, `"requestState"`, `"protocolVersion"`, `"capabilities"`,
}

// lookalike refuses a quoted name that another reader could take for one of the
// known ones: it differs in case or in the way it is escaped, or holds control
// characters, which some readers cut off.
func lookalike(quoted []byte, known []string) *Error {
	plain := quoted
	if bytes.IndexByte(quoted, '\\') >= 0 {
		text, _ := strictjson.Text(quoted)
		if strings.ContainsFunc(text, unicode.IsControl) {
			return refusal("", "control characters in the name %s", quoted)
		}
		plain = strictjson.AppendQuote(nil, text)
	}
	for _, name := range known {
		if len(plain) < len(name) || !bytes.EqualFold(plain, []byte(name)) {
			continue
		}
		if string(quoted) != name {
			return refusal("", "the name %s, where it must be written %s", cut(quoted), name)
		}
		return nil
	}
	return nil
}

// cut is what an error repeats of the input.
func cut(input []byte) []byte { return input[:min(len(input), 64)] }

// methodOf is the text of a method; known ones cost no memory.
func methodOf(raw []byte) (string, bool) {
	if len(raw) > 2 {
		if method, ok := methods[string(raw[1:len(raw)-1])]; ok && raw[0] == '"' {
			return method, true
		}
	}
	return strictjson.Text(raw)
}

// readAnswer reads a result or an error.
func (m *Message) readAnswer(l Limits) error {
	hasResult, hasError := !m.parts[partResult].none(), !m.parts[partError].none()
	switch {
	case hasResult && hasError:
		return refusal(m.id, "both a result and an error")
	case hasError:
		m.kind = KindFailure
		return m.readError(l)
	case !hasResult:
		return refusal(m.id, "neither a method nor a result nor an error")
	case m.id == "":
		return refusal("", "a result without an id")
	}
	m.kind = KindResult
	switch result := m.Result(); {
	case result[0] == '{':
		return nil
	case result[0] == 'n' && l.Lenient:
		m.mend(partResult, []byte("{}"))
		return nil
	default:
		return refusal(m.id, `"result" must be an object`)
	}
}

// readError reads the error of a failure.
func (m *Message) readError(l Limits) error {
	raw := m.part(partError)
	e, ok := parseError(raw)
	if !ok && !l.Lenient {
		return refusal(m.id, `"error" must be an object with an integer "code" and a string "message"`)
	}
	if !ok {
		e = &Error{Code: CodeInternal, Message: "the server answered with an error that is not one of JSON-RPC", Data: raw}
		m.mend(partError, e.wire())
	}
	m.failure = e
	return nil
}

// mend replaces one part, while the message is being read.
func (m *Message) mend(p part, value []byte) {
	repairs := append(m.repairs, strictjson.Repair{Path: "/" + strings.Trim(partNames[p], `"`), Reason: strictjson.ErrValue})
	*m = *m.with(p, value)
	m.repairs = repairs
}
