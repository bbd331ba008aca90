package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/jepsen/check"
	"github.com/mcpraft/mcpraft/jepsen/history"
	"github.com/mcpraft/mcpraft/jepsen/mutants"
)

func newMutants(code *int) *cobra.Command {
	var only []string
	var limit time.Duration
	var out string
	cmd := &cobra.Command{
		Use:   "mutants",
		Short: "Put bugs into the product, one at a time, and see whether they are found",
		Example: `  go run ./jepsen/cmd/jepsen mutants --time 30s
  go run ./jepsen/cmd/jepsen mutants --only no-compare,anybodys-session`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := options{networkName: "auto"}
			if done, err := o.inNamespaces(code); done || err != nil {
				return err
			}
			missed, err := hunt(cmd.Context(), only, limit, out)
			if missed > 0 {
				*code = 1
			}
			return err
		},
	}
	cmd.Flags().StringSliceVar(&only, "only", nil, "these; empty: all")
	cmd.Flags().DurationVar(&limit, "time", 40*time.Second, "length of the load of each")
	cmd.Flags().StringVar(&out, "out", "jepsen/results/mutants", "new folder for what the runs leave")
	return cmd
}

// hunt runs the mutants and prints a table of Markdown; missed is how many were not
// found.
func hunt(ctx context.Context, only []string, limit time.Duration, out string) (missed int, err error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return 0, fmt.Errorf("run jepsen inside the module: %w", err)
	}
	var table strings.Builder
	table.WriteString("| mutant | what is wrong | workload, fault | found by |\n| --- | --- | --- | --- |\n")
	for _, m := range mutants.All() {
		if len(only) > 0 && !slices.Contains(only, m.Name) {
			continue
		}
		dir := filepath.Join(out, m.Name)
		findings, err := infect(ctx, &m, strings.TrimSpace(string(root)), dir, limit)
		if err != nil {
			return missed, fmt.Errorf("mutant %s: %w", m.Name, err)
		}
		by := "**not found**"
		if n := count(findings, m.Claim); n > 0 {
			by = fmt.Sprintf("`%s`, %d contradictions in %v", m.Claim, n, limit)
		} else {
			missed++
		}
		fmt.Fprintf(&table, "| %s | %s | %s, %s | %s |\n", m.Name, m.About, strings.Join(m.Workloads, " "), strings.Join(m.Faults, " "), by)
	}
	fmt.Print(table.String())
	return missed, nil
}

func count(findings []check.Finding, claim string) (n int) {
	for _, f := range findings {
		if f.Claim == claim {
			n++
		}
	}
	return n
}

// infect builds a mutant, runs it and checks what it has left.
func infect(ctx context.Context, m *mutants.Mutant, root, dir string, limit time.Duration) ([]check.Finding, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	overlay, err := m.Overlay(root, full)
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(full, "mcpraft")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-overlay", overlay, "-o", binary, "./cmd/mcpraft")
	build.Dir, build.Stderr = root, os.Stderr
	if err := build.Run(); err != nil {
		return nil, err
	}
	r := &run{options: options{
		nodes: 3, count: 6, seed: 1, time: limit, faults: m.Faults, workloads: m.Workloads, networkName: "auto",
		hold: 4 * time.Second, quiet: time.Second, pause: 10 * time.Millisecond, use: binary, out: filepath.Join(full, "run"),
	}}
	if _, err := r.do(ctx); err != nil {
		return nil, err
	}
	record, ops, faults, err := history.Load(r.out)
	return check.All(record, ops, faults), errors.Join(err, os.Remove(binary))
}
