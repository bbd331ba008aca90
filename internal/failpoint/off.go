//go:build !failpoint

package failpoint

import (
	"errors"
	"fmt"
	"os"
)

// Enabled says whether this binary has failpoints.
const Enabled = false

// ErrDisabled says that this binary has none.
var ErrDisabled = errors.New("failpoints need a binary that was built with -tags failpoint")

// Eval is the place where the failpoint name may strike. It costs nothing.
func Eval(name string) error { return nil }

// FromEnvironment sets what the variable MCPRAFT_FAILPOINTS asks for. It refuses
// to ignore the variable.
func FromEnvironment() error {
	if os.Getenv(Variable) != "" {
		return fmt.Errorf("%s is set: %w", Variable, ErrDisabled)
	}
	return nil
}

// Set makes the failpoint name act as term says.
func Set(name, term string) error {
	if err := check(name); err != nil {
		return err
	}
	return ErrDisabled
}

// Clear turns the failpoint name off and lets go who is paused there.
func Clear(name string) {}

// Hits is how often the failpoint name was reached since it was set.
func Hits(name string) int { return 0 }
