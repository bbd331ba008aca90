package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A format is the form in which a command writes its result.
type format string

const (
	formatTable format = "table" // for people: columns, or aligned fields
	formatJSON  format = "json"  // one JSON value, snake_case, times in RFC 3339
	formatYAML  format = "yaml"  // the same value as YAML
)

var formats = []string{string(formatTable), string(formatJSON), string(formatYAML)}

func (f *format) String() string { return string(*f) }

func (f *format) Type() string { return "FORMAT" }

func (f *format) Set(s string) error {
	if !slices.Contains(formats, s) {
		return fmt.Errorf("unknown format %q, use one of %s", s, strings.Join(formats, ", "))
	}
	*f = format(s)
	return nil
}

// show writes the result of a command to standard output: value (a struct with
// json tags, or a slice of them) for programs, what human draws for people.
// Nothing is written when either fails.
func (a *app) show(value any, human func(*page)) error {
	var b bytes.Buffer
	switch a.flags.output {
	case formatJSON, formatYAML:
		text, err := encodeJSON(value)
		if err != nil {
			return err
		}
		if a.flags.output == formatYAML {
			if text, err = yamlOf(text); err != nil {
				return err
			}
		}
		b.Write(text)
	default:
		p := &page{w: &b, colour: a.colour(a.stdout)}
		human(p)
	}
	_, err := a.stdout.Write(b.Bytes())
	return err
}

// fail writes err to standard error: a sentence and a hint, or with -o json one
// object of the same shape as the admin API's.
func (a *app) fail(err error) {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		e = &fault.Error{Kind: fault.Of(err), Message: err.Error()}
	} else if e.Cause != nil {
		e = new(*e)
		e.Message = e.Error()
	}
	if a.flags.output == formatJSON {
		a.failJSON(e)
		return
	}
	p := &page{w: a.stderr, colour: a.colour(a.stderr)}
	p.line("%s %s", p.paint(red, "error:"), escapeLines(e.Message))
	if report, ok := errors.AsType[interface {
		error
		Report() string
	}](err); ok {
		p.line("\n%s", escapeLines(strings.TrimSuffix(report.Report(), "\n\n")))
	}
	if e.Hint != "" {
		p.line("%s %s", p.paint(bold, "hint:"), escape(e.Hint))
	}
}

func (a *app) failJSON(e *fault.Error) {
	type body struct {
		Code      string            `json:"code"`
		Message   string            `json:"message"`
		Hint      string            `json:"hint,omitempty"`
		Retryable bool              `json:"retryable"`
		Details   map[string]string `json:"details,omitempty"`
		RequestID string            `json:"request_id,omitempty"`
	}
	text, err := encodeJSON(struct {
		Error body `json:"error"`
	}{body{e.Kind.String(), e.Message, e.Hint, e.Kind.Retryable(), e.Details, e.Details["request_id"]}})
	if err != nil {
		return // strings and a bool always encode
	}
	_, _ = a.stderr.Write(text)
}

// note writes one line of talk to standard error: progress, a warning, what to
// do next. The format's arguments are escaped.
func (a *app) note(format string, args ...any) {
	(&page{w: a.stderr}).line(format, args...)
}

// colour reports whether text written to w may be coloured.
func (a *app) colour(w io.Writer) bool {
	return !a.flags.noColor && a.getenv("NO_COLOR") == "" && isTerminal(w)
}

// isTerminal reports whether stream, a reader or a writer, is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// A page is output for people. Whatever a caller passes in is escaped, since
// names and descriptions come from strangers: no value can move the cursor,
// colour the screen or turn the direction of text.
type page struct {
	w      io.Writer
	colour bool
}

// line writes one line. String, error and Stringer arguments are escaped; what
// paint returned is not.
func (p *page) line(format string, args ...any) {
	for i, arg := range args {
		args[i] = escapeArg(arg)
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}

// fields writes pairs of a label and a value as aligned lines "label:  value".
func (p *page) fields(pairs ...[2]string) {
	w := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	for _, pair := range pairs {
		fmt.Fprintf(w, "%s:\t%s\n", escape(pair[0]), escape(pair[1]))
	}
	_ = w.Flush() // p.w is memory or a terminal; a closed pipe shows at the next write
}

// table writes rows under a header, columns separated by two spaces. A row that
// is shorter than the header is filled with empty cells; an empty cell is "-".
func (p *page) table(header []string, rows [][]string) {
	w := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	writeRow(w, header, len(header))
	for _, row := range rows {
		writeRow(w, row, len(header))
	}
	_ = w.Flush()
}

func writeRow(w io.Writer, row []string, width int) {
	for i := range width {
		cell := "-"
		if i < len(row) && row[i] != "" {
			cell = escape(row[i])
		}
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, cell)
	}
	fmt.Fprint(w, "\n")
}

// A colour is the parameter of an SGR escape sequence.
type colour string

const (
	bold   colour = "1"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
)

// painted is text that is safe as it is.
type painted string

// paint is s escaped, and in colour c when the page has colours.
func (p *page) paint(c colour, s string) painted {
	if !p.colour {
		return painted(escape(s))
	}
	return painted("\x1b[" + string(c) + "m" + escape(s) + "\x1b[0m")
}

func escapeArg(arg any) any {
	switch v := arg.(type) {
	case painted:
		return string(v)
	case string:
		return escape(v)
	case error:
		return escape(v.Error())
	case fmt.Stringer:
		return escape(v.String())
	default:
		return arg
	}
}

// escape is s with every rune that a terminal would obey, or that would hide or
// reorder its neighbours, written as an escape sequence of Go source.
func escape(s string) string { return escapeBut(s, "") }

// escapeLines is escape for text of several lines.
func escapeLines(s string) painted { return painted(escapeBut(s, "\n")) }

func escapeBut(s, keep string) string {
	if !strings.ContainsFunc(s, unsafeRune) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == utf8.RuneError || !unsafeRune(r) || strings.ContainsRune(keep, r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += size
	}
	return b.String()
}

// unsafeRune reports whether r must not reach a terminal: C0 and C1 controls,
// and the format characters (bidirectional marks and isolates, zero-width and
// invisible ones, tags), line and paragraph separators.
func unsafeRune(r rune) bool {
	return r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// encodeJSON is value as indented JSON that is safe on a terminal: in JSON
// unsafe runes can only stand inside strings, where \u is their other spelling.
func encodeJSON(value any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return escapeJSON(b.Bytes()), nil
}

func escapeJSON(text []byte) []byte {
	if !bytes.ContainsFunc(text, unsafeInJSON) {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case !unsafeInJSON(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.Bytes()
}

func unsafeInJSON(r rune) bool { return r != '\n' && r != utf8.RuneError && unsafeRune(r) }
