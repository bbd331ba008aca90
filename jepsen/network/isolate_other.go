//go:build !linux

package network

import "errors"

// Isolated is false: there are no namespaces here.
func Isolated() bool { return false }

// Isolate needs namespaces.
func Isolate() (int, error) { return 0, errors.New("namespaces need Linux") }
