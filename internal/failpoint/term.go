//go:build failpoint

package failpoint

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

type action string

const (
	actOff   action = "off"
	actError action = "error"
	actSleep action = "sleep"
	actPause action = "pause"
	actPanic action = "panic"
	actExit  action = "exit"
)

// A term says what a failpoint does, and at which of its hits.
type term struct {
	first, count int // count 0: every hit from first on
	action       action
	text         string        // of error and panic
	sleep        time.Duration // of sleep
	code         int           // of exit
}

// covers reports whether the term is for the hit of that number, from 1.
func (t term) covers(hit int) bool {
	return hit >= t.first && (t.count == 0 || hit < t.first+t.count)
}

// parseTerm reads [first#][count*]action[(argument)].
func parseTerm(s string) (term, error) {
	t := term{first: 1}
	rest := strings.TrimSpace(s)
	var err error
	if rest, err = cutNumber(rest, "#", &t.first); err != nil {
		return t, err
	}
	if rest, err = cutNumber(rest, "*", &t.count); err != nil {
		return t, err
	}
	word, argument, bracket := strings.Cut(rest, "(")
	if bracket {
		inside, closed := strings.CutSuffix(argument, ")")
		if !closed {
			return t, fmt.Errorf("%q does not end with a bracket", s)
		}
		argument = inside
	}
	t.action = action(word)
	return t, t.setArgument(argument)
}

// cutNumber takes a positive number and the mark behind it off the front of s, if
// the mark stands before any bracket.
func cutNumber(s, mark string, n *int) (rest string, err error) {
	word, _, _ := strings.Cut(s, "(")
	number, _, ok := strings.Cut(word, mark)
	if !ok {
		return s, nil
	}
	if *n, err = strconv.Atoi(number); err != nil || *n < 1 {
		return s, fmt.Errorf("%q before %s is not a number from 1 on", number, mark)
	}
	return s[len(number)+len(mark):], nil
}

func (t *term) setArgument(argument string) (err error) {
	switch t.action {
	case actError:
		t.text = argument
		if argument == "" {
			return fmt.Errorf("error needs a text, as in error(EIO)")
		}
	case "delay", actSleep:
		t.action = actSleep
		if t.sleep, err = time.ParseDuration(argument); err != nil || t.sleep < 0 {
			return fmt.Errorf("sleep needs a time, as in sleep(5s), not %q", argument)
		}
	case actExit:
		if t.code, err = strconv.Atoi(argument); err != nil || t.code < 0 || t.code > 255 {
			return fmt.Errorf("exit needs a code from 0 to 255, as in exit(3), not %q", argument)
		}
	case actPanic:
		t.text = argument
	case actOff, actPause:
		if argument != "" {
			return fmt.Errorf("%s takes no argument", t.action)
		}
	default:
		return fmt.Errorf("no action is called %q; there are error, sleep, delay, pause, panic, exit, off", t.action)
	}
	return nil
}
