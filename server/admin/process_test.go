package admin

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/server/upstream"
)

func TestLogsOfAllNodesAreJoinedByTimeAndCutToTheNewest(t *testing.T) {
	line := func(at int64, text string) upstream.LogLine { return upstream.LogLine{Slot: "0", At: at, Text: text} }
	joined := joinLogs([]answerOf[upstream.Log]{
		{node: "n1", answer: upstream.Log{Lines: []upstream.LogLine{line(1, "a"), line(3, "c")}, Earlier: 5}},
		{node: "n2", err: errors.New("away")},
		{node: "n3", answer: upstream.Log{Lines: []upstream.LogLine{line(2, "b")}}},
	}, 2)
	if len(joined.Lines) != 2 || joined.Lines[0].Node+joined.Lines[0].Text != "n3b" || joined.Lines[1].Text != "c" || joined.Earlier != 6 {
		t.Errorf("lines %+v, %d earlier", joined.Lines, joined.Earlier)
	}
	if len(joined.Missing) != 1 || joined.Missing[0].Node != "n2" || joined.Missing[0].Problem != "away" {
		t.Errorf("missing: %+v", joined.Missing)
	}
}

func TestAJoinedLogFitsIntoAnAnswer(t *testing.T) {
	var log upstream.Log
	for range upstream.MaxLogLines {
		log.Lines = append(log.Lines, upstream.LogLine{At: 1, Text: strings.Repeat("x", 4<<10)})
	}
	joined := joinLogs([]answerOf[upstream.Log]{{node: "n1", answer: log}}, upstream.MaxLogLines)
	if n := len(joined.Lines); n == 0 || n*(4<<10) > maxPageBytes || joined.Earlier != uint64(upstream.MaxLogLines-n) {
		t.Errorf("%d lines, %d earlier", n, joined.Earlier)
	}
}

func TestAnUnreachableOwnerIsAProblemOfItsProcessesAlone(t *testing.T) {
	told := answerOf[[]upstream.Process]{node: "n1", answer: []upstream.Process{{Slot: "0", PID: 7, Since: time.Second.Milliseconds(), LastExit: "killed"}}}
	if p := processOf(told, "0"); p.Node != "n1" || p.PID != 7 || p.Since != 1000 || p.LastExit != "killed" || p.Problem != "" {
		t.Errorf("%+v", p)
	}
	told.err = errors.New("away")
	if p := processOf(told, "0"); p.PID != 0 || p.Problem != "away" {
		t.Errorf("%+v", p)
	}
}
