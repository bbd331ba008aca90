package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func newDoctorCommand(a *app) *cobra.Command {
	var flags configFlags
	var offline bool
	cmd := &cobra.Command{
		Use:     "doctor [FILE...]",
		GroupID: groupRepair,
		Short:   "Examine a node on this machine and say what to do",
		Long: `Examine a node on this machine, running or not: its configuration, data
directory, certificates, ports, the other nodes, the clock, and what the running
node says of itself. Nothing is changed. Exit code 8 when anything fails.`,
		Example: `  mcpraft doctor --config /etc/mcpraft/mcpraft.yaml
  mcpraft doctor mcpraft.yaml --offline     # contact nobody
  mcpraft doctor mcpraft.yaml -o json | jq '.[].findings[] | select(.level == "fail")'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			report := a.examine(cmd.Context(), flags, args, offline)
			if err := a.show(report, report.draw); err != nil {
				return err
			}
			if report.failed() {
				return exitDegraded
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&offline, "offline", false, "contact neither the running node nor the others")
	return cmd
}

// A level is how much a finding matters.
type level string

const (
	levelOK   level = "ok"
	levelWarn level = "warn" // works now, and will not for ever
	levelFail level = "fail" // does not work
)

// A finding is one thing that was looked at.
type finding struct {
	Level  level  `json:"level"`
	Text   string `json:"text"`             // what was found
	Advice string `json:"advice,omitempty"` // what to do about it
}

// An examination is the findings about one part of a node.
type examination struct {
	Name     string    `json:"name"`
	Findings []finding `json:"findings"`
}

func (e *examination) ok(format string, args ...any) {
	e.Findings = append(e.Findings, finding{Level: levelOK, Text: fmt.Sprintf(format, args...)})
}

func (e *examination) warn(advice, format string, args ...any) {
	e.Findings = append(e.Findings, finding{levelWarn, fmt.Sprintf(format, args...), advice})
}

func (e *examination) fail(advice, format string, args ...any) {
	e.Findings = append(e.Findings, finding{levelFail, fmt.Sprintf(format, args...), advice})
}

// mistakes adds every mistake of a configuration, or whatever else err is.
func (e *examination) mistakes(err error) {
	if mistakes, ok := errors.AsType[*config.Error](err); ok {
		for _, p := range mistakes.Problems {
			e.fail(p.Hint, "%s: %s", p.Origin, p.Message)
		}
		return
	}
	f := fault.As(err)
	e.fail(f.Hint, "%s", err)
}

// A diagnosis is everything that the doctor found.
type diagnosis []*examination

func (d diagnosis) failed() bool {
	for _, e := range d {
		for _, f := range e.Findings {
			if f.Level == levelFail {
				return true
			}
		}
	}
	return false
}

func (d diagnosis) draw(p *page) {
	colours := map[level]colour{levelOK: green, levelWarn: yellow, levelFail: red}
	for _, e := range d {
		p.line("%s", p.paint(bold, e.Name))
		for _, f := range e.Findings {
			p.line("  %s %s", p.paint(colours[f.Level], fmt.Sprintf("%-4s", f.Level)), f.Text)
			if f.Advice != "" {
				p.line("       %s", f.Advice)
			}
		}
	}
}

// examine looks at one part after the other. Without a configuration that holds
// together there is nothing else to look at.
func (a *app) examine(ctx context.Context, flags configFlags, files []string, offline bool) diagnosis {
	first := &examination{Name: "configuration"}
	loaded, err := flags.load(a, files...)
	if err != nil {
		first.mistakes(err)
		return diagnosis{first}
	}
	c := &loaded.Config
	source := "defaults and environment only"
	if names := slices.Concat(flags.files, files); len(names) > 0 {
		source = strings.Join(names, ", ")
	}
	first.ok("node %s of cluster %s (%s)", c.Node.Name, c.Cluster.Name, source)
	if c.Cluster.BootstrapExpect == 0 && len(c.Cluster.Join) == 0 {
		first.warn("set cluster.join, or cluster.bootstrap_expect on the nodes of a new cluster, or run mcpraft cluster add on a member", "the node is told of no cluster to join or form")
	}

	data, running := examineData(c.Node.DataDir)
	report := diagnosis{first, data, examineCertificates(loaded)}
	if !running {
		report = append(report, examinePorts(c))
	}
	report = append(report, examineClock())
	if !offline {
		report = append(report, a.examinePeers(ctx, c))
		report = append(report, a.examineNode(ctx, c, running))
	}
	return report
}
