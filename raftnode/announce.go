package raftnode

import (
	"context"
	"slices"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	announceRetry    = 200 * time.Millisecond
	announceInterval = 5 * time.Second
)

// announce keeps what the log knows of this process right: its producer is open,
// and the record of this member is what the node would say of itself. It writes
// only when something differs.
func (n *Node) announce(ctx context.Context) {
	for {
		moved := n.moved.wait()
		pause := announceInterval
		if !n.isMember() {
			pause = announceRetry
		} else if err := n.announceOnce(ctx); err != nil {
			pause = announceRetry
			if ctx.Err() == nil && fault.Of(err) != fault.NoLeader && fault.Of(err) != fault.Timeout {
				n.log.Warn("this node could not announce itself", "error", err)
			}
		}
		if n.moved.sleep(ctx, moved, pause) != nil {
			return
		}
	}
}

func (n *Node) announceOnce(ctx context.Context) error {
	if n.serving() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, announceInterval)
	defer cancel()
	if id, open := n.producer.current(); !open {
		o, err := n.proposeOwn(ctx, 0, &fsm.OpenProducer{ID: id, Node: n.cfg.Node})
		if err == nil {
			err = o.Err()
		}
		if err != nil {
			return err
		}
		n.producer.opened(id)
	}
	own := n.memberRecord()
	rec, ok := n.member(own.Node)
	if ok && same(rec, own) {
		return nil
	}
	if ok && rec.Disk != own.Disk {
		// This disk is in the membership, so the one on record has been given up.
		if err := n.forget(ctx, rec.Node, rec.Disk); err != nil {
			return err
		}
	}
	o, err := n.proposeOwn(ctx, 0, &fsm.PutMember{Member: own})
	if err != nil {
		return err
	}
	return o.Err()
}

// forget removes the record of a member, if that disk has one.
func (n *Node) forget(ctx context.Context, node string, disk record.ID) error {
	o, err := n.proposeOwn(ctx, 0, &fsm.RemoveMember{Node: node, Disk: disk})
	if err != nil {
		return err
	}
	if o.Kind == fault.NotFound || o.Kind == fault.Conflict {
		return nil // it has none, or another disk has written one
	}
	return o.Err()
}

// producerRefused opens another producer when the state machine does not know
// the one that was used: it was closed, after a very long pause.
func (n *Node) producerRefused(id record.ID) {
	if view, err := n.fsm.View(); err == nil {
		defer view.Close()
		for p, err := range view.Producers() {
			if err == nil && p.ID == id && p.Superseded == 0 {
				return // it is open; only that sequence was refused
			}
		}
	}
	if n.producer.replace(id) {
		n.moved.fire()
	}
}

// memberRecord is what this node says of itself.
func (n *Node) memberRecord() record.Member {
	id := n.ident.get()
	return record.Member{
		Node: id.Node, Disk: id.Disk, Process: n.ident.process,
		PeerAddr: n.cfg.PeerAddr, AdminAddr: n.cfg.AdminAddr, MCPAddr: n.cfg.MCPAddr,
		Binary: n.cfg.Binary, Supports: fsm.MaxVersion, Commands: n.cfg.Commands(),
	}
}

// Announce has the record of this member looked at soon, because what Config.Commands
// gives has changed. It does not wait.
func (n *Node) Announce() { n.moved.fire() }

// same compares but for what applying the record sets.
func same(a, b record.Member) bool {
	return a.Node == b.Node && a.Disk == b.Disk && a.Process == b.Process &&
		a.PeerAddr == b.PeerAddr && a.AdminAddr == b.AdminAddr && a.MCPAddr == b.MCPAddr &&
		a.Binary == b.Binary && a.Supports == b.Supports && slices.Equal(a.Commands, b.Commands)
}

// member is the record of a node in the state.
func (n *Node) member(node string) (record.Member, bool) {
	view, err := n.fsm.View()
	if err != nil {
		return record.Member{}, false
	}
	defer view.Close()
	m, err := view.Member(node)
	return m, err == nil
}
