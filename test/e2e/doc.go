// Package e2e tests mcpraft as its users run it: the real binary, real processes
// on loopback, real disks, and kill -9. It has tests only; `make e2e` runs them.
package e2e
