//go:build failpoint

package failpoint

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled says whether this binary has failpoints.
const Enabled = true

// ErrDisabled says that a binary has none; this one does.
var ErrDisabled = errors.New("failpoints need a binary that was built with -tags failpoint")

// active holds the failpoints that are set. It is global on purpose: a failpoint
// is reached from code that must not know of it.
var active struct {
	sync.Mutex
	points map[string]*point
}

// A point is one failpoint that is set.
type point struct {
	term
	hits    int           // guarded by active
	cleared chan struct{} // closed when the point is set again or cleared
}

// Eval is the place where the failpoint name may strike. The error is nil unless
// the term says error. A name that is not in the list panics.
func Eval(name string) error {
	active.Lock()
	p := active.points[name]
	if p == nil {
		active.Unlock()
		if err := check(name); err != nil {
			panic(err)
		}
		return nil
	}
	p.hits++
	hit := p.hits
	active.Unlock()
	if !p.covers(hit) {
		return nil
	}
	return p.strike(name)
}

// strike does what the term says.
func (p *point) strike(name string) error {
	switch p.action {
	case actError:
		return injected{name: name, text: p.text}
	case actSleep:
		time.Sleep(p.sleep)
	case actPause:
		fmt.Fprintf(os.Stderr, "failpoint %s: paused\n", name)
		<-p.cleared
	case actPanic:
		panic(fmt.Sprintf("failpoint %s: %s", name, p.text))
	case actExit:
		fmt.Fprintf(os.Stderr, "failpoint %s: exit %d\n", name, p.code)
		os.Exit(p.code)
	}
	return nil
}

// An injected error says which failpoint it came from.
type injected struct{ name, text string }

func (e injected) Error() string { return "failpoint " + e.name + ": " + e.text }

func (e injected) Is(target error) bool {
	switch target {
	case ErrInjected:
		return true
	case syscall.ENOSPC:
		return e.text == "ENOSPC"
	case syscall.EIO:
		return e.text == "EIO"
	default:
		return false
	}
}

// FromEnvironment sets what the variable MCPRAFT_FAILPOINTS asks for, all of it or
// nothing. main calls it before anything else.
func FromEnvironment() error {
	terms := make(map[string]string)
	for setting := range strings.SplitSeq(os.Getenv(Variable), ";") {
		if setting = strings.TrimSpace(setting); setting == "" {
			continue
		}
		name, text, ok := strings.Cut(setting, "=")
		if !ok {
			return fmt.Errorf("%s: %q is not NAME=TERM", Variable, setting)
		}
		if err := check(name); err != nil {
			return fmt.Errorf("%s: %w", Variable, err)
		}
		if _, err := parseTerm(text); err != nil {
			return fmt.Errorf("%s: %s: %w", Variable, name, err)
		}
		terms[name] = text
	}
	for name, text := range terms {
		if err := Set(name, text); err != nil {
			return err
		}
	}
	return nil
}

// Set makes the failpoint name act as term says, from now on and with its hits
// counted from zero. Any goroutine may call it.
func Set(name, term string) error {
	if err := check(name); err != nil {
		return err
	}
	t, err := parseTerm(term)
	if err != nil {
		return fmt.Errorf("failpoint %s: %w", name, err)
	}
	replace(name, &point{term: t, cleared: make(chan struct{})})
	return nil
}

// Clear turns the failpoint name off and lets go who is paused there.
func Clear(name string) { replace(name, nil) }

// Hits is how often the failpoint name was reached since it was set.
func Hits(name string) int {
	active.Lock()
	defer active.Unlock()
	if p := active.points[name]; p != nil {
		return p.hits
	}
	return 0
}

func replace(name string, p *point) {
	active.Lock()
	defer active.Unlock()
	if old := active.points[name]; old != nil {
		close(old.cleared)
		delete(active.points, name)
	}
	if p == nil {
		return
	}
	if active.points == nil {
		active.points = make(map[string]*point)
	}
	active.points[name] = p
}
