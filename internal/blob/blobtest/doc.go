// Package blobtest serves tests of what archives: [Test] is the contract that every
// blob.Store keeps, and [Memory] is a Store that fails when it is told to.
package blobtest
