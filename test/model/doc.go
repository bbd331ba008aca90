// Package model says what clients of the replicated state may see. It records
// histories of operations, each with when it was called and when it returned, and
// checks them against sequential models with porcupine: one of a registry entry,
// one of a session. What the models know of the state machine is written down
// here a second time, and independently of package fsm.
//
// An operation whose outcome is unknown is neither a success nor a failure: it
// may take effect at any time after its call, or never. Its Return is [Never].
//
// The simulation (test/sim) and the black-box harness (jepsen) share this package.
package model
