package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// maxAnswerBytes bounds what confirm reads of one line of input.
const maxAnswerBytes = 1024

// confirm asks before something that cannot be undone: at a terminal the user
// types word (the name of the cluster), elsewhere yes (the flag --yes) must have
// been given. what completes the sentence "This will …".
func (a *app) confirm(what, word string, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(a.stdin) {
		return fault.New(fault.Invalid, "this will %s, and there is no terminal to ask at", what).
			WithHint("add --yes to go ahead, or --dry-run to see what would happen")
	}
	a.note("This will %s.", what)
	fmt.Fprintf(a.stderr, "Type %s to go ahead: ", escape(word))
	answer, err := bufio.NewReader(io.LimitReader(a.stdin, maxAnswerBytes)).ReadString('\n')
	if strings.TrimSpace(answer) == word {
		return nil
	}
	if err != nil && err != io.EOF {
		return err
	}
	return fault.New(fault.Precondition, "not confirmed: nothing was changed")
}
