//go:build !linux

package network

import "errors"

// NewSwitch needs network namespaces.
func NewSwitch(uint64) (Network, error) { return nil, errors.New("network namespaces need Linux") }
