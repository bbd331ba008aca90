package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// passed are the variables of our own environment that every child gets: what
// programs need to find others, their home and a place for temporary files.
var passed = []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"}

// maxEnvFile bounds a value that is read from a file, in bytes.
const maxEnvFile = 64 << 10

// A Command is what runs as a child. It comes from the configuration of this
// machine, never over a network.
type Command struct {
	Path string   // program: absolute, or looked up in PATH
	Args []string // without the program itself
	Dir  string   // working directory, absolute; "" means the root of the file system
	Env  []string // KEY=VALUE
	Pass []string // names of variables that are taken over from our environment, beside a few harmless ones

	// EnvFiles are variables whose values are read from files at each start, without
	// the white space around them: KEY=/path.
	EnvFiles []string

	// MemoryLimit is how many bytes of memory the group may hold resident, summed
	// over its processes; beyond it the group is killed. 0: no limit. Linux only.
	MemoryLimit int64
}

// Validate reports every mistake of c that shows without starting it.
func (c *Command) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("no program is named"))
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		errs = append(errs, fmt.Errorf("the working directory %q is not an absolute path", c.Dir))
	}
	for _, pair := range slices.Concat(c.Env, c.EnvFiles) {
		if key, _, ok := strings.Cut(pair, "="); !ok || !validKey(key) {
			errs = append(errs, fmt.Errorf("%q is not KEY=VALUE", key))
		}
	}
	for _, name := range c.Pass {
		if !validKey(name) {
			errs = append(errs, fmt.Errorf("%q is no name of a variable", name))
		}
	}
	for _, text := range slices.Concat([]string{c.Path}, c.Args, c.Env) {
		if strings.ContainsRune(text, 0) {
			errs = append(errs, errors.New("a zero byte cannot be passed to a program"))
		}
	}
	if c.MemoryLimit < 0 {
		errs = append(errs, fmt.Errorf("the memory limit %d is negative", c.MemoryLimit))
	}
	if c.MemoryLimit > 0 && !canMeasure {
		errs = append(errs, errors.New("a memory limit needs Linux"))
	}
	return errors.Join(errs...)
}

func validKey(key string) bool {
	return key != "" && !strings.ContainsAny(key, "= \t\n\x00")
}

// environment is what the child gets; what is named later wins.
func (c *Command) environment() ([]string, error) {
	var env []string
	for _, name := range slices.Concat(passed, c.Pass) {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	env = append(env, c.Env...)
	for _, pair := range c.EnvFiles {
		key, name, _ := strings.Cut(pair, "=")
		value, err := readValue(name)
		if err != nil {
			return nil, fmt.Errorf("the value of %s: %w", key, err)
		}
		env = append(env, key+"="+value)
	}
	return env, nil
}

func readValue(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if info.Size() > maxEnvFile {
		return "", fmt.Errorf("%s has more than %d bytes", name, maxEnvFile)
	}
	data, err := os.ReadFile(name)
	return strings.TrimSpace(string(data)), err
}
