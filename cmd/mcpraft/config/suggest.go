package config

import (
	"iter"
	"reflect"
	"strings"
)

// nearest is the candidate that word was probably meant to be, or "": a third of
// the letters may differ, neighbours swapped count once, case does not count.
func nearest(word string, candidates []string) string {
	best, found := len([]rune(word))/3+1, ""
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < best || d == best && found == "" {
			best, found = d, c
		}
	}
	return found
}

// distance is the optimal string alignment distance of a and b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	// Three rows of the table: the one before the previous, the previous, this.
	before, previous, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		before, previous, row = previous, row, before
		row[0] = i + 1
		for j := range y {
			change := 1
			if x[i] == y[j] {
				change = 0
			}
			row[j+1] = min(previous[j+1]+1, row[j]+1, previous[j]+change)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(y)]
}

// homes are the paths that end in key, anywhere in the configuration.
func homes(key string) []string {
	var found []string
	for s := range sections() {
		if _, ok := fieldNamed(s.typ, key); ok && s.path != "" {
			found = append(found, under(s.path, key))
		}
	}
	return found
}

// A sectionType is a section and its path; names of a mapping are "*".
type sectionType struct {
	path string
	typ  reflect.Type
}

// sections walks every section of Config, outer before inner.
func sections() iter.Seq[sectionType] {
	return func(yield func(sectionType) bool) { walkSections("", reflect.TypeFor[Config](), yield) }
}

func walkSections(path string, t reflect.Type, yield func(sectionType) bool) bool {
	if !yield(sectionType{path, t}) {
		return false
	}
	for _, f := range fieldsOf(t) {
		at, inner := under(path, f.key), f.typ
		switch shapeOf(f.typ) {
		case named:
			at, inner = under(at, "*"), f.typ.Elem()
		case section:
		default:
			continue
		}
		if !walkSections(at, inner, yield) {
			return false
		}
	}
	return true
}

// describeUnknown says why key is no key of the section at path, and what to do.
func describeUnknown(path string, t reflect.Type, key string) (message, hint string, secret bool) {
	where := "at the top level"
	if path != "" {
		where = "in " + path
	}
	if isLater(under(path, key)) {
		return under(path, key) + " is not supported by this version", "remove it; release notes say when it can be set", looksSecret(key)
	}
	message = "unknown key \"" + key + "\" " + where
	switch near := nearest(key, keysOf(t)); {
	case near != "":
		hint = "did you mean " + near + "?"
	case looksSecret(key):
		hint = "secrets are read from files: the keys here are " + strings.Join(keysOf(t), ", ")
	case len(homes(key)) == 1:
		hint = "did you mean " + homes(key)[0] + "?"
	default:
		hint = "the keys here are " + strings.Join(keysOf(t), ", ")
	}
	return message, hint, looksSecret(key)
}

// looksSecret reports whether the value of an unknown key may be a secret, so
// that an error message does not print it.
func looksSecret(key string) bool {
	key = strings.ToLower(key)
	for _, word := range []string{"token", "secret", "password", "passwd", "key", "credential"} {
		if strings.Contains(key, word) && !strings.HasSuffix(key, "_file") {
			return true
		}
	}
	return false
}
