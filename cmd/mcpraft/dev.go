package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

const (
	devContext    = "dev"            // name of the context that dev saves
	devStartLimit = 60 * time.Second // from the start of the nodes to the first write that succeeds
)

// devFlags are the flags of dev.
type devFlags struct {
	nodes     int
	data      string
	ephemeral bool
	readyFile string
}

func newDevCommand(a *app) *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:     "dev",
		GroupID: groupRun,
		Short:   "Run a cluster on this machine, to develop against and to play with",
		Long: `Run a cluster of 1, 3 or 5 nodes on loopback, with nothing to set up: certificates
and a token are made, ports that are taken are replaced by free ones.

Each node is a process of its own, so that it can be killed for real; it starts
again after 10 s. One address in front stays the same whichever node dies. A demo
MCP server with tools to play with is registered as "demo". The token is saved in the context "dev", where the other commands find it.

Data is kept in the user's state directory, or in --data; --ephemeral keeps
nothing. Ctrl-C stops the nodes in order, a second one at once.`,
		Example: `  mcpraft dev
  mcpraft dev --nodes 3
  mcpraft dev --nodes 3 --ephemeral --ready-file ready.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return a.runDev(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.nodes, "nodes", 0, "how many nodes: 1, 3 or 5 (default: as many as --data holds, else 1)")
	flags.StringVar(&f.data, "data", "", "`DIR` to keep the cluster in (default: below the user's state directory)")
	flags.BoolVar(&f.ephemeral, "ephemeral", false, "keep nothing")
	flags.StringVar(&f.readyFile, "ready-file", "", "`FILE` to write token, addresses and process ids to, as JSON, once writes succeed; current while dev runs")
	return cmd
}

func (f *devFlags) check(cmd *cobra.Command) error {
	switch {
	case f.ephemeral && f.data != "":
		return usageError(cmd, fmt.Errorf("--ephemeral and --data exclude each other"))
	case cmd.Flags().Changed("nodes") && f.nodes != 1 && f.nodes != 3 && f.nodes != 5:
		return usageError(cmd, fmt.Errorf("--nodes %d is not 1, 3 or 5: an even number survives no more failures than one node less", f.nodes))
	}
	return nil
}

// dir is where the cluster is kept: clusters of different sizes apart.
func (f *devFlags) dir(a *app) (string, error) {
	switch {
	case f.ephemeral:
		return os.MkdirTemp("", "mcpraft-dev-")
	case f.data != "":
		return filepath.Abs(f.data)
	}
	state, err := a.stateDir()
	if f.nodes > 1 {
		return filepath.Join(state, fmt.Sprintf("dev-%d", f.nodes)), err
	}
	return filepath.Join(state, "dev"), err
}

// A devRun is one run of dev.
type devRun struct {
	app     *app
	home    *devHome
	gate    *devGate
	nodes   []*devNode
	logs    []*devLog
	ready   string // path of the ready file, or ""
	begun   time.Time
	deaths  chan string // what ended a node before the cluster was up
	up      chan struct{}
	current bool // the context "dev" is the one in use

	mu        sync.Mutex
	published bool // the ready file has been written
}

func (a *app) runDev(ctx context.Context, f devFlags) (err error) {
	begun := time.Now()
	dir, err := f.dir(a)
	if err != nil {
		return err
	}
	home, err := openDevHome(dir, f.nodes, f.ephemeral)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, home.Close()) }()
	r := &devRun{
		app: a, home: home, begun: begun,
		gate:   &devGate{out: a.stderr},
		deaths: make(chan string, len(home.plan.Nodes)),
		up:     make(chan struct{}),
	}
	if f.readyFile != "" {
		if r.ready, err = filepath.Abs(f.readyFile); err != nil {
			return err
		}
		if err := os.Remove(r.ready); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // one of an earlier run would be believed
		}
	}
	return r.run(ctx)
}

// run starts everything, waits until ctx ends or something breaks, and stops
// everything. Whatever it started has ended when it returns.
func (r *devRun) run(ctx context.Context) error {
	own, err := r.home.prepare()
	if err != nil {
		return err
	}
	defer own.close()
	defer r.closeLogs()
	for _, n := range r.home.plan.Nodes {
		if err := r.addNode(n); err != nil {
			return err
		}
	}
	force, forced := context.WithCancel(context.Background())
	defer forced()
	group, ctx := errgroup.WithContext(ctx)
	if own.front != nil {
		proxy := newDevFront(own.front, r.targets())
		group.Go(func() error { return proxy.Run(ctx) })
	}
	group.Go(func() error { return serveDemo(ctx, own.demo) })
	for _, n := range r.nodes {
		group.Go(func() error { return n.Run(ctx, force) })
	}
	group.Go(func() error { return r.announce(ctx) })

	stopped := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { r.stop(ctx, stopped, forced) })
	err = group.Wait()
	close(stopped)
	watch.Wait()
	return errors.Join(err, r.forget())
}

// stop says that dev stops once ctx has ended, and forces it at the next signal.
func (r *devRun) stop(ctx context.Context, stopped <-chan struct{}, force context.CancelFunc) {
	select {
	case <-ctx.Done():
	case <-stopped:
		return
	}
	again, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	r.gate.Shut()
	r.app.note("stopping: nodes hand over and finish what they took (Ctrl-C again: at once)")
	select {
	case <-again.Done():
		force()
		<-stopped
	case <-stopped:
	}
	if r.home.ephemeral {
		r.app.note("stopped; nothing was kept")
		return
	}
	r.app.note("stopped; the data is in %s", r.home.dir)
}

func (r *devRun) addNode(n devNodePlan) error {
	log, err := openDevLog(r.home.path(n.ID, "node.log"), n.ID, r.gate)
	if err != nil {
		return err
	}
	r.logs = append(r.logs, log)
	r.nodes = append(r.nodes, &devNode{
		id:      n.ID,
		args:    []string{"server", "--config", r.home.configFile(n.ID)},
		log:     log,
		gate:    r.gate,
		started: r.refresh,
		ended:   func(how string) { r.died(n.ID, how) },
	})
	return nil
}

func (r *devRun) closeLogs() {
	for _, l := range r.logs {
		_ = l.Close()
	}
}

// died tells announce that a node ended, as long as anyone waits for it.
func (r *devRun) died(id, how string) {
	select {
	case <-r.up:
	case r.deaths <- id + " ended while starting: " + how:
	default:
	}
}

func (r *devRun) targets() []devTarget {
	var list []devTarget
	for _, n := range r.home.plan.Nodes {
		list = append(list, devTarget{mcp: loopback(n.MCP), probe: "http://" + loopback(n.Admin) + adminapi.Readyz})
	}
	return list
}

// announce waits for the first write that succeeds, and tells everyone: the
// context, the ready file, and the person in front of it.
func (r *devRun) announce(ctx context.Context) error {
	t := target{Token: r.home.token, Context: devContext}
	for _, n := range r.home.plan.Nodes {
		t.Addresses = append(t.Addresses, loopback(n.Admin))
	}
	client, err := t.client(5*time.Second, t.Addresses...)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := r.firstWrite(ctx, client); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	status, _, err := client.Status(ctx, &adminapi.StatusRequest{ReadOptions: adminapi.ReadOptions{Consistency: adminapi.Linearizable}})
	if err != nil {
		return err
	}
	if err := r.registerDemo(ctx, client); err != nil {
		return err
	}
	close(r.up)
	if err := r.saveContext(t); err != nil {
		return err
	}
	if err := r.publish(); err != nil {
		return err
	}
	if err := r.banner(status); err != nil {
		return err
	}
	r.gate.Open()
	return nil
}

// devProbe is the key under which the first write is made and taken back.
const devProbe = "mcpraft:dev/probe"

// firstWrite registers a name and takes it back, and tries again until that has
// worked. It gives up when a node ends, with the last of what that node said, or
// after devStartLimit.
func (r *devRun) firstWrite(ctx context.Context, client *adminapi.Client) error {
	ctx, cancel := context.WithTimeout(ctx, devStartLimit)
	defer cancel()
	once := onceKey() // a repeat of an attempt whose answer was lost is answered, not refused
	for {
		_, _, err := client.Register(ctx, &adminapi.RegisterRequest{WriteOptions: once, Type: "resource", Key: devProbe})
		if err == nil || fault.Of(err) == fault.Conflict { // left behind by a run that was killed
			_, _, err = client.Unregister(ctx, &adminapi.UnregisterRequest{WriteOptions: onceKey(), Type: "resource", Key: devProbe})
		}
		if err == nil {
			return nil
		}
		select {
		case how := <-r.deaths:
			return r.failedStart(how)
		case <-ctx.Done():
			return fault.New(fault.Timeout, "the cluster took no write within %v: %w", devStartLimit, err).
				WithHint("the logs of the nodes are in %s", r.home.dir)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// failedStart is the error of a node that ended before the cluster was up.
func (r *devRun) failedStart(how string) error {
	id, _, _ := strings.Cut(how, " ")
	for _, l := range r.logs {
		if last := l.Last(); l.node == id && len(last) > 0 {
			return fault.New(fault.Unavailable, "node %s: %s", how, last[len(last)-1]).
				WithHint("its log is %s", l.path)
		}
	}
	return fault.New(fault.Unavailable, "node %s", how).WithHint("its log is %s", r.home.path(id, "node.log"))
}

// saveContext saves how to reach the cluster, and makes it the context in use
// unless there is one: switching a person away from another cluster without
// being asked is how the wrong cluster gets changed.
func (r *devRun) saveContext(t target) error {
	saved, err := r.app.loadContexts()
	if err != nil {
		return err
	}
	saved.Saved[devContext] = savedContext{
		Addresses: t.Addresses, Token: t.Token, MCP: []string{r.readyNow().Front}, CommandFile: r.home.CommandFile(),
	}
	saved.Current = first(saved.Current, devContext)
	r.current = saved.Current == devContext
	return saved.save()
}

// forget takes back what is of no use after the run: the ready file, and the
// context of a cluster that was not kept.
func (r *devRun) forget() error {
	var errs []error
	if r.ready != "" {
		if err := os.Remove(r.ready); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if !r.home.ephemeral {
		return errors.Join(errs...)
	}
	saved, err := r.app.loadContexts()
	if err == nil && saved.Saved[devContext].Token == r.home.token {
		delete(saved.Saved, devContext)
		if saved.Current == devContext {
			saved.Current = ""
		}
		err = saved.save()
	}
	return errors.Join(append(errs, err)...)
}
