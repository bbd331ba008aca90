package history

import "time"

// A Fault is something that the nemesis did.
type Fault struct {
	Name   string `json:"name"`
	Detail string `json:"detail,omitempty"` // to whom, and how much
	Began  int64  `json:"began"`
	Ended  int64  `json:"ended"`
	Whole  int64  `json:"whole"` // when every node was ready again; 0: it was not waited for

	// Proof is what shows that the fault was real; Void says that nothing did.
	Proof string `json:"proof,omitempty"`
	Void  bool   `json:"void,omitempty"`
}

// A Run is what was run, and under which conditions.
type Run struct {
	Command  string            `json:"command"`
	Seed     uint64            `json:"seed"`
	Began    time.Time         `json:"began"`
	Took     time.Duration     `json:"took_ns"` // load and faults, without start and end
	Nodes    []string          `json:"nodes"`
	Clients  int               `json:"clients"`
	Network  string            `json:"network"`
	Disks    string            `json:"disks"`
	Version  string            `json:"version"` // of the binary under test
	Skewed   bool              `json:"skewed"`  // it is a test build whose time.Now can be shifted
	Host     string            `json:"host"`    // processors, kernel, Go
	Load     string            `json:"load"`    // of the machine, before
	Settings map[string]string `json:"settings"`
	Left     []string          `json:"left_out"` // faults that could not be done here, and why
	Problems []string          `json:"problems"` // contradictions seen while it ran
}
