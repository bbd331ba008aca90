// Command bench measures mcpraft against what a user would pick instead, in one
// run on one machine: `make bench-core`, or `bin/bench writes -rounds 5`.
//
// Each result is one line of JSON on stdout; progress goes to stderr. Systems
// are measured in turn, each round with fresh processes and an empty disk, and a
// figure is the median of the rounds. The load runs in a process of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

// options hold for every benchmark.
type options struct {
	rounds   int
	duration time.Duration // of one measured run, after a second to warm up
	callers  int
	conns    int
	binary   string // mcpraft
	kills    int    // failover
	sessions int    // sessions
	vmcp     string // path of ToolHive's vmcp
}

// A benchmark is one thing that `bench NAME` measures.
type benchmark struct {
	name string
	run  func(context.Context, options) error
}

func (b benchmark) is(other benchmark) bool { return b.name == other.name }

// core are the benchmarks of the replicated core: `make bench-core`.
var core = []benchmark{
	{"writes", benchWrites},
	{"writes-http", benchWritesHTTP},
	{"reads", benchReads},
	{"apply", benchApply},
	{"failover", benchFailover},
	{"sessions", benchSessions},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say what to measure: core or front (all of it), or one of them: see docs/benchmarks.md")
	}
	name, args := args[0], args[1:]
	switch name { // the processes of a benchmark are this binary again
	case "etcd":
		runEtcd(args)
		return nil
	case "noop":
		return runNoop(ctx, args)
	case "load":
		return runLoad(ctx, args)
	case "native":
		return runNative(ctx, args)
	case "frontload":
		return runFrontLoad(ctx, args)
	}
	var o options
	flags := flag.NewFlagSet("bench "+name, flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 3, "rounds of each system, in turn")
	flags.DurationVar(&o.duration, "duration", 8*time.Second, "length of one measured run")
	flags.IntVar(&o.callers, "callers", 256, "callers, each with one operation outstanding")
	flags.IntVar(&o.conns, "conns", 12, "connections of the load, spread over the nodes")
	flags.StringVar(&o.binary, "mcpraft", "bin/mcpraft", "the binary to measure")
	flags.IntVar(&o.kills, "kills", 30, "failover: how often the leader is killed")
	flags.StringVar(&o.vmcp, "vmcp", "", "tools-call: the vmcp of ToolHive; empty: found in PATH, or left out")
	flags.IntVar(&o.sessions, "sessions", 1_000_000, "sessions: how many")
	if err := flags.Parse(args); err != nil {
		return err
	}
	found := false
	for _, b := range slices.Concat(core, front) {
		if name == b.name || name == "core" && slices.ContainsFunc(core, b.is) || name == "front" && slices.ContainsFunc(front, b.is) {
			found = true
			if err := b.run(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
		}
	}
	if !found {
		return fmt.Errorf("there is no benchmark %q", name)
	}
	return nil
}
