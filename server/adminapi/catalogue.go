package adminapi

// A Catalogue is what is known of what an upstream lists. Counts are of the items
// that clients are shown.
type Catalogue struct {
	Tools     uint32 `cbor:"1,keyasint,omitempty" json:"tools"`
	Resources uint32 `cbor:"2,keyasint,omitempty" json:"resources"`
	Templates uint32 `cbor:"3,keyasint,omitempty" json:"templates"`
	Prompts   uint32 `cbor:"4,keyasint,omitempty" json:"prompts"`
	Bytes     uint64 `cbor:"5,keyasint,omitempty" json:"bytes"`

	Protocol string `cbor:"6,keyasint,omitempty" json:"protocol,omitempty"` // revision that the upstream speaks
	Listed   Time   `cbor:"7,keyasint,omitempty" json:"listed,omitzero"`    // when it was first listed as it is; absent: it never was
	Error    string `cbor:"8,keyasint,omitempty" json:"error,omitempty"`    // why the newest listing failed; what was listed before stays
	Failed   Time   `cbor:"9,keyasint,omitempty" json:"failed,omitzero"`    // since when there is an error

	Hidden      uint32        `cbor:"10,keyasint,omitempty" json:"hidden"`                // items that nobody is shown
	Quarantined []Quarantined `cbor:"11,keyasint,omitempty" json:"quarantined,omitempty"` // the first of them; not in lists
	Truncated   bool          `cbor:"12,keyasint,omitempty" json:"truncated,omitempty"`   // it lists more than may be kept
}

// A Quarantined is an item that an upstream lists and nobody is shown.
type Quarantined struct {
	Kind   string `cbor:"1,keyasint" json:"kind"` // tools, resources, templates or prompts
	Name   string `cbor:"2,keyasint,omitempty" json:"name"`
	Reason string `cbor:"3,keyasint" json:"reason"`
}
