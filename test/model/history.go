package model

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Never is the Return of an operation whose outcome is unknown: it is under way
// for ever.
const Never = math.MaxInt64

// An Operation is what one client asked of one key, and what it was told.
type Operation[In, Out any] struct {
	Client string
	Node   string // that the client asked
	Key    string
	In     In
	Out    Out

	// Call and Return are of one clock that all clients share and that gives no
	// number twice: an operation that returned before another was called has the
	// smaller number. Porcupine takes equal numbers for concurrent ones.
	Call, Return int64

	// Began and Ended are for people: since the start of the test.
	Began, Ended time.Duration
}

// Unknown reports whether nobody knows what became of o.
func (o *Operation[In, Out]) Unknown() bool { return o.Return == Never }

func (o *Operation[In, Out]) String() string {
	ended := fmt.Sprintf("%12v", o.Ended)
	if o.Unknown() {
		ended = fmt.Sprintf("%12s", "never")
	}
	return fmt.Sprintf("%12v %s %-4s %-3s %s: %v -> %v", o.Began, ended, o.Client, o.Node, o.Key, o.In, o.Out)
}

// A History collects operations. Any goroutine may add to it.
type History[In, Out any] struct {
	mu  sync.Mutex
	ops []Operation[In, Out]
}

// Add records an operation that has returned, or whose outcome is unknown.
func (h *History[In, Out]) Add(o Operation[In, Out]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
}

// All is every operation in the order of calls.
func (h *History[In, Out]) All() []Operation[In, Out] {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.ops)
	slices.SortFunc(all, func(a, b Operation[In, Out]) int { return cmp.Compare(a.Call, b.Call) })
	return all
}

// A Violation is a key whose history no order of its operations explains, or,
// with Result Unknown, one for which the search ran out of time.
type Violation struct {
	Key    string
	Result porcupine.CheckResult // Illegal, or Unknown when the time was not enough
	text   string
}

// String is the history of the key, in the order of calls, and the first
// operations that do not fit.
func (v *Violation) String() string { return v.text }

// check runs model over the history of each key, for at most limit of real time
// per key.
func check[In, Out any](model porcupine.Model, ops []Operation[In, Out], limit time.Duration) []Violation {
	var found []Violation
	keys := make(map[string][]Operation[In, Out])
	for _, o := range ops {
		keys[o.Key] = append(keys[o.Key], o)
	}
	for _, key := range sortedKeys(keys) {
		history := make([]porcupine.Operation, len(keys[key]))
		for i, o := range keys[key] {
			history[i] = porcupine.Operation{Input: o.In, Output: o.Out, Call: o.Call, Return: o.Return}
		}
		switch porcupine.CheckOperationsTimeout(model, history, limit) {
		case porcupine.Ok:
			continue
		case porcupine.Unknown:
			found = append(found, Violation{Key: key, Result: porcupine.Unknown, text: describe(key, keys[key], porcupine.Unknown, porcupine.LinearizationInfo{})})
			continue
		}
		result, info := porcupine.CheckOperationsVerbose(model, history, limit)
		found = append(found, Violation{Key: key, Result: result, text: describe(key, keys[key], result, info)})
	}
	return found
}

// describe writes the history of one key for people. Operations of the longest
// order that explains a part of the history are marked with their place in it.
func describe[In, Out any](key string, ops []Operation[In, Out], result porcupine.CheckResult, info porcupine.LinearizationInfo) string {
	var longest []int
	for _, partition := range info.PartialLinearizations() {
		for _, order := range partition {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	place := make(map[int]int)
	for i, id := range longest {
		place[id] = i + 1
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v; the longest explanation has %d of %d operations (number: place in it, !: not in it)\n", key, result, len(longest), len(ops))
	for i := range ops {
		mark := "   !"
		if n, ok := place[i]; ok {
			mark = fmt.Sprintf("%4d", n)
		}
		fmt.Fprintf(&b, "%s %v\n", mark, &ops[i])
	}
	return b.String()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
