package nemesis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/cluster"
)

// A kind of file in a data directory that can be damaged.
type kind struct{ name, pattern string }

var kinds = []kind{
	{"log", "raft.db"},
	{"tables", "*.sst"},
	{"write-ahead log", "*.log"},
	{"manifest", "MANIFEST-*"},
	{"identity", "node.json"},
}

// filesOf are the files of a kind that hold something.
func filesOf(dir string, k kind) []string {
	var files []string
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error { // what cannot be read is not damaged
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // see above
		}
		info, err := entry.Info()
		if match, _ := filepath.Match(k.pattern, entry.Name()); match && err == nil && info.Size() > 0 {
			files = append(files, path)
		}
		return nil
	})
	return files
}

// rot flips a few bits in one file of a node that was killed, and starts it.
func (n *Nemesis) rot() (*active, error) {
	return n.damage(func(file *os.File, size int64) (string, error) {
		bits := 1 + n.rng.IntN(8)
		for range bits {
			at := n.rng.Int64N(size)
			b := make([]byte, 1)
			if _, err := file.ReadAt(b, at); err != nil {
				return "", err
			}
			b[0] ^= 1 << n.rng.IntN(8)
			if _, err := file.WriteAt(b, at); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("%d of %d bits flipped", bits, 8*size), nil
	})
}

// truncate cuts the end off one file of a node that was killed, and starts it.
func (n *Nemesis) truncate() (*active, error) {
	return n.damage(func(file *os.File, size int64) (string, error) {
		keep := n.rng.Int64N(size)
		return fmt.Sprintf("%d of %d bytes kept", keep, size), file.Truncate(keep)
	})
}

func (n *Nemesis) damage(do func(*os.File, int64) (string, error)) (*active, error) {
	node, err := n.sole()
	if err != nil {
		return nil, err
	}
	node.Excuse(true)
	node.Kill()
	k := kinds[n.rng.IntN(len(kinds))]
	files := filesOf(node.Data(), k)
	if len(files) == 0 {
		return nil, errors.Join(errNotNow, node.Start())
	}
	path := files[n.rng.IntN(len(files))]
	done, err := change(path, do)
	if err != nil {
		return nil, err
	}
	if err := node.Start(); err != nil {
		return nil, err
	}
	return &active{
		detail: fmt.Sprintf("%s, %s: %s", node.Name, k.name, filepath.Base(path)),
		proof: func() string {
			if !node.Running() {
				return done + "; the node noticed and ended"
			}
			return done + "; the node runs"
		},
	}, nil
}

func change(path string, do func(*os.File, int64) (string, error)) (string, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	info, err := file.Stat()
	if err != nil {
		return "", errors.Join(err, file.Close())
	}
	done, err := do(file, info.Size())
	return done, errors.Join(err, file.Close())
}

// fill leaves no free byte on the disk of a node.
func (n *Nemesis) fill() (*active, error) {
	node, err := n.sole()
	if err != nil {
		return nil, err
	}
	node.Excuse(true)
	path := filepath.Join(node.Disk(), "filler")
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	written, full := 0, false
	for block := make([]byte, 64<<10); !full; {
		count, err := file.Write(block)
		written += count
		full = errors.Is(err, syscall.ENOSPC)
		if err != nil && !full {
			return nil, errors.Join(err, file.Close(), os.Remove(path))
		}
	}
	return &active{
		detail: node.Name,
		proof:  func() string { return fmt.Sprintf("no space left after %d KiB more", written>>10) },
		end:    func() error { return errors.Join(file.Close(), os.Remove(path)) },
	}, nil
}

// slowSync makes each fsync of one node take longer.
func (n *Nemesis) slowSync() (*active, error) {
	node := n.cluster.Node(n.some(1)[0])
	delay := n.between(20*time.Millisecond, 200*time.Millisecond)
	return n.trace(node, fmt.Sprintf("%s: %v more for each fsync", node.Name, delay.Round(time.Millisecond)),
		"delay_exit="+strconv.FormatInt(delay.Microseconds(), 10))
}

// failSync makes every fsync of one node fail: it must end, and not go on.
func (n *Nemesis) failSync() (*active, error) {
	node, err := n.sole()
	if err != nil {
		return nil, err
	}
	node.Excuse(true)
	a, err := n.trace(node, node.Name+": every fsync fails", "error=EIO")
	if err != nil {
		return nil, err
	}
	attached := a.proof
	a.proof = func() string {
		limited, cancel := context.WithTimeout(n.ctx, 10*time.Second)
		defer cancel()
		if node.Ended(limited) {
			return "the node ended"
		}
		if attached() != "" {
			n.problem("%s lives on although every fsync fails", node.Name)
		}
		return ""
	}
	return a, nil
}

// attachLimit bounds how long strace may take to attach, and to let go.
const attachLimit = 10 * time.Second

// trace has strace do something to each fsync of a node.
func (n *Nemesis) trace(node *cluster.Node, detail, what string) (*active, error) {
	const calls = "fsync,fdatasync"
	cmd := exec.Command("strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace="+calls, "-e", "inject="+calls+":"+what, "-p", strconv.Itoa(node.PID()))
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	attached := ""
	for limit := time.Now().Add(attachLimit); attached == "" && time.Now().Before(limit); n.sleep(n.ctx, 20*time.Millisecond) {
		if tracer := field(node.PID(), "TracerPid"); tracer == strconv.Itoa(cmd.Process.Pid) {
			attached = "strace is attached to process " + strconv.Itoa(node.PID())
		}
	}
	return &active{
		detail: detail,
		proof:  func() string { return attached },
		end: func() error {
			_ = cmd.Process.Signal(os.Interrupt) // it may have ended with the node
			late := time.AfterFunc(attachLimit, func() { _ = cmd.Process.Kill() })
			defer late.Stop()
			_ = cmd.Wait() // its exit code is that of the signal
			return nil
		},
	}, nil
}
