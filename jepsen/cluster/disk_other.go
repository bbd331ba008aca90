//go:build !linux

package cluster

import "errors"

func mountSmall(string, int64) error { return errors.New("small disks need Linux") }
func unmount(string) error           { return nil }
