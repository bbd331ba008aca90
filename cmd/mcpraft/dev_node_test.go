package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary play a node when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "play" {
		playNode(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

// playNode is a process that ends when it is asked to, or does not.
func playNode(how string) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	fmt.Println("time=now level=WARN msg=playing")
	<-asked
	if how == "stubborn" {
		fmt.Println("time=now level=WARN msg=staying")
		select {}
	}
}

// A playedNode is a devNode whose process plays.
type playedNode struct {
	*devNode
	starts chan int // process ids
	output *lockedBuffer
	stop   context.CancelFunc
	force  context.CancelFunc
	ended  chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) has(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.Bytes(), []byte(text))
}

func play(t *testing.T, how string) *playedNode {
	t.Helper()
	p := &playedNode{starts: make(chan int, 8), output: new(lockedBuffer), ended: make(chan error, 1)}
	gate := &devGate{out: p.output, open: true}
	log, err := openDevLog(filepath.Join(t.TempDir(), "node.log"), "dev-1", gate)
	if err != nil {
		t.Fatal(err)
	}
	p.devNode = &devNode{id: "dev-1", args: []string{"play", how}, log: log, gate: gate, restartAfter: 10 * time.Millisecond}
	p.devNode.started = func() { p.starts <- p.PID() }
	p.devNode.ended = func(string) {}
	ctx, stop := context.WithCancel(t.Context())
	force, now := context.WithCancel(context.Background())
	p.stop, p.force = stop, now
	go func() { p.ended <- p.Run(ctx, force) }()
	t.Cleanup(func() {
		stop()
		now()
		if err := <-p.ended; err != nil {
			t.Error(err)
		}
		log.Close()
	})
	return p
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestKilledNodeStartsAgain(t *testing.T) {
	p := play(t, "obedient")
	first := <-p.starts
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := <-p.starts
	if second == first || !alive(second) || alive(first) {
		t.Errorf("pid %d (alive %v) after pid %d (alive %v)", second, alive(second), first, alive(first))
	}
	if want := fmt.Sprintf("node dev-1 (pid %d) ended: signal: killed; it starts again in 10ms", first); !p.output.has(want) {
		t.Errorf("said %q, want %q", p.output.String(), want)
	}
}

func TestNodeIsAskedToEnd(t *testing.T) {
	p := play(t, "obedient")
	pid := <-p.starts
	eventually(t, "the node listens to signals", func() bool { return p.output.has("playing") })
	p.stop()
	if err := <-p.ended; err != nil || alive(pid) {
		t.Errorf("Run = %v, the process is alive: %v", err, alive(pid))
	}
	p.ended <- nil
}

func TestForceEndsANodeThatDoesNotListen(t *testing.T) {
	p := play(t, "stubborn")
	pid := <-p.starts
	eventually(t, "the node listens to signals", func() bool { return p.output.has("playing") })
	p.stop()
	eventually(t, "the node was asked", func() bool { return p.output.has("staying") })
	if !alive(pid) {
		t.Fatal("the node ended without force")
	}
	p.force()
	if err := <-p.ended; err != nil || alive(pid) {
		t.Errorf("Run = %v, the process is alive: %v", err, alive(pid))
	}
	p.ended <- nil
}
