package catalog

import (
	"slices"
	"strings"
)

// A Difference is what has changed at one upstream between two Views. It can be
// empty: an upstream has said that a list changed, and it is what it was. Clients
// are told all the same.
type Difference struct {
	Alias   string
	Created []*Item // as they now are
	Changed []*Item // as they now are
	Deleted []*Item // as they were

	touched [kinds]bool
}

// Touches reports whether clients are to be told that the list of a kind has
// changed.
func (d *Difference) Touches(k Kind) bool { return d.touched[k] }

// Between is what clients are to be told of that differs between two Views, by
// ascending alias.
func Between(old, now *View) []Difference {
	var list []Difference
	note := func(alias string) {
		was, is := old.slices[alias], now.slices[alias]
		if was == is {
			return
		}
		if d, ok := differ(alias, was, is); ok {
			list = append(list, d)
		}
	}
	for _, alias := range now.order {
		note(alias)
	}
	for _, alias := range old.order {
		if now.slices[alias] == nil {
			note(alias)
		}
	}
	slices.SortFunc(list, func(a, b Difference) int { return strings.Compare(a.Alias, b.Alias) })
	return list
}

// differ is the difference between two slices of an upstream, of which either may
// be nil; ok is false if clients need not hear of it.
func differ(alias string, old, now *Slice) (d Difference, ok bool) {
	d.Alias = alias
	for _, k := range Kinds() {
		var before, after []*Item
		var announced bool
		if old != nil {
			before = old.items[k]
		}
		if now != nil {
			after = now.items[k]
			announced = now.announced[k] != 0 && (old == nil || old.announced[k] != now.announced[k])
		}
		changes := len(d.Created) + len(d.Changed) + len(d.Deleted)
		if old == nil || now == nil || old.items != now.items {
			d.compare(before, after)
		}
		d.touched[k] = announced || len(d.Created)+len(d.Changed)+len(d.Deleted) != changes
		ok = ok || d.touched[k]
	}
	return d, ok
}

// compare walks two lists in their common order.
func (d *Difference) compare(before, after []*Item) {
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = strings.Compare(before[0].Public, after[0].Public)
		}
		switch {
		case order < 0:
			d.Deleted, before = append(d.Deleted, before[0]), before[1:]
		case order > 0:
			d.Created, after = append(d.Created, after[0]), after[1:]
		default:
			if string(before[0].Aggregate) != string(after[0].Aggregate) || before[0].Name != after[0].Name {
				d.Changed = append(d.Changed, after[0])
			}
			before, after = before[1:], after[1:]
		}
	}
}
