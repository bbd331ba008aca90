package peer

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// ServerID is the raft library's name for a disk of a node, "node/disk". It is
// the raft address too: where the node listens may change.
func ServerID(node string, disk record.ID) raft.ServerID {
	return raft.ServerID(node + "/" + disk.String())
}

// ParseServerID reads the text of a ServerID or of a raft address.
func ParseServerID[T ~string](id T) (node string, disk record.ID, err error) {
	node, text, ok := strings.Cut(string(id), "/")
	if ok {
		disk, err = record.ParseID(text)
	}
	if !ok || err != nil || record.ValidNode(node) != nil || disk.IsZero() {
		return "", record.ID{}, fmt.Errorf("raft server id %q is not of the form node/disk", string(id))
	}
	return node, disk, nil
}

// A RaftLayer gives the streams of raft to one raft.NetworkTransport, which
// closes it. Closing ends all its streams, dialled and taken, so that the
// transport's readers return; the Port stays.
type RaftLayer struct {
	port  *Port
	queue chan net.Conn // streams that raft has not accepted yet
	done  chan struct{} // closed by Close
	once  sync.Once
}

var _ raft.StreamLayer = (*RaftLayer)(nil)

// waitingStreams is how many streams may wait for raft to accept them; more are
// closed. Raft accepts without delay as long as it runs.
const waitingStreams = 64

// RaftLayer makes the layer that raft's streams go to from now on. The one before
// is closed: raft may be started again in the same process after it was stopped.
func (p *Port) RaftLayer() *RaftLayer {
	l := &RaftLayer{port: p, queue: make(chan net.Conn, waitingStreams), done: make(chan struct{})}
	p.mu.Lock()
	old, stopped := p.layer, p.stopped
	p.layer = l
	p.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	if stopped {
		_ = l.Close()
	}
	return l
}

// raftLayer is the layer in use; nil when raft does not run.
func (p *Port) raftLayer() *RaftLayer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.layer
}

// Accept waits for a stream of another node's raft.
func (l *RaftLayer) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case nc := <-l.queue:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// offer queues a taken stream for Accept.
func (l *RaftLayer) offer(s *stream) {
	select {
	case l.queue <- s:
	default:
		_ = s.Close()
	}
}

// Dial opens a stream to the disk that addr names, see ServerID. The error says
// why not in words. timeout 0 means Limits.HandshakeTimeout, which is the most.
func (l *RaftLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	node, disk, err := ParseServerID(addr)
	if err != nil {
		return nil, err
	}
	g, err := l.port.resolve(node)
	if err != nil {
		return nil, err
	}
	g.protocol, g.disk, g.layer = protocolRaft, disk, l
	ctx, cancel := context.WithTimeout(l.port.ctx, or(timeout, l.port.o.Limits.HandshakeTimeout))
	defer cancel()
	s, err := l.port.dial(ctx, g)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the layer and its streams. It may be called again.
func (l *RaftLayer) Close() error {
	l.once.Do(func() {
		close(l.done)
		closeAll(l.port.detach(l))
	})
	return nil
}

// detach takes l out of use, so that keep takes none of its streams any more, and
// returns those that it has.
func (p *Port) detach(l *RaftLayer) []*stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.layer == l {
		p.layer = nil
	}
	var all []*stream
	for s := range p.streams {
		if s.layer == l {
			all = append(all, s)
		}
	}
	return all
}

// Addr is this node's raft address.
func (l *RaftLayer) Addr() net.Addr {
	own := l.port.o.Identity()
	return raftAddr(ServerID(own.Node, own.Disk))
}

type raftAddr string

func (raftAddr) Network() string  { return protocolRaft }
func (a raftAddr) String() string { return string(a) }
