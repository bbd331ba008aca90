package strictjson

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxRepairs is how many places of one text [Rules.Mend] repairs before it
// refuses the text.
const MaxRepairs = 1000

// ErrInvalidUTF8 is the reason of a Repair for text that stands for no character:
// invalid UTF-8, or half of a surrogate pair.
var ErrInvalidUTF8 = errors.New("invalid UTF-8 or an unpaired surrogate")

// A Repair is one place that Mend changed.
type Repair struct {
	Path   string // JSON pointer (RFC 6901) to the value, or to the member whose name was changed; cut at 256 bytes
	Reason error  // ErrInvalidUTF8, ErrDuplicateName or ErrTooDeep
}

// Tolerance says what [Rules.Mend] repairs beyond the strings.
type Tolerance uint8

const (
	// MendStrings repairs string values only: what stands for no character becomes
	// U+FFFD. Names must be right.
	MendStrings Tolerance = iota

	// MendStructure repairs names too, keeps the last of members that have the same
	// name, as most readers do, and replaces a value that is nested too deep with
	// null.
	MendStructure
)

// Mend makes a text valid by the rules, where it is JSON but for what the
// tolerance allows, and says where it changed it. Everything else keeps its
// bytes, but for white space between tokens, which is dropped. It is the slow path
// for a text that Valid has refused.
//
// The error is as that of Valid; also when there are more than MaxRepairs places.
func (rules Rules) Mend(data []byte, tolerance Tolerance) ([]byte, []Repair, error) {
	body := withoutBOM(data)
	all := tolerance == MendStructure
	if !all {
		if err := rules.checkDepth(body); err != nil {
			return nil, nil, shift(err, data, body)
		}
	}
	m := mender{
		text:  body,
		dec:   jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(all)),
		out:   make([]byte, 0, len(body)+len(body)/8),
		limit: cmp.Or(rules.Depth, DefaultDepth),
		names: all,
	}
	err := m.value(0)
	switch {
	case err == nil:
		err = m.end()
	case err == io.EOF:
		err = at(body, 0, "", ErrSyntax, "empty, where a JSON value should be")
	}
	if err != nil {
		if _, ours := errors.AsType[*Error](err); !ours {
			err = explain(body, err)
		}
		return nil, nil, shift(err, data, body)
	}
	return m.out, m.repairs, nil
}

// A mender copies one text, token by token.
type mender struct {
	text    []byte
	dec     *jsontext.Decoder
	out     []byte
	limit   int  // of the depth
	names   bool // are mended too
	repairs []Repair
}

// end refuses what follows the value.
func (m *mender) end() error {
	_, err := m.dec.ReadToken()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	default:
		return at(m.text, m.dec.InputOffset()-1, "", ErrSyntax, "more follows after the value")
	}
}

func (m *mender) value(depth int) error {
	switch kind := m.dec.PeekKind(); {
	case kind == jsontext.KindBeginObject || kind == jsontext.KindBeginArray:
		if depth == m.limit {
			return m.tooDeep()
		}
		if kind == jsontext.KindBeginObject {
			return m.object(depth + 1)
		}
		return m.array(depth + 1)
	case kind == jsontext.KindString:
		return m.string()
	default:
		raw, err := m.dec.ReadValue()
		m.out = append(m.out, raw...)
		return err
	}
}

// tooDeep puts null in the place of an array or object below the limit.
func (m *mender) tooDeep() error {
	if err := m.dec.SkipValue(); err != nil {
		return err
	}
	m.out = append(m.out, "null"...)
	return m.repaired(ErrTooDeep)
}

func (m *mender) string() error {
	raw, err := m.dec.ReadValue()
	if err != nil {
		return err
	}
	text, bad := mended(raw)
	m.out = append(m.out, text...)
	if bad {
		return m.repaired(ErrInvalidUTF8)
	}
	return nil
}

// mended is the JSON string raw with U+FFFD for what stands for no character.
func mended(raw []byte) (text []byte, bad bool) {
	if isPlain(raw[1:len(raw)-1]) || jsontext.Value(raw).IsValid() {
		return raw, false
	}
	plain, _ := jsontext.AppendUnquote(nil, raw) // the error is the one we mend
	return AppendQuote(nil, string(plain)), true
}

func (m *mender) array(depth int) error {
	if _, err := m.dec.ReadToken(); err != nil {
		return err
	}
	m.out = append(m.out, '[')
	for first := true; m.dec.PeekKind() != jsontext.KindEndArray; first = false {
		if !first {
			m.out = append(m.out, ',')
		}
		if err := m.value(depth); err != nil {
			return err
		}
	}
	m.out = append(m.out, ']')
	_, err := m.dec.ReadToken()
	return err
}

// object copies an object, and then takes out the members that later ones replace:
// their text is copied before that is known.
func (m *mender) object(depth int) error {
	if _, err := m.dec.ReadToken(); err != nil {
		return err
	}
	m.out = append(m.out, '{')
	var members []member
	replaced := false
	seen := make(map[string]int) // by name, the index in members
	for m.dec.PeekKind() != jsontext.KindEndObject {
		if len(members) > 0 {
			m.out = append(m.out, ',')
		}
		from := len(m.out)
		name, err := m.name()
		if err != nil {
			return err
		}
		if earlier, twice := seen[name]; twice {
			members[earlier].replaced = true
			replaced = true
			if err := m.repaired(ErrDuplicateName); err != nil {
				return err
			}
		}
		seen[name] = len(members)
		if err := m.value(depth); err != nil {
			return err
		}
		members = append(members, member{from: from, to: len(m.out)})
	}
	if replaced {
		m.keep(members)
	}
	m.out = append(m.out, '}')
	_, err := m.dec.ReadToken()
	return err
}

// A member is where one stands in the output, without commas.
type member struct {
	from, to int
	replaced bool
}

// name copies a member's name with its colon, and gives its text.
func (m *mender) name() (string, error) {
	raw, err := m.dec.ReadValue()
	if err != nil {
		return "", err
	}
	text, bad := mended(raw)
	if bad && !m.names {
		return "", at(m.text, m.dec.InputOffset()-int64(len(raw)), m.dec.StackPointer(), ErrSyntax, "invalid UTF-8 or an unpaired surrogate in a name")
	}
	m.out = append(append(m.out, text...), ':')
	name, _ := Text(text)
	if bad {
		return name, m.repaired(ErrInvalidUTF8)
	}
	return name, nil
}

// keep closes the gaps that replaced members leave.
func (m *mender) keep(members []member) {
	start := members[0].from
	to := start
	for _, member := range members {
		if member.replaced {
			continue
		}
		if to > start {
			m.out[to] = ','
			to++
		}
		to += copy(m.out[to:], m.out[member.from:member.to])
	}
	m.out = m.out[:to]
}

// repaired notes a repair at the place that was just read.
func (m *mender) repaired(reason error) error {
	if len(m.repairs) == MaxRepairs {
		return at(m.text, m.dec.InputOffset(), m.dec.StackPointer(), reason, fmt.Sprintf("%v, and %d places repaired before it", reason, MaxRepairs))
	}
	m.repairs = append(m.repairs, Repair{Path: cut(string(m.dec.StackPointer()), maxPath), Reason: reason})
	return nil
}
