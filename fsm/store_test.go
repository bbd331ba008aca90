package fsm

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestPowerFailureOfAStartLeavesAStateThatOpens takes the power before
// every operation on the disk that the first start does, with several choices of
// what the disk had kept by then.
func TestPowerFailureOfAStartLeavesAStateThatOpens(t *testing.T) {
	for operation := int64(1); ; operation++ {
		disk := vfs.NewCrashableMem()
		rng := rand.New(rand.NewPCG(uint64(operation), 0))
		var crashed []vfs.FS
		var operations atomic.Int64
		fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(errorfs.Op) error {
			if operations.Add(1) == operation {
				for range 4 {
					crashed = append(crashed, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}))
				}
			}
			return nil
		}))
		closeTest(t, openTest(t, fs))
		if operations.Load() < operation {
			return
		}
		for _, left := range crashed {
			closeTest(t, openTest(t, left))
		}
	}
}
