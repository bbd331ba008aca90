package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/check"
	"github.com/mcpraft/mcpraft/jepsen/clock"
	"github.com/mcpraft/mcpraft/jepsen/cluster"
	"github.com/mcpraft/mcpraft/jepsen/history"
	"github.com/mcpraft/mcpraft/jepsen/nemesis"
	"github.com/mcpraft/mcpraft/jepsen/network"
	"github.com/mcpraft/mcpraft/jepsen/report"
	"github.com/mcpraft/mcpraft/jepsen/workload"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// A run is one cluster's life.
type run struct {
	options
	record   history.Run
	clock    *history.Clock
	store    *history.Store
	network  network.Network
	cluster  *cluster.Cluster
	upstream *workload.Upstream
	log      *history.Writer
	clients  []*workload.Client
	binary   string
	left     []string
	sayMu    sync.Mutex
}

// endLimit bounds what comes after the load: the last reads and the comparison of
// replicas.
const endLimit = 3 * time.Minute

// do runs it and reports; contradictions is how many were found.
func (r *run) do(ctx context.Context) (contradictions int, err error) {
	faults, err := r.prepare(ctx)
	if err == nil {
		err = r.work(ctx, faults)
	}
	if err := errors.Join(err, r.close()); err != nil {
		return 0, err
	}
	if err := r.store.SaveRun(&r.record); err != nil {
		return 0, err
	}
	return conclude(r.out)
}

// conclude checks the files of a run and writes its report beside them.
func conclude(dir string) (contradictions int, err error) {
	record, ops, faults, err := history.Load(dir)
	if err != nil {
		return 0, err
	}
	findings := check.All(record, ops, faults)
	if err := report.Save(dir, report.Summarise(record, ops, faults, findings), ops, faults); err != nil {
		return 0, err
	}
	for _, f := range findings {
		fmt.Fprintf(os.Stderr, "CONTRADICTION %s: %s\n", f.Claim, f.Text)
	}
	fmt.Printf("%d operations, %d faults, %d contradictions: %s\n", len(ops), len(faults), len(findings), filepath.Join(dir, "report.md"))
	return len(findings), nil
}

func (r *run) say(format string, args ...any) {
	r.sayMu.Lock()
	defer r.sayMu.Unlock()
	fmt.Fprintf(os.Stderr, "%10v  %s\n", time.Duration(r.clock.Now()).Round(time.Millisecond), fmt.Sprintf(format, args...))
}

// prepare builds the binary, makes the network and starts the cluster and its
// upstream.
func (r *run) prepare(ctx context.Context) ([]nemesis.Fault, error) {
	r.clock = history.NewClock()
	var err error
	if r.store, err = history.Create(r.out); err != nil {
		return nil, err
	}
	if r.out, err = filepath.Abs(r.out); err != nil {
		return nil, err
	}
	if err := r.build(ctx); err != nil {
		return nil, err
	}
	if r.network, err = r.carrier(); err != nil {
		return nil, err
	}
	_, noStrace := exec.LookPath("strace")
	means := nemesis.Means{Packets: r.network.Packets(), Small: r.disk > 0, Clock: r.shiftClocks, Strace: noStrace == nil && os.Geteuid() == 0}
	faults, left, err := nemesis.Possible(r.faults, means)
	if err != nil {
		return nil, err
	}
	r.left = left
	r.cluster, err = cluster.New(cluster.Config{
		Nodes: r.nodes, Dir: filepath.Join(r.out, "cluster"), Binary: r.binary, Network: r.network, DiskSize: r.disk, Settings: r.settings,
	})
	if err != nil {
		return nil, err
	}
	r.describe(ctx)
	whole, cancel := context.WithTimeout(ctx, nemesis.WholeLimit)
	defer cancel()
	r.say("%d nodes on %s, seed %d", r.nodes, r.network.Name(), r.seed)
	if err := r.cluster.Start(whole); err != nil {
		return nil, err
	}
	l, err := r.network.Listen(ctx)
	if err != nil {
		return nil, err
	}
	if r.upstream, err = workload.NewUpstream(l, r.clock, r.store); err != nil {
		return nil, err
	}
	return faults, r.upstream.Register(whole, r.cluster)
}

// build builds the binary unless one is named.
func (r *run) build(ctx context.Context) error {
	if r.binary = r.use; r.binary != "" {
		return nil
	}
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("run jepsen inside the module, or name a --binary: %w", err)
	}
	overlay := ""
	if r.shiftClocks {
		// The folder is part of what the compiler's cache goes by: always the same one.
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		overlay = filepath.Join(cache, "mcpraft-jepsen")
		if err := os.MkdirAll(overlay, 0o755); err != nil {
			return err
		}
	}
	r.binary = filepath.Join(r.out, "mcpraft")
	r.say("building the binary (with clocks that can be shifted: %v)", r.shiftClocks)
	return clock.Build(ctx, strings.TrimSpace(string(root)), "./cmd/mcpraft", r.binary, overlay, r.shiftClocks)
}

