package record

// A Producer is one source of commands whose repeats are recognised: a process
// of a node on one timeline. A node has at most one that is not superseded.
type Producer struct {
	ID         ID      `cbor:"1,keyasint"`
	Node       string  `cbor:"2,keyasint"`
	Opened     LogTime `cbor:"3,keyasint,omitempty"` // set when applied
	Superseded LogTime `cbor:"4,keyasint,omitempty"` // when its node opened a newer one or left; 0: current
	Revision   uint64  `cbor:"5,keyasint,omitempty"` // set when applied
}

// Validate reports every mistake of p.
func (p *Producer) Validate() error {
	problems := problems{noun: "producer"}
	if p.ID.IsZero() {
		problems.add("id", "is missing")
	}
	problems.name("node", p.Node, MaxName)
	return problems.err()
}

// An Epoch is the reign of one leader: it begins with the first command that
// the leader of a term logs.
type Epoch struct {
	Term     uint64  `cbor:"1,keyasint,omitempty"` // set when applied
	Node     string  `cbor:"2,keyasint"`
	Process  ID      `cbor:"3,keyasint"`
	Binary   string  `cbor:"4,keyasint,omitempty"` // version of the leader's binary, for people
	Supports uint32  `cbor:"5,keyasint"`           // highest cluster version the leader can live with
	Started  LogTime `cbor:"6,keyasint,omitempty"` // set when applied
	Revision uint64  `cbor:"7,keyasint,omitempty"` // set when applied
}

// Validate reports every mistake of e.
func (e *Epoch) Validate() error {
	p := problems{noun: "epoch"}
	p.name("node", e.Node, MaxName)
	if e.Process.IsZero() {
		p.add("process", "is missing")
	}
	p.text("binary", e.Binary, 64, false)
	return p.err()
}
