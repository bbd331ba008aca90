package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/mcpclient"
)

// countTools lists the tools of an open session.
func countTools(ctx context.Context, c *mcpclient.Client) (n int, err error) {
	err = c.List(ctx, mcp.ToolsList, "tools", func([]byte) error { n++; return nil })
	if fault.Of(err) == fault.Unsupported { // it has resources or prompts only
		err = nil
	}
	return n, err
}

const (
	probeGrace = 2 * time.Second // for a command to end when its input has ended
	probeTalk  = 4 << 10         // bytes of its standard error that are kept
)

// probeCommand starts a stdio server as a client does, opens a session, lists
// tools, and ends it.
func probeCommand(ctx context.Context, command string, args []string) (tools int, err error) {
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.WaitDelay = probeGrace
	said := &tail{limit: probeTalk}
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, fault.New(fault.Invalid, "%s cannot be started: %v", command, err)
	}
	tools, err = listOverStdio(in, out)
	in.Close()
	stop := time.AfterFunc(probeGrace, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	ended := cmd.Wait()
	if err == nil || ctx.Err() != nil {
		return tools, context.Cause(ctx)
	}
	e := fault.New(fault.Unreachable, "%s %s does not answer: %v", command, strings.Join(args, " "), err)
	if ended != nil {
		e.Message += ", " + ended.Error()
	}
	if line := strings.TrimSpace(said.String()); line != "" {
		return 0, e.WithHint("it says: %s", line)
	}
	return 0, e
}

// listOverStdio opens a session over in and out and counts the tools.
func listOverStdio(in io.Writer, out io.Reader) (int, error) {
	lines := bufio.NewReaderSize(out, 64<<10)
	hello := fmt.Sprintf(`{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":"mcpraft connect","version":%q}}`, mcp.NewestLegacy, thisBuild().Version)
	if _, err := askOverStdio(in, lines, mcp.Request(mcp.NumberID(1), mcp.Initialize, []byte(hello))); err != nil {
		return 0, err
	}
	if err := writeLine(in, mcp.Notification(mcp.Initialized, nil)); err != nil {
		return 0, err
	}
	answer, err := askOverStdio(in, lines, mcp.Request(mcp.NumberID(2), mcp.ToolsList, []byte("{}")))
	if err != nil {
		return 0, err
	}
	n := 0
	for range strictjson.Elements(mcp.Field(answer.Result(), "tools")) {
		n++
	}
	return n, nil
}

func askOverStdio(in io.Writer, lines *bufio.Reader, q *mcp.Message) (*mcp.Message, error) {
	if err := writeLine(in, q); err != nil {
		return nil, err
	}
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		m, err := mcp.Parse(bytes.TrimSpace(line), mcp.FromUpstream)
		if err != nil {
			return nil, err
		}
		if m.ID() != q.ID() || m.Method() != "" {
			continue
		}
		if e := m.Err(); e != nil {
			return nil, e
		}
		return m, nil
	}
}

func writeLine(w io.Writer, m *mcp.Message) error {
	_, err := w.Write(append(bytes.Clone(m.Bytes()), '\n'))
	return err
}

// A tail keeps the last bytes that are written to it. One goroutine writes, and
// reads when it is done.
type tail struct {
	limit int
	kept  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }
