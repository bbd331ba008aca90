package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/jepsen/check"
	"github.com/mcpraft/mcpraft/jepsen/history"
	"github.com/mcpraft/mcpraft/jepsen/nemesis"
	"github.com/mcpraft/mcpraft/jepsen/network"
	"github.com/mcpraft/mcpraft/jepsen/workload"
)

// options of a run.
type options struct {
	nodes       int
	count       int
	time        time.Duration
	seed        uint64
	faults      []string
	workloads   []string
	pairs       bool
	networkName string
	disk        int64
	shiftClocks bool
	use         string
	out         string
	settings    map[string]string
	hold, quiet time.Duration
	pause       time.Duration
	keep        bool
	eachOnce    bool
}

func (o *options) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&o.nodes, "nodes", 3, "nodes of the cluster, 3 or 5")
	f.IntVar(&o.count, "clients", 10, "clients, given to the workloads in turn")
	f.Uint64Var(&o.seed, "seed", 0, "decides faults and requests; 0: any, which is printed")
	f.StringSliceVar(&o.faults, "faults", []string{"all"}, "faults to draw from, see jepsen faults")
	f.StringSliceVar(&o.workloads, "workloads", workload.All(), "what the clients do")
	f.StringVar(&o.networkName, "network", "auto", "switch: namespaces and every packet, as root; proxies: TCP, without privileges; auto: the best that works")
	f.Int64Var(&o.disk, "disk", 0, "bytes of each node's disk, on a memory file system, so that it can be full; 0: a folder")
	f.BoolVar(&o.shiftClocks, "shift-clocks", false, "build a binary whose wall clock can be shifted; the first build takes minutes")
	f.StringVar(&o.use, "binary", "", "test this binary instead of building one; with --shift-clocks it must have been built so")
	f.StringVar(&o.out, "out", "", "new folder for histories, logs and the report; empty: jepsen/results/TIME-SEED")
	f.StringToStringVar(&o.settings, "set", map[string]string{"storage.snapshot_entries": "500", "storage.trailing_logs": "200"}, "settings of every node, KEY=VALUE")
	f.DurationVar(&o.hold, "hold", 5*time.Second, "mean length of a fault")
	f.DurationVar(&o.quiet, "quiet", 4*time.Second, "mean length of the quiet between faults, after the cluster is whole")
	f.DurationVar(&o.pause, "pause", 40*time.Millisecond, "mean time between two requests of a client")
	f.BoolVar(&o.keep, "keep", false, "keep the data directories and the binary")
}

func (o *options) complete() error {
	if o.nodes != 3 && o.nodes != 5 {
		return fmt.Errorf("--nodes %d: 3 or 5", o.nodes)
	}
	for _, w := range o.workloads {
		if !slices.Contains(workload.All(), w) {
			return fmt.Errorf("no workload is called %q: %s", w, strings.Join(workload.All(), ", "))
		}
	}
	if o.count < 1 || len(o.workloads) == 0 {
		return fmt.Errorf("%d clients and %d workloads: at least one of each is needed", o.count, len(o.workloads))
	}
	if !slices.Contains([]string{"auto", "switch", "proxies"}, o.networkName) {
		return fmt.Errorf("--network %q: auto, switch or proxies", o.networkName)
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1 << 32)
	}
	if o.out == "" {
		o.out = fmt.Sprintf("jepsen/results/%s-%d", time.Now().UTC().Format("20060102T150405"), o.seed)
	}
	return nil
}

// inNamespaces runs the command again in namespaces of its own, if that is wanted
// and works; then done is true.
func (o *options) inNamespaces(code *int) (done bool, err error) {
	if network.Isolated() || o.networkName == "proxies" {
		return false, nil
	}
	if os.Geteuid() != 0 && o.networkName == "auto" {
		return false, nil
	}
	exit, err := network.Isolate()
	if err != nil && o.networkName == "auto" {
		fmt.Fprintln(os.Stderr, "jepsen: no network of packets here, using proxies:", err)
		return false, nil
	}
	*code = exit
	return true, err
}

func newRun(code *int) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a cluster under load and faults, check it, write a report",
		Example: `  go run ./jepsen/cmd/jepsen run --time 5m
  go run ./jepsen/cmd/jepsen run --time 1m --faults kill-leader,split --network proxies --seed 7
  sudo $(which go) run ./jepsen/cmd/jepsen run --time 1h --nodes 5 --pairs --disk 268435456 --shift-clocks`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.execute(cmd.Context(), code) },
	}
	o.add(cmd)
	cmd.Flags().DurationVar(&o.time, "time", 2*time.Minute, "length of the load")
	cmd.Flags().BoolVar(&o.pairs, "pairs", false, "every third time two faults at once")
	return cmd
}

func newSelfTest(code *int) *cobra.Command {
	o := options{eachOnce: true}
	cmd := &cobra.Command{
		Use:     "selftest",
		Short:   "Do every fault once and fail unless each proves that it was real",
		Example: `  sudo $(which go) run ./jepsen/cmd/jepsen selftest --disk 268435456`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.execute(cmd.Context(), code) },
	}
	o.add(cmd)
	return cmd
}

func (o *options) execute(ctx context.Context, code *int) error {
	if err := o.complete(); err != nil {
		return err
	}
	if done, err := o.inNamespaces(code); done || err != nil {
		return err
	}
	r := &run{options: *o}
	contradictions, err := r.do(ctx)
	if err != nil {
		return err
	}
	if contradictions > 0 {
		*code = 1
	}
	if !o.eachOnce {
		return nil
	}
	_, _, faults, err := history.Load(o.out)
	for _, f := range faults {
		if f.Void {
			fmt.Printf("VOID %s: nothing shows that it was real\n", f.Name)
			*code = 1
		}
	}
	return err
}

func newCheck(code *int) *cobra.Command {
	return &cobra.Command{
		Use:     "check DIR",
		Short:   "Check the histories of a run again and write its report anew",
		Example: `  go run ./jepsen/cmd/jepsen check jepsen/results/20261124T012233-7`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			contradictions, err := conclude(args[0])
			if contradictions > 0 {
				*code = 1
			}
			return err
		},
	}
}

func newFaults() *cobra.Command {
	return &cobra.Command{
		Use:     "faults",
		Short:   "List the faults",
		Example: `  go run ./jepsen/cmd/jepsen faults`,
		Args:    cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			for _, f := range nemesis.All() {
				fmt.Printf("%-24s %s\n", f.Name, f.About)
			}
		},
	}
}

func newClaims() *cobra.Command {
	return &cobra.Command{
		Use:     "claims",
		Short:   "List what the checkers hold the product to",
		Example: `  go run ./jepsen/cmd/jepsen claims`,
		Args:    cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			for _, c := range check.Claims() {
				fmt.Printf("%-14s %s\n", c.ID, c.Text)
			}
		},
	}
}

// describe notes the conditions of the run.
func (r *run) describe(ctx context.Context) {
	disks := "folders of one file system, real fsync"
	if r.disk > 0 {
		disks = fmt.Sprintf("memory disks of %d MiB (fsync costs nothing)", r.disk>>20)
	}
	version := "unknown"
	if out, err := exec.CommandContext(ctx, r.binary, "version").Output(); err == nil {
		version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		version += ", sources " + strings.TrimSpace(string(out))
	}
	r.record = history.Run{
		Command: "jepsen " + strings.Join(os.Args[1:], " "), Seed: r.seed, Began: time.Now(), Nodes: r.cluster.Names(), Clients: r.count,
		Network: r.network.Name(), Disks: disks, Version: version, Skewed: r.shiftClocks,
		Host: fmt.Sprintf("%d processors, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version()),
		Load: loadAverage(), Settings: r.settings, Left: r.left,
	}
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
