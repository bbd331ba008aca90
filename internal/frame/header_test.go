package frame

import (
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
)

// The examples of docs/format/frame.md are the golden bytes of the format.
func TestFramesAreThoseOfTheDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/format/frame.md")
	if err != nil {
		t.Fatal(err)
	}
	call := header{id: 1, op: 7}
	refused := call.answer().because(reasonBusy)
	answer, failed := call.answer(), call.answer()
	failed.status = 5
	ping := header{flags: flagPing}
	for _, frame := range []struct {
		h          header
		body, says string
	}{
		{call, "hello!", `call 1 of operation 7: "hello!"`},
		{answer, "ok", `its answer: "ok"`},
		{failed, "nope", `its answer with status 5: "nope"`},
		{header{id: 1, flags: flagCancel}, "", `cancel of call 1`},
		{refused, "", `call 1 refused: too much in flight`},
		{ping, "", `ping`},
		{ping.answer(), "", `answer to it`},
	} {
		line := hex.EncodeToString(frame.h.append(nil, []byte(frame.body)))
		if !documented(string(doc), line, frame.says) {
			t.Errorf("docs/format/frame.md has no example\n    %s   %s", line, frame.says)
		}
	}
}

func documented(doc, bytes, says string) bool {
	for line := range strings.Lines(doc) {
		first, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if first == bytes && strings.TrimSpace(rest) == says {
			return true
		}
	}
	return false
}

func TestReasonsKeepTheirNumbers(t *testing.T) {
	for number, want := range map[reason]error{
		1: ErrBusy, 2: ErrDraining, 3: ErrAnswerTooLarge, 4: ErrHandler, 5: ErrNoHandler, 6: ErrProtocol, 99: ErrProtocol,
	} {
		if err := number.err(); !errors.Is(err, want) {
			t.Errorf("reason %d = %v, want %v", number, err, want)
		}
	}
	for _, r := range []reason{reasonBusy, reasonDraining, reasonNone} {
		if !errors.Is(r.err(), ErrNotRun) {
			t.Errorf("reason %d says that the call may have been run", r)
		}
	}
	for _, r := range []reason{reasonAnswer, reasonPanic, reasonCancelled} {
		if errors.Is(r.err(), ErrNotRun) {
			t.Errorf("reason %d says that the call was not run", r)
		}
	}
}
