package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const nodes = 3

// A cluster is three running processes with an empty disk at the start.
type cluster struct {
	dir   string
	addrs []string // where clients connect
	token string
	procs []*exec.Cmd
	nodes []int // process ids, when the nodes are not procs
}

// pids are the processes of the nodes, for the flag -pids.
func (c *cluster) pids() string {
	if c.nodes != nil {
		return pidList(c.nodes)
	}
	var pids []int
	for _, p := range c.procs {
		pids = append(pids, p.Process.Pid)
	}
	return pidList(pids)
}

// close kills what runs and removes the disk.
func (c *cluster) close() {
	for _, p := range c.procs {
		_ = p.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range c.procs {
		kill := time.AfterFunc(10*time.Second, func() { _ = p.Process.Kill() })
		_ = p.Wait()
		kill.Stop()
	}
	_ = os.RemoveAll(c.dir)
}

func (c *cluster) start(logName, name string, args ...string) error {
	out, err := os.Create(filepath.Join(c.dir, logName))
	if err != nil {
		return err
	}
	defer out.Close() // the child has its own descriptor
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.procs = append(c.procs, cmd)
	return nil
}

// A devNode is one node of `mcpraft dev` as its ready file tells.
type devNode struct {
	ID    string `json:"id"`
	PID   int    `json:"pid"`
	MCP   string `json:"mcp"`
	Admin string `json:"admin"`
}

type readyFile struct {
	Token string    `json:"token"`
	Nodes []devNode `json:"nodes"`
}

// startOurs starts `mcpraft dev --nodes 3`: one process per node, and a parent
// that only watches them.
func startOurs(ctx context.Context, o options) (*cluster, error) {
	dir, err := os.MkdirTemp("", "bench-mcpraft-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir}
	err = c.start("log", o.binary, "dev", "--nodes", fmt.Sprint(nodes), "--data", filepath.Join(dir, "data"), "--ready-file", c.readyPath())
	if err == nil {
		err = waitFor(ctx, 60*time.Second, func() error {
			ready, err := c.ready()
			if err != nil {
				return err
			}
			c.token, c.addrs, c.nodes = ready.Token, nil, nil
			for _, n := range ready.Nodes {
				c.addrs = append(c.addrs, n.Admin)
				c.nodes = append(c.nodes, n.PID)
			}
			return nil
		})
	}
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		c.close()
		return nil, fmt.Errorf("mcpraft dev did not become ready: %w\n%s", err, log)
	}
	return c, nil
}

func (c *cluster) readyPath() string { return filepath.Join(c.dir, "ready.json") }

// ready reads the ready file as it is now: pids change when a node restarts.
func (c *cluster) ready() (readyFile, error) {
	var ready readyFile
	data, err := os.ReadFile(c.readyPath())
	if err != nil {
		return ready, err
	}
	return ready, json.Unmarshal(data, &ready)
}

// startEtcd starts three etcd processes with their default settings.
func startEtcd(ctx context.Context, _ options) (*cluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-etcd-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir}
	var peers, initial []string
	for i := range nodes {
		client, peer, err := twoPorts()
		if err != nil {
			c.close()
			return nil, err
		}
		c.addrs = append(c.addrs, "http://"+client)
		peers = append(peers, "http://"+peer)
		initial = append(initial, fmt.Sprintf("e%d=http://%s", i, peer))
	}
	for i := range nodes {
		err := c.start(fmt.Sprintf("log%d", i), self, "etcd", "--name", fmt.Sprintf("e%d", i), "--data-dir", filepath.Join(dir, fmt.Sprint(i)),
			"--listen-client-urls", c.addrs[i], "--advertise-client-urls", c.addrs[i],
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(initial, ","), "--log-level", "error")
		if err != nil {
			c.close()
			return nil, err
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: c.addrs, DialTimeout: 5 * time.Second})
	if err == nil {
		defer client.Close()
		err = waitFor(ctx, 60*time.Second, func() error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			_, err := client.Put(ctx, "ready", "yes")
			return err
		})
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("etcd did not become ready: %w", err)
	}
	return c, nil
}

// twoPorts finds two free ports on loopback.
func twoPorts() (a, b string, err error) {
	var found [2]string
	for i := range found {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close()
		found[i] = l.Addr().String()
	}
	return found[0], found[1], nil
}

// waitFor tries until try succeeds or limit has passed.
func waitFor(ctx context.Context, limit time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
