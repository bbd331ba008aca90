package check

import (
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/jepsen/history"
	"github.com/mcpraft/mcpraft/test/model"
)

// registry checks everything that was asked of entries, by whatever workload: each
// key with porcupine, and the whole store by replay.
func (c *checker) registry() {
	entries, evidence := c.entries()
	for _, contradiction := range evidence.Check() {
		claim := "replay"
		if strings.HasPrefix(contradiction, "read ") {
			claim = "fresh"
		}
		c.find(claim, "%s", contradiction)
	}
	model.Resolve(entries, evidence.Seen())
	for _, v := range model.CheckEntries(entries, Limit) {
		c.find("linearizable", "%s", v.String())
	}
}

// change is what a workload's operation does to an entry; 0: nothing.
var change = map[string]model.EntryOp{
	history.Register: model.Register, history.Increment: model.Register, history.Acquire: model.Register,
	history.Unregister: model.Unregister, history.Release: model.Unregister,
}

// entries is the history as the shared models take it.
func (c *checker) entries() ([]model.EntryOperation, *model.Evidence) {
	var list []model.EntryOperation
	e := &model.Evidence{Refused: make(map[string]bool), Unsure: make(map[string]bool), Coarse: true}
	keys := c.keys()
	for _, o := range merged(c.ops) {
		switch {
		case change[o.Do] != 0:
			if one, ok := changed(&o, e); ok {
				list = append(list, one)
			}
		case (o.Do == history.Find || o.Do == history.List) && (o.End == history.OK || o.Error == fault.NotFound.String()):
			list = append(list, read(&o, keys, e)...)
		}
	}
	return list, e
}

// keys is every key that anybody named.
func (c *checker) keys() map[string]bool {
	keys := make(map[string]bool)
	for _, o := range c.ops {
		if o.Do == history.Find || o.Do == history.Retry || change[o.Do] != 0 {
			keys[o.Key] = true
		}
		for _, item := range o.Items {
			keys[item.Key] = true
		}
	}
	return keys
}

// merged makes one operation of a request and its repetitions under one
// Idempotency-Key: it began with the first, and ended when an answer was known.
func merged(ops []history.Operation) []history.Operation {
	var list []history.Operation
	first := make(map[string]int) // place in list
	for _, o := range ops {
		i, repeated := first[o.Request]
		switch {
		case o.Do == history.Misuse:
			continue
		case o.Do == history.Retry && !repeated:
			continue // its increment was never written down
		case o.Do != history.Retry:
			if o.Request != "" {
				first[o.Request] = len(list)
			}
			list = append(list, o)
			continue
		}
		if was := &list[i]; was.Return == 0 && (o.Return != 0 || o.End == history.Unknown) {
			o.Do, o.Call = was.Do, was.Call
			if was.End == history.Unknown && o.End == history.OK {
				o.Replayed = true // nobody knows by which of the two it was done
			}
			*was = o
		}
	}
	return list
}

// repeated is how long a write must have taken at least if the node that was asked
// had to send it again to another leader.
const repeated = int64(20 * time.Millisecond)

// mayBeReplayed reports whether the index of an answer may be that of a second
// sending: nodes send a write again under its producer's number when a leader was
// lost, and answer with the entry of the log that told them the outcome.
func mayBeReplayed(o *history.Operation) bool {
	return o.Replayed || o.Return-o.Call > repeated
}

// changed converts a change.
func changed(o *history.Operation, e *model.Evidence) (model.EntryOperation, bool) {
	in := model.EntryIn{Op: change[o.Do], Value: o.Value, IfRevision: o.IfRevision}
	if in.Op == model.Unregister {
		in.Value = ""
	}
	one := operation(o, o.Key, in)
	switch o.End {
	case history.OK:
		one.Out.Revision = o.Revision
		e.Writes = append(e.Writes, model.Write{
			Client: o.Client, Node: o.Node, Key: o.Key, Value: in.Value, Ended: time.Duration(o.Return), Returned: o.Return,
			Index: o.Index, Replayed: mayBeReplayed(o), Revision: o.Revision, Time: uint64(o.LogTime), Timeline: o.Timeline,
		})
	case history.Rejected:
		one.Out.Kind = fault.Parse(o.Error)
		if in.Value != "" {
			e.Refused[in.Value] = true
		}
	case history.Refused:
		if in.Value != "" {
			e.Refused[in.Value] = true
		}
		return one, false
	default:
		one.Out.Unknown, one.Return = true, model.Never
		if in.Op == model.Unregister {
			e.Unsure[o.Key] = true
		}
	}
	return one, true
}

func operation(o *history.Operation, key string, in model.EntryIn) model.EntryOperation {
	return model.EntryOperation{
		Client: o.Client, Node: o.Node, Key: key, In: in, Call: o.Call, Return: o.Return,
		Began: time.Duration(o.Call), Ended: time.Duration(o.Ended),
	}
}

// read converts a read of one key, or of all with a prefix: each of those is then
// a read of its own, in the same interval.
func read(o *history.Operation, keys map[string]bool, e *model.Evidence) []model.EntryOperation {
	found := make(map[string]history.Item)
	for _, item := range o.Items {
		found[item.Key] = item
	}
	asked := []string{o.Key}
	if o.Do == history.List {
		asked = nil
		for key := range keys {
			if strings.HasPrefix(key, o.Key) {
				asked = append(asked, key)
			}
		}
	}
	var list []model.EntryOperation
	linearizable := o.Mode == "linearizable"
	for _, key := range asked {
		item, ok := found[key]
		one := operation(o, key, model.EntryIn{Op: model.Find})
		one.Out = model.EntryOut{Value: item.Value, Revision: item.Revision}
		if !ok {
			one.Out.Kind = fault.NotFound
		}
		if linearizable {
			list = append(list, one)
		}
		e.Views = append(e.Views, view(o, key, item, linearizable))
	}
	return list
}

// roundedUp is added to a staleness that the API reports in whole milliseconds.
const roundedUp = time.Millisecond

func view(o *history.Operation, key string, item history.Item, linearizable bool) model.View {
	staleness := time.Duration(o.Staleness) * time.Millisecond
	limit := time.Duration(o.Limit) * time.Millisecond
	if staleness >= 0 {
		staleness += roundedUp
	}
	if limit > 0 {
		limit += roundedUp
	}
	return model.View{
		Client: o.Client, Node: o.Node, Key: key, Call: o.Call, Began: time.Duration(o.Call),
		MinIndex: o.MinIndex, Limit: limit, Linearizable: linearizable, Index: o.Index, Staleness: staleness,
		Found: item.Revision != 0, Value: item.Value, Revision: item.Revision,
	}
}
