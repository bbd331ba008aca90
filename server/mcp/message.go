package mcp

import (
	"bytes"

	"github.com/mcpraft/mcpraft/internal/strictjson"
)

// A Kind says which of the four things of JSON-RPC a message is.
type Kind uint8

// The kinds of messages.
const (
	KindRequest      Kind = iota + 1 // has a method and an id: it must be answered
	KindNotification                 // has a method and no id
	KindResult                       // answers a request
	KindFailure                      // answers a request with an error; its id may be unknown
)

// String is the kind in words, for errors and logs.
func (k Kind) String() string {
	switch k {
	case KindRequest:
		return "request"
	case KindNotification:
		return "notification"
	case KindResult:
		return "result"
	case KindFailure:
		return "error"
	default:
		return "nothing"
	}
}

// A Message is one JSON-RPC message. It is never changed; the With methods give
// copies.
type Message struct {
	kind    Kind
	id      ID
	method  string
	wire    []byte
	parts   [partCount]span
	failure *Error
	repairs []strictjson.Repair
}

// A part is a member of the envelope.
type part uint8

const (
	partVersion part = iota
	partID
	partMethod
	partParams
	partResult
	partError
	partCount
)

// partNames are the members' names, quoted as they stand in a message.
var partNames = [partCount]string{`"jsonrpc"`, `"id"`, `"method"`, `"params"`, `"result"`, `"error"`}

// A span is where a part's value stands in the wire form; no part is empty, so
// that the zero span means that there is none.
type span struct{ from, to int }

func (s span) none() bool { return s.to == 0 }

// Kind says what m is.
func (m *Message) Kind() Kind { return m.kind }

// ID is the id of a request or of what answers it; "" for a notification, and for
// an error whose sender did not know the id.
func (m *Message) ID() ID { return m.id }

// Method is the method of a request or notification, otherwise "".
func (m *Message) Method() string { return m.method }

// Params is the object of parameters; nil if there is none.
func (m *Message) Params() []byte { return m.part(partParams) }

// Result is the result's object; nil if m is not a result.
func (m *Message) Result() []byte { return m.part(partResult) }

// Err is the error of a KindFailure, otherwise nil.
func (m *Message) Err() *Error { return m.failure }

// Bytes is the wire form: on one line, otherwise as it came.
func (m *Message) Bytes() []byte { return m.wire }

// Repairs says what of the message had to be mended before it could be read; see
// [Parse]. Paths begin at the message.
func (m *Message) Repairs() []strictjson.Repair { return m.repairs }

func (m *Message) part(p part) []byte {
	at := m.parts[p]
	if at.none() {
		return nil
	}
	value := m.wire[at.from:at.to:at.to]
	if p == partParams && value[0] == 'n' {
		return nil
	}
	return value
}

// WithID is m under another id: a request, or an answer. An error of unknown id
// gets one.
func (m *Message) WithID(id ID) *Message {
	out := m.with(partID, []byte(id))
	out.id = id
	return out
}

// WithMethod is m, a request or notification, with another method.
func (m *Message) WithMethod(method string) *Message {
	out := m.with(partMethod, Quote(method))
	out.method = method
	return out
}

// WithParams is m, a request or notification, with other parameters: one valid
// JSON object.
func (m *Message) WithParams(params []byte) *Message { return m.with(partParams, params) }

// WithResult is m, a result, with another result: one valid JSON object.
func (m *Message) WithResult(result []byte) *Message { return m.with(partResult, result) }

// with is a copy of m whose part p is value; a part that was missing is added at
// the end.
func (m *Message) with(p part, value []byte) *Message {
	out := *m
	at := m.parts[p]
	if at.none() {
		out.wire = m.appended(p, value)
		end := len(out.wire) - 1
		out.parts[p] = span{end - len(value), end}
		return &out
	}
	out.wire = splice(m.wire, at.from, at.to, value)
	moved := len(value) - (at.to - at.from)
	for i := range out.parts {
		if other := &out.parts[i]; other.from > at.from {
			other.from += moved
			other.to += moved
		}
	}
	out.parts[p].to += moved
	return &out
}

// appended is the wire form with one more member. The envelope has at least two.
func (m *Message) appended(p part, value []byte) []byte {
	body := bytes.TrimRight(m.wire[:len(m.wire)-1], " \t")
	wire := make([]byte, 0, len(m.wire)+len(partNames[p])+len(value)+3)
	wire = append(append(wire, body...), ',')
	wire = append(append(wire, partNames[p]...), ':')
	return append(append(wire, value...), '}')
}

// splice is a copy of data with value in the place of data[from:to].
func splice(data []byte, from, to int, value []byte) []byte {
	out := make([]byte, 0, len(data)-(to-from)+len(value))
	out = append(append(out, data[:from]...), value...)
	return append(out, data[to:]...)
}

// Request makes a request. Params is one valid JSON object, nil for none.
func Request(id ID, method string, params []byte) *Message {
	w := builder{}
	w.member(partID, string(id))
	w.member(partMethod, string(Quote(method)))
	w.member(partParams, string(params))
	return w.message(Message{kind: KindRequest, id: id, method: method})
}

// Notification makes a notification. Params is as that of Request.
func Notification(method string, params []byte) *Message {
	w := builder{}
	w.member(partMethod, string(Quote(method)))
	w.member(partParams, string(params))
	return w.message(Message{kind: KindNotification, method: method})
}

// Answer makes the answer to the request id. Result is one valid JSON object;
// nil is an empty one.
func Answer(id ID, result []byte) *Message {
	if result == nil {
		result = []byte("{}")
	}
	w := builder{}
	w.member(partID, string(id))
	w.member(partResult, string(result))
	return w.message(Message{kind: KindResult, id: id})
}

// Failed makes the error that answers the request id. If the id is unknown
// ("") there is no id member: MCP allows that, and never null.
func Failed(id ID, e *Error) *Message {
	w := builder{}
	w.member(partID, string(id))
	w.member(partError, string(e.wire()))
	return w.message(Message{kind: KindFailure, id: id, failure: e})
}

// A builder writes a message of ours.
type builder struct {
	wire  []byte
	parts [partCount]span
}

const opening = `{"jsonrpc":"2.0"`

// member adds one part, if there is a value.
func (b *builder) member(p part, value string) {
	if value == "" {
		return
	}
	if b.wire == nil {
		b.wire = append(make([]byte, 0, 64+len(value)), opening...)
		b.parts[partVersion] = span{len(opening) - len(`"2.0"`), len(opening)}
	}
	b.wire = append(append(append(b.wire, ','), partNames[p]...), ':')
	from := len(b.wire)
	b.wire = append(b.wire, value...)
	b.parts[p] = span{from, len(b.wire)}
}

func (b *builder) message(m Message) *Message {
	m.wire, m.parts = append(b.wire, '}'), b.parts
	return &m
}
