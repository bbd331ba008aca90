package nemesis

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/cluster"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// status asks a node, or any that answers.
func (n *Nemesis) status(node *cluster.Node) (adminapi.Status, error) {
	ctx, cancel := context.WithTimeout(n.ctx, 2*time.Second)
	defer cancel()
	s, _, err := node.Client().Status(ctx, &adminapi.StatusRequest{})
	return s, err
}

// diskOf is the id of a member's disk, as others know it; "" if it is none.
func (n *Nemesis) diskOf(name string) string {
	for _, node := range n.cluster.Nodes() {
		if node.Name == name {
			continue
		}
		s, err := n.status(node)
		if err != nil {
			continue
		}
		if i := slices.IndexFunc(s.Members, func(m adminapi.Member) bool { return m.Node == name }); i >= 0 {
			return s.Members[i].Disk
		}
	}
	return ""
}

// wipe kills a node, takes its disk and starts it under its old name.
func (n *Nemesis) wipe() (*active, error) {
	node, err := n.sole()
	if err != nil {
		return nil, err
	}
	before := n.diskOf(node.Name)
	node.Kill()
	if err := node.Wipe(); err != nil {
		return nil, err
	}
	if err := node.Start(); err != nil {
		return nil, err
	}
	return &active{detail: node.Name, proof: n.otherDisk(node, before)}, nil
}

// otherDisk proves that a node has come back with another disk.
func (n *Nemesis) otherDisk(node *cluster.Node, before string) func() string {
	return func() string {
		s, err := n.status(node)
		if err != nil || s.Disk == "" || s.Disk == before {
			return ""
		}
		return fmt.Sprintf("%s had disk %.8s and has %.8s", node.Name, before, s.Disk)
	}
}

// remove takes a node out of the cluster; it comes back with an empty disk.
func (n *Nemesis) remove() (*active, error) {
	node, err := n.sole()
	if err != nil {
		return nil, err
	}
	before := n.diskOf(node.Name)
	if err := n.ask(func(ctx context.Context, c *adminapi.Client) error {
		_, _, err := c.RemoveMember(ctx, &adminapi.RemoveMemberRequest{Node: node.Name})
		return err
	}, node.Name); err != nil {
		return nil, errNotNow
	}
	node.Kill()
	if err := node.Wipe(); err != nil {
		return nil, err
	}
	gone := n.diskOf(node.Name) == ""
	return &active{
		detail: node.Name,
		proof: func() string {
			if !gone {
				return ""
			}
			return fmt.Sprintf("the others no longer knew %s with disk %.8s", node.Name, before)
		},
		end: node.Start,
	}, nil
}

// demote takes the vote of a node and gives it back.
func (n *Nemesis) demote() (*active, error) {
	node, err := n.sole()
	if err != nil {
		return nil, err
	}
	if err := n.ask(func(ctx context.Context, c *adminapi.Client) error {
		_, _, err := c.DemoteMember(ctx, &adminapi.DemoteMemberRequest{Node: node.Name})
		return err
	}, node.Name); err != nil {
		return nil, errNotNow
	}
	s, err := n.status(node)
	voted := err != nil || slices.ContainsFunc(s.Members, func(m adminapi.Member) bool { return m.Node == node.Name && m.Voter })
	return &active{
		detail: node.Name,
		proof: func() string {
			if voted {
				return ""
			}
			return node.Name + " had no vote"
		},
		end: func() error {
			_ = n.ask(func(ctx context.Context, c *adminapi.Client) error {
				_, _, err := c.PromoteMember(ctx, &adminapi.PromoteMemberRequest{Node: node.Name})
				return err
			}, "") // Mend does it, if it cannot be done now
			return nil
		},
	}, nil
}

// ask asks the nodes, but one, until one has done it.
func (n *Nemesis) ask(do func(context.Context, *adminapi.Client) error, but string) error {
	err := errNotNow
	for _, name := range n.others(but) {
		ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
		err = do(ctx, n.cluster.Node(name).Client())
		cancel()
		if err == nil {
			return nil
		}
	}
	return err
}
