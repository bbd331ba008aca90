// Package defects holds tests only. Each pins a defect or a trap of a library
// that mcpraft is built on: first that the bare library, at the version in
// go.mod, has it, then that mcpraft does not suffer from it.
//
// A test of the first kind fails when an upgrade mends the defect. That is good
// news: read what the product does because of it, take that away or keep it on
// purpose, and change the test.
package defects
