package clientfile

import (
	"fmt"
	"strings"
)

// around is how many lines that did not change are shown on either side.
const around = 3

// A Line is one line of a difference.
type Line struct {
	Mark byte // '+', '-', ' ', or '@' for where it is
	Text string
}

// Diff is what an edit in one place changed: the lines between the first and the
// last that differ, with some around them. Nil: nothing.
func Diff(before, after []byte) []Line {
	was, is := lines(before), lines(after)
	head := 0
	for head < min(len(was), len(is)) && was[head] == is[head] {
		head++
	}
	tail := 0
	for tail < min(len(was), len(is))-head && was[len(was)-1-tail] == is[len(is)-1-tail] {
		tail++
	}
	if head == len(was) && head == len(is) {
		return nil
	}
	from := max(0, head-around)
	out := []Line{{'@', fmt.Sprintf("line %d", from+1)}}
	out = mark(out, ' ', is[from:head])
	out = mark(out, '-', was[head:len(was)-tail])
	out = mark(out, '+', is[head:len(is)-tail])
	return mark(out, ' ', is[len(is)-tail:min(len(is), len(is)-tail+around)])
}

func mark(out []Line, m byte, texts []string) []Line {
	for _, text := range texts {
		out = append(out, Line{m, text})
	}
	return out
}

func lines(doc []byte) []string {
	if len(doc) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(doc), "\n"), "\n")
}
