// Package arch holds tests about the code itself: the floor plan, package
// comments, one home for each large dependency, and the purity of the state
// machine. A rule worth having is worth a failing test that says what to do.
package arch
