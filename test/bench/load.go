package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

const (
	valueBytes = 256
	readKeys   = 10_000 // written before reads are measured
	warmUp     = time.Second
)

// A store is one connection to a system under load.
type store interface {
	write(ctx context.Context, key, value string) error
	read(ctx context.Context, key string) error // linearizable
	close()
}

// ours is one client of mcpraft on one node.
type ours struct{ client *adminapi.Client }

func (s ours) write(ctx context.Context, key, value string) error {
	r := &adminapi.RegisterRequest{Type: "resource", Key: key}
	r.Metadata = map[string]string{"v": value}
	_, _, err := s.client.Register(ctx, r)
	return err
}

func (s ours) read(ctx context.Context, key string) error {
	r := &adminapi.WhereIsRequest{Type: "resource", Key: key}
	r.Consistency = adminapi.Linearizable
	_, _, err := s.client.WhereIs(ctx, r)
	return err
}

func (s ours) close() { s.client.Close() }

// theirs is one client of etcd on one node.
type theirs struct{ client *clientv3.Client }

func (s theirs) write(ctx context.Context, key, value string) error {
	_, err := s.client.Put(ctx, key, value)
	return err
}

func (s theirs) read(ctx context.Context, key string) error {
	_, err := s.client.Get(ctx, key)
	return err
}

func (s theirs) close() { s.client.Close() }

// connect opens one connection of a system to addr.
func connect(system, addr, token string) (store, error) {
	c := adminapi.Config{Addrs: []string{addr}, Token: token, Timeout: 20 * time.Second}
	switch system {
	case "stream":
		client, err := adminapi.NewStream(c)
		return ours{client}, err
	case "http":
		client, err := adminapi.New(c)
		return ours{client}, err
	case "etcd":
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: 5 * time.Second})
		return theirs{client}, err
	}
	return nil, fmt.Errorf("there is no system %q", system)
}

// A load says what one run does; it travels to the process of the load as flags.
type load struct {
	system   string
	op       string // write, read
	addrs    string // separated by commas
	token    string // by environment, never on a command line
	callers  int
	conns    int
	duration time.Duration
	pids     string // of the processes under load, separated by commas
}

const tokenVariable = "BENCH_TOKEN"

// measure runs l in a process of its own.
func (l load) measure(ctx context.Context) (sample, error) {
	var s sample
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := exec.CommandContext(ctx, self, "load", "-system", l.system, "-op", l.op, "-addrs", l.addrs,
		"-callers", fmt.Sprint(l.callers), "-conns", fmt.Sprint(l.conns), "-duration", l.duration.String(), "-pids", l.pids)
	cmd.Env = append(os.Environ(), tokenVariable+"="+l.token)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return s, fmt.Errorf("load: %w", err)
	}
	return s, json.Unmarshal(out, &s)
}

// runLoad is the process of the load.
func runLoad(ctx context.Context, args []string) error {
	l := load{token: os.Getenv(tokenVariable)}
	flags := flag.NewFlagSet("bench load", flag.ContinueOnError)
	flags.StringVar(&l.system, "system", "", "")
	flags.StringVar(&l.op, "op", "write", "")
	flags.StringVar(&l.addrs, "addrs", "", "")
	flags.IntVar(&l.callers, "callers", 1, "")
	flags.IntVar(&l.conns, "conns", 1, "")
	flags.DurationVar(&l.duration, "duration", time.Second, "")
	flags.StringVar(&l.pids, "pids", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := l.run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

func (l load) run(ctx context.Context) (sample, error) {
	debug.SetGCPercent(400) // the heap is small: what is measured shares the processors with its collection
	addrs := strings.Split(l.addrs, ",")
	stores := make([]store, max(l.conns, 1))
	for i := range stores {
		var err error
		if stores[i], err = connect(l.system, addrs[i%len(addrs)], l.token); err != nil {
			return sample{}, err
		}
		defer stores[i].close()
	}
	value := strings.Repeat("v", valueBytes)
	if l.op == "read" {
		if err := fill(ctx, stores, value); err != nil {
			return sample{}, err
		}
	}
	run := fmt.Sprintf("%08x", rand.Uint32())
	begin := time.Now()
	measured, end := begin.Add(warmUp), begin.Add(warmUp+l.duration)
	results := make([]callerResult, l.callers)
	var wg sync.WaitGroup
	var cpu []time.Duration
	wg.Go(func() { cpu = used(ctx, append(strings.Split(l.pids, ","), thisProcess), measured, end) })
	for i := range results {
		wg.Go(func() {
			s, r := stores[i%len(stores)], &results[i]
			for n := 0; time.Now().Before(end) && ctx.Err() == nil; n++ {
				start := time.Now()
				var err error
				if l.op == "read" {
					err = s.read(ctx, readKey(rand.IntN(readKeys)))
				} else {
					err = s.write(ctx, fmt.Sprintf("%s-%04d-%08d", run, i, n), value)
				}
				r.add(start, measured, end, err)
			}
		})
	}
	wg.Wait()
	s := merge(results, l.duration)
	s.CPU = cpu
	return s, ctx.Err()
}

func readKey(i int) string { return fmt.Sprintf("read-%06d", i) }

// fill writes the keys that reads ask for.
func fill(ctx context.Context, stores []store, value string) error {
	errs := make([]error, 64)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for k := i; k < readKeys && errs[i] == nil; k += len(errs) {
				errs[i] = stores[i%len(stores)].write(ctx, readKey(k), value)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("filling: %w", err)
		}
	}
	return nil
}

// callerResult is what one caller saw.
type callerResult struct {
	latencies []time.Duration
	failed    int
	note      string
}

// add counts an operation that began and ended within the measured time.
func (r *callerResult) add(start, from, to time.Time, err error) {
	now := time.Now()
	if start.Before(from) || now.After(to) {
		return
	}
	if err != nil {
		r.failed++
		r.note = err.Error()
		return
	}
	r.latencies = append(r.latencies, now.Sub(start))
}

func merge(results []callerResult, elapsed time.Duration) sample {
	var all []time.Duration
	failed, note := 0, ""
	for _, r := range results {
		all = append(all, r.latencies...)
		failed += r.failed
		if r.note != "" {
			note = r.note
		}
	}
	return summarise(all, failed, elapsed, note)
}