// carrier is the best network that the machine allows, or the one that was asked for.
func (r *run) carrier() (network.Network, error) {
	if network.Isolated() {
		return network.NewSwitch(r.seed)
	}
	if r.disk > 0 {
		return nil, errors.New("--disk needs root and the network of packets: its disks are mounted in a namespace of their own")
	}
	return network.NewProxies(r.seed), nil
}

// work lets clients and the nemesis work, then reads everything from every node.
func (r *run) work(ctx context.Context, faults []nemesis.Fault) error {
	if err := r.hire(ctx); err != nil {
		return err
	}
	var err error
	if r.log, err = r.store.Faults(); err != nil {
		return err
	}
	n := nemesis.New(ctx, r.cluster, r.upstream, r.clock, r.log, r.seed, r.say)
	n.Hold, n.Quiet = r.hold, r.quiet
	began := r.clock.Now()
	load, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, c := range r.clients {
		wg.Go(func() { c.Run(load) })
	}
	if r.eachOnce {
		for _, f := range faults {
			if ctx.Err() == nil && !n.Do(ctx, []nemesis.Fault{f}) {
				break
			}
		}
	} else {
		timed, cancel := context.WithTimeout(ctx, r.time)
		n.Run(timed, faults, r.pairs)
		cancel()
	}
	whole := n.Mend()
	stop()
	wg.Wait()
	r.record.Took = time.Duration(r.clock.Now() - began)
	r.record.Problems = n.Problems()
	if whole && ctx.Err() == nil {
		r.finish(ctx)
	}
	for _, node := range r.cluster.Nodes() {
		r.record.Problems = append(r.record.Problems, node.Unasked()...)
	}
	return ctx.Err()
}

// hire makes the clients, in turn of each workload.
func (r *run) hire(ctx context.Context) error {
	setup := &workload.Setup{
		Cluster: r.cluster, Clock: r.clock, Store: r.store, Seed: r.seed, Upstream: r.upstream, Fenced: workload.NewFenced(), Pause: r.pause,
	}
	for i := range r.count {
		c, err := workload.New(ctx, setup, r.workloads[i%len(r.workloads)], i+1)
		if err != nil {
			return err
		}
		r.clients = append(r.clients, c)
	}
	return nil
}

// finish reads everything from every node and compares the replicas.
func (r *run) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	r.say("reading everything from every node")
	r.record.Problems = append(r.record.Problems, r.clients[0].ReadAll(ctx)...)
	if err := r.converge(ctx); err != nil {
		r.record.Problems = append(r.record.Problems, err.Error())
	}
}

// converge waits until all nodes have applied the same index, and compares digests.
func (r *run) converge(ctx context.Context) error {
	for {
		same, err := r.sameIndex(ctx)
		if err != nil || same {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("the nodes do not come to one index in the end")
		}
	}
}

func (r *run) sameIndex(ctx context.Context) (bool, error) {
	var first adminapi.Digest
	for i, node := range r.cluster.Nodes() {
		d, _, err := node.Client().Digest(ctx, &adminapi.DigestRequest{})
		switch {
		case err != nil:
			return false, nil // asked again until the time is over
		case i == 0:
			first = d
		case d.Index != first.Index:
			return false, nil
		case d.Digest != first.Digest:
			return false, fmt.Errorf("at index %d %s has digest %s, %s has %s", d.Index, first.Node, first.Digest, d.Node, d.Digest)
		}
	}
	r.say("all nodes are at index %d with digest %s", first.Index, first.Digest)
	return true, nil
}

// close ends everything that runs. What was registered of clients is on disk then.
func (r *run) close() error {
	var errs []error
	for _, c := range r.clients {
		errs = append(errs, c.Close())
	}
	if r.cluster != nil {
		errs = append(errs, r.cluster.Close())
	}
	if r.upstream != nil {
		errs = append(errs, r.upstream.Close())
	}
	if r.log != nil {
		errs = append(errs, r.log.Close())
	}
	if r.network != nil {
		errs = append(errs, r.network.Close())
	}
	if !r.keep && r.cluster != nil {
		for _, node := range r.cluster.Nodes() {
			errs = append(errs, os.RemoveAll(node.Disk()))
		}
		if r.use == "" {
			errs = append(errs, os.Remove(r.binary))
		}
	}
	return errors.Join(errs...)
}
