// Package clock builds a test binary whose wall clock can be shifted while it
// runs. The product's source is not changed: the compiler is told (go build
// -overlay) to take another file for the standard library's time.Now, one that
// adds a number from a file in shared memory. Durations, which are measured with
// the monotonic clock, stay right, as when an operator sets a clock.
package clock

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Env names the file whose first eight bytes are the shift in nanoseconds, in the
// machine's order of bytes. Unset: none.
const Env = "MCPRAFT_JEPSEN_CLOCK"

// The function that is replaced, and what stands in its place.
const (
	original = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	shifted  = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tsec, nsec = shift(sec, nsec)\n"
)

const extra = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var shiftBy = openShift()

func openShift() *atomic.Int64 {
	path, ok := syscall.Getenv("` + Env + `")
	if !ok {
		return new(atomic.Int64)
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		panic("clock file " + path + ": " + err.Error())
	}
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("clock file " + path + ": " + err.Error())
	}
	return (*atomic.Int64)(unsafe.Pointer(&b[0]))
}

func shift(sec int64, nsec int32) (int64, int32) {
	if shiftBy == nil {
		return sec, nsec
	}
	total := int64(nsec) + shiftBy.Load()%1e9
	sec += shiftBy.Load()/1e9 + total/1e9
	if total %= 1e9; total < 0 {
		total += 1e9
		sec--
	}
	return sec, int32(total)
}
`

// Build builds pkg of the module in root into the file out. With shift, its clock
// can be shifted; dir takes the files that this needs.
func Build(ctx context.Context, root, pkg, out, dir string, shift bool) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-o", out}
	if shift {
		overlay, err := writeOverlay(ctx, dir)
		if err != nil {
			return err
		}
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(cmd.Args[1:], " "), err)
	}
	return nil
}

// writeOverlay writes the two files and the overlay that names them.
func writeOverlay(ctx context.Context, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	text, err := os.ReadFile(filepath.Join(source, "time.go"))
	if err != nil {
		return "", err
	}
	if strings.Count(string(text), original) != 1 {
		return "", fmt.Errorf("%s/time.go: time.Now is not as this package knows it; it was made for Go 1.26", source)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for name, content := range map[string]string{"time.go": strings.Replace(string(text), original, shifted, 1), "shift.go": extra} {
		replace[filepath.Join(source, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, overlay, 0o644)
}
