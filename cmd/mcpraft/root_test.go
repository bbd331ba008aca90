package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// testApp is an app without a terminal, an environment or anything to read.
func testApp() (a *app, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return &app{
		stdin: strings.NewReader(""), stdout: stdout, stderr: stderr,
		getenv:  func(string) string { return "" },
		environ: func() []string { return nil },
	}, stdout, stderr
}

// walkCommands calls f for every command of the tree.
func walkCommands(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, sub := range cmd.Commands() {
		walkCommands(sub, f)
	}
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	a, _, _ := testApp()
	walkCommands(newRootCommand(a), func(cmd *cobra.Command) {
		switch {
		case cmd.Name() == "help" || cmd.Hidden:
		case cmd.Short == "" || strings.HasSuffix(cmd.Short, "."):
			t.Errorf("%s: the synopsis %q is not a line without a full stop", cmd.CommandPath(), cmd.Short)
		case !strings.Contains(cmd.Example, "  mcpraft "):
			t.Errorf("%s has no example", cmd.CommandPath())
		case cmd.Parent() == cmd.Root() && cmd.GroupID == "":
			t.Errorf("%s is in no group of the help page", cmd.CommandPath())
		}
	})
}

// A misspelt word below a command that groups others must not be answered with
// help and success: scripts would go on.
func TestUnknownSubcommandsAreRefusedEverywhere(t *testing.T) {
	a, _, _ := testApp()
	var groups []string
	walkCommands(newRootCommand(a), func(cmd *cobra.Command) {
		if cmd.HasSubCommands() {
			groups = append(groups, strings.TrimPrefix(cmd.CommandPath(), "mcpraft"))
		}
	})
	for _, group := range groups {
		a, stdout, stderr := testApp()
		code := a.run(t.Context(), append(strings.Fields(group), "qqqqqqqq"))
		if code != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), `has no command "qqqqqqqq"`) {
			t.Errorf("mcpraft%s qqqqqqqq: exit %d, stdout %q, stderr %q", group, code, stdout, stderr)
		}
	}
}

// runError is what a command line with args answers when its command fails with
// err.
func runError(ctx context.Context, err error, args ...string) (code int, stdout, stderr string) {
	a, out, errs := testApp()
	a.flags.output = outputOf(args)
	return a.exit(ctx, err), out.String(), errs.String()
}

func TestEveryKindOfFailureHasItsExitCodeAndJSON(t *testing.T) {
	for k := fault.Kind(1); k.Known(); k++ {
		err := fmt.Errorf("wrapped: %w", fault.New(k, "what was found").WithHint("what to do").WithDetail("request_id", "r1"))
		code, stdout, stderr := runError(t.Context(), err, "-o", "json")
		if code != k.Exit() || stdout != "" {
			t.Errorf("%v: exit %d and stdout %q, want %d and nothing", k, code, stdout, k.Exit())
		}
		var got struct {
			Error struct {
				Code, Message, Hint string
				Retryable           bool
				RequestID           string `json:"request_id"`
			}
		}
		if err := json.Unmarshal([]byte(stderr), &got); err != nil {
			t.Fatalf("%v: %v in %s", k, err, stderr)
		}
		e := got.Error
		if e.Code != k.String() || e.Message != "what was found" || e.Hint != "what to do" || e.Retryable != k.Retryable() || e.RequestID != "r1" {
			t.Errorf("%v: %+v", k, e)
		}
	}
}

func TestAnInterruptedCommandExits130(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, stderr := runError(ctx, fmt.Errorf("asking: %w", context.Canceled)); code != exitInterrupted || stderr != "interrupted\n" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
}

func TestFormatIsFoundOnABrokenCommandLine(t *testing.T) {
	for line, want := range map[string]format{
		"":                        formatTable,
		"status":                  formatTable,
		"status -o json":          formatJSON,
		"-o=yaml status":          formatYAML,
		"-ojson":                  formatJSON,
		"status --output json --": formatJSON,
		"x --output=yaml --bogus": formatYAML,
		"x -o":                    formatTable,
		"x -o xml":                formatTable,
		"x -- -o json":            formatTable,
	} {
		if got := outputOf(strings.Fields(line)); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}
