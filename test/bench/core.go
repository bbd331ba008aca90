package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A system is one side of a comparison.
type system struct {
	name  string // of connect
	start func(context.Context, options) (*cluster, error)
}

// benchWrites: committed writes, each acknowledged singly, against etcd.
func benchWrites(ctx context.Context, o options) error {
	return compare(ctx, o, "writes/etcd", "write",
		system{"stream", startOurs}, system{"etcd", startEtcd},
		"etcd 3.7.3; 256-byte values, one command outstanding per caller, /v1/stream against gRPC")
}

// benchReads: linearizable reads on all nodes, against etcd.
func benchReads(ctx context.Context, o options) error {
	return compare(ctx, o, "reads/etcd", "read",
		system{"stream", startOurs}, system{"etcd", startEtcd},
		"etcd 3.7.3; linearizable, spread over all nodes, 10,000 keys of 256 bytes")
}

// benchWritesHTTP: the same writes over plain HTTP, against a net/http server
// that does nothing, with the same client.
func benchWritesHTTP(ctx context.Context, o options) error {
	return compare(ctx, o, "writes-http/noop", "write",
		system{"http", startOurs}, system{"http", startNoop},
		"a net/http server that reads the body and answers, same client; 256-byte values")
}

// compare measures both systems in turn and prints medians.
func compare(ctx context.Context, o options, bench, op string, us, them system, conditions string) error {
	sides := [2]system{us, them}
	var samples [2][]sample
	for round := range o.rounds {
		for side, sys := range sides {
			s, err := measureOnce(ctx, o, op, sys)
			if err != nil {
				return err
			}
			progress("%s round %d %-6s %8.0f/s p50 %v p99 %v failed %d cpu %.0f+%.0f µs %s", bench, round+1, []string{"ours", "theirs"}[side], s.rate(), s.P50, s.P99, s.Failed, nodesCPU(s), loadCPU(s), s.Note)
			samples[side] = append(samples[side], s)
		}
	}
	line{
		Bench: fmt.Sprintf("%s/%d", bench, o.callers),
		Ours:  median(samples[0], rates), Theirs: median(samples[1], rates), Unit: "ops/s",
		P50: median(samples[0], p50s), P99: median(samples[0], p99s), TheirsP99: median(samples[1], p99s),
		CPU: median(samples[0], nodesCPU), TheirsCPU: median(samples[1], nodesCPU), LoadCPU: median(samples[0], loadCPU),
		Conns: o.conns, Nodes: nodes,
		Conditions: fmt.Sprintf("%s; medians of %d rounds of %v; %s", conditions, o.rounds, o.duration, machine()),
	}.print()
	return nil
}

func measureOnce(ctx context.Context, o options, op string, sys system) (sample, error) {
	c, err := sys.start(ctx, o)
	if err != nil {
		return sample{}, err
	}
	defer c.close()
	return load{
		system: sys.name, op: op, addrs: strings.Join(c.addrs, ","), token: c.token,
		callers: o.callers, conns: o.conns, duration: o.duration, pids: c.pids(),
	}.measure(ctx)
}

// startNoop starts the server that does nothing.
func startNoop(ctx context.Context, _ options) (*cluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-noop-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir}
	for i := range nodes {
		addr, _, err := twoPorts()
		if err == nil {
			err = c.start(fmt.Sprintf("log%d", i), self, "noop", addr)
		}
		if err == nil {
			err = waitFor(ctx, 10*time.Second, func() error {
				conn, err := net.Dial("tcp", addr)
				if err == nil {
					conn.Close()
				}
				return err
			})
		}
		if err != nil {
			c.close()
			return nil, err
		}
		c.addrs = append(c.addrs, addr)
	}
	return c, nil
}

// runNoop serves an answer of the size of ours to everything.
func runNoop(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("noop takes an address")
	}
	server := &http.Server{Addr: args[0], Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Mcpraft-Index", "1")
		h.Set("Mcpraft-Timeline", "1-00000000")
		h.Set("Etag", `"1"`)
		_, _ = io.WriteString(w, `{"revision":1,"time":"2026-01-01T00:00:00Z"}`)
	})}
	go func() { <-ctx.Done(); _ = server.Close() }() // ends with the process
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

var applyResult = regexp.MustCompile(`BenchmarkApply/(\w+)\S*\s+\d+\s+.*?([\d.]+) µs/command`)

// benchApply: what one command costs in the state machine, on one core, with
// four indexes and a million records.
func benchApply(ctx context.Context, _ options) error {
	cmd := exec.CommandContext(ctx, "go", "test", "./fsm", "-run", "^$", "-bench", "^BenchmarkApply$", "-cpu", "1", "-timeout", "30m", "-cpuprofile", "bin/apply.prof", "-o", "bin/fsm.test")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	found := applyResult.FindAllSubmatch(out, -1)
	if len(found) == 0 {
		return fmt.Errorf("no figure in:\n%s", out)
	}
	for _, f := range found {
		micros, err := strconv.ParseFloat(string(f[2]), 64)
		if err != nil {
			return err
		}
		line{
			Bench: "apply/" + string(f[1]), Ours: micros, Unit: "µs/command", Nodes: 1,
			Conditions: "over 1,000,000 sessions with four indexes, one core, envelopes of 128 commands; budget 15; profile in bin/apply.prof (go tool pprof bin/fsm.test bin/apply.prof)",
		}.print()
	}
	return nil
}
