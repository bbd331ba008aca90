package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A Problem is one mistake.
type Problem struct {
	Origin  Origin
	Message string // names the key, what was found and what is wrong with it
	Hint    string // what to write instead; may be empty
	secret  bool   // the excerpt may show a secret: hide what follows the key
}

// maxProblems bounds what an Error lists: past that many the file is not a
// configuration.
const maxProblems = 50

// An Error is everything that is wrong with a configuration, in the order of its
// layers. It is a fault of kind Invalid.
type Error struct {
	Problems []Problem           // at least one, at most maxProblems
	More     int                 // how many were left out
	lines    map[string][]string // text of the files, for excerpts
}

func newError(problems []Problem, lines map[string][]string) *Error {
	rank := map[Layer]int{FromFile: 0, FromEnv: 1, FromFlag: 2, FromHost: 3, FromDefault: 4}
	met := make(map[string]int) // files stay in the order in which they were read
	for i, p := range problems {
		if _, ok := met[p.Origin.Name]; !ok {
			met[p.Origin.Name] = i
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(rank[a.Origin.Layer], rank[b.Origin.Layer]),
			cmp.Compare(met[a.Origin.Name], met[b.Origin.Name]),
			cmp.Compare(a.Origin.Line, b.Origin.Line),
			cmp.Compare(a.Origin.Column, b.Origin.Column))
	})
	more := max(len(problems)-maxProblems, 0)
	return &Error{Problems: problems[:len(problems)-more], More: more, lines: lines}
}

// Error is one line per problem, for logs.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap is e as a fault, with one detail per place.
func (e *Error) Unwrap() error {
	count := len(e.Problems) + e.More
	f := fault.New(fault.Invalid, "the configuration has %d mistakes", count)
	if count == 1 {
		f = fault.New(fault.Invalid, "the configuration has a mistake")
	}
	for _, p := range e.Problems {
		place := p.Origin.String()
		if before := f.Details[place]; before != "" {
			p.Message = before + "; " + p.Message
		}
		f.WithDetail(place, p.Message)
	}
	return f
}

func (p Problem) String() string {
	s := p.Origin.String() + ": " + p.Message
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

// Report is every problem with an excerpt of its file and a hint, for people.
func (e *Error) Report() string {
	var b strings.Builder
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "%s: %s\n", p.Origin, p.Message)
		e.excerpt(&b, p)
		if p.Hint != "" {
			fmt.Fprintf(&b, "  %s\n", p.Hint)
		}
		b.WriteString("\n")
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "and %d more\n", e.More)
	}
	return b.String()
}

// excerptWidth is how much of a long line is shown, in characters.
const excerptWidth = 100

// excerpt writes the line of p with a caret below the place.
func (e *Error) excerpt(b *strings.Builder, p Problem) {
	lines := e.lines[p.Origin.Name]
	if p.Origin.Layer != FromFile || p.Origin.Line < 1 || p.Origin.Line > len(lines) {
		return
	}
	line, column := lines[p.Origin.Line-1], p.Origin.Column
	if p.secret {
		line = hideValue(line, column)
	}
	runes := []rune(strings.Map(blankTab, line))
	column = min(max(column, 1), len(runes)+1)
	if skip := column - excerptWidth*3/4; skip > 0 {
		runes, column = runes[skip:], column-skip
	}
	runes = runes[:min(len(runes), excerptWidth)]
	number := fmt.Sprintf("%5d | ", p.Origin.Line)
	fmt.Fprintf(b, "%s%s\n%s| %s^\n", number, strings.TrimRight(string(runes), " "),
		strings.Repeat(" ", utf8.RuneCountInString(number)-2), strings.Repeat(" ", column-1))
}

// blankTab keeps the caret below its place whatever the width of a tab.
func blankTab(r rune) rune {
	if r == '\t' {
		return ' '
	}
	return r
}

// hideValue is line without what follows the key at column.
func hideValue(line string, column int) string {
	runes := []rune(line)
	start := min(max(column-1, 0), len(runes))
	if i := slices.Index(runes[start:], ':'); i >= 0 {
		return string(runes[:start+i+1]) + " (hidden)"
	}
	return string(runes[:start])
}
