package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

func newClusterCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cluster",
		GroupID: groupUse,
		Short:   "The nodes of the cluster and who leads",
		Example: `  mcpraft cluster members
  mcpraft cluster add node-4 10.0.0.4:7442
  mcpraft cluster leader transfer --to node-2`,
	}
	cmd.AddCommand(newMembersCommand(a), newMemberAddCommand(a), newMemberPromoteCommand(a),
		newMemberDemoteCommand(a), newMemberRemoveCommand(a), newLeaderCommand(a), newClusterInitCommand(a), newCertCommand(a))
	return cmd
}

func newMembersCommand(a *app) *cobra.Command {
	var read readFlags
	cmd := &cobra.Command{
		Use:   "members",
		Short: "List the members: their votes and addresses",
		Example: `  mcpraft cluster members
  mcpraft cluster members -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := read.options(cmd)
			if err != nil {
				return err
			}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				list, _, err := c.Members(ctx, &adminapi.MembersRequest{ReadOptions: options})
				if err != nil {
					return err
				}
				return a.show(list, func(p *page) {
					var rows [][]string
					for _, m := range list.Items {
						rows = append(rows, []string{m.Node, mark(m.Leader, "leader"), yesNo(m.Voter), m.PeerAddr, m.AdminAddr, m.MCPAddr, shortID(m.Disk), m.Binary, ago(m.Started)})
					}
					p.table([]string{"NODE", "LEADER", "VOTER", "PEER", "ADMIN", "MCP", "DISK", "VERSION", "UP"}, rows)
				})
			})
		},
	}
	read.add(cmd)
	return cmd
}

// shortID is the beginning of an id of 32 digits, for tables.
func shortID(id string) string { return id[:min(8, len(id))] }

// completeMembers offers the names of the members to the shell; it says nothing
// when the cluster does not answer soon.
func (a *app) completeMembers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if len(args) == 0 {
		a.flags.timeout = completionTimeout
		_ = a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
			list, _, err := c.Members(ctx, &adminapi.MembersRequest{})
			for _, m := range list.Items {
				names = append(names, m.Node)
			}
			return err
		})
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// A memberCall changes one member.
type memberCall func(context.Context, *adminapi.Client) (adminapi.MemberChange, adminapi.Info, error)

// changeMember makes the change and says "done NODE".
func (a *app) changeMember(cmd *cobra.Command, node, done string, call memberCall) error {
	return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
		if _, _, err := call(ctx, c); err != nil {
			return err
		}
		return a.show(adminapi.MemberChange{Node: node}, func(p *page) { p.line("%s %s", done, node) })
	})
}

func newMemberAddCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "add NODE PEER_ADDR",
		Short: "Let a running node join",
		Long: `Let a node join that runs and waits: as a member without a vote first, promoted by
itself when it has caught up and been stable for 10 s. A node whose configuration
names the others under cluster.join needs no command.`,
		Example: `  mcpraft cluster add node-4 10.0.0.4:7442`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := &adminapi.AddMemberRequest{Node: args[0], MemberSpec: adminapi.MemberSpec{PeerAddr: args[1]}}
			return a.changeMember(cmd, args[0], "joined, without a vote until it has caught up:",
				func(ctx context.Context, c *adminapi.Client) (adminapi.MemberChange, adminapi.Info, error) {
					return c.AddMember(ctx, r)
				})
		},
	}
}

func newMemberPromoteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "promote NODE",
		Short: "Give a member a vote now",
		Long: `Give a member a vote without waiting until it has caught up. Until it has, the
cluster may be unable to commit anything when another voter fails.`,
		Example:           `  mcpraft cluster promote node-4`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeMember(cmd, args[0], "promoted",
				func(ctx context.Context, c *adminapi.Client) (adminapi.MemberChange, adminapi.Info, error) {
					return c.PromoteMember(ctx, &adminapi.PromoteMemberRequest{Node: args[0]})
				})
		},
	}
}

func newMemberDemoteCommand(a *app) *cobra.Command {
	var guard quorumGuard
	cmd := &cobra.Command{
		Use:               "demote NODE",
		Short:             "Take a member's vote; it keeps its data and serves on",
		Example:           `  mcpraft cluster demote node-4`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if done, err := guard.check(a, cmd, args[0], "take the vote of "+args[0]); done || err != nil {
				return err
			}
			return a.changeMember(cmd, args[0], "demoted",
				func(ctx context.Context, c *adminapi.Client) (adminapi.MemberChange, adminapi.Info, error) {
					return c.DemoteMember(ctx, &adminapi.DemoteMemberRequest{Node: args[0]})
				})
		},
	}
	guard.add(cmd)
	return cmd
}

func newMemberRemoveCommand(a *app) *cobra.Command {
	var guard quorumGuard
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Remove a member for good",
		Long: `Remove a member. It comes back only with an empty data directory, as a new member.
A removal after which the voters that are ready would be no majority is refused.`,
		Example:           `  mcpraft cluster remove node-3`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if done, err := guard.check(a, cmd, args[0], "remove "+args[0]); done || err != nil {
				return err
			}
			return a.changeMember(cmd, args[0], "removed",
				func(ctx context.Context, c *adminapi.Client) (adminapi.MemberChange, adminapi.Info, error) {
					return c.RemoveMember(ctx, &adminapi.RemoveMemberRequest{Node: args[0]})
				})
		},
	}
	guard.add(cmd)
	return cmd
}

// A quorumGuard stands before what takes a vote away.
type quorumGuard struct {
	unsafeLoss bool // go on without a majority
	yes        bool // and do not ask
	dryRun     bool // only say what would happen
}

func (g *quorumGuard) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&g.unsafeLoss, "unsafe-allow-quorum-loss", false, "do it even if the cluster can then commit nothing until more voters are back")
	f.BoolVar(&g.yes, "yes", false, "do not ask before the quorum is lost")
	f.BoolVar(&g.dryRun, "dry-run", false, "say what would happen, and change nothing")
}

// check refuses what would leave the cluster without a majority of ready voters,
// unless that is asked for and confirmed with the name of the cluster. It is done
// when nothing else shall happen.
func (g *quorumGuard) check(a *app, cmd *cobra.Command, node, what string) (done bool, err error) {
	view, err := a.clusterStatus(cmd)
	if err != nil {
		return false, err
	}
	refusal := view.quorumWithout(node)
	if refusal != nil && (!g.unsafeLoss || !view.has(node)) {
		return false, refusal
	}
	if g.dryRun {
		plan := struct {
			adminapi.MemberChange
			DryRun     bool `json:"dry_run"`
			QuorumLoss bool `json:"quorum_loss"`
		}{adminapi.MemberChange{Node: node}, true, refusal != nil}
		return true, a.show(plan, func(p *page) {
			p.line("would %s; %s", what, map[bool]string{true: "the quorum would be lost", false: "a majority of ready voters stays"}[refusal != nil])
		})
	}
	if refusal == nil {
		return false, nil
	}
	return false, a.confirm(what+" although the rest may have no majority", view.Cluster, g.yes)
}

func newClusterInitCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Begin a cluster on one node",
		Long: `Have the node at --addr begin a cluster alone; others then join it, by cluster.join
in their configuration or by mcpraft cluster add. It is for a node that waits and has
no cluster.bootstrap_expect. A node that belongs to a cluster or finds one refuses.`,
		Example: `  mcpraft cluster init --addr 10.0.0.1:7441`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				formed, _, err := c.InitCluster(ctx, &adminapi.InitClusterRequest{})
				if err != nil {
					return err
				}
				return a.show(formed, func(p *page) {
					p.line("formed cluster %s (%s) of %s, which leads it", formed.Name, shortID(formed.ID), formed.Node)
				})
			})
		},
	}
}

func newLeaderCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "leader",
		Short: "Who leads, and hand leadership over",
		Example: `  mcpraft cluster leader show
  mcpraft cluster leader transfer`,
	}
	cmd.AddCommand(newLeaderShowCommand(a), newLeaderTransferCommand(a))
	return cmd
}

func newLeaderShowCommand(a *app) *cobra.Command {
	var read readFlags
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show who leads",
		Example: `  mcpraft cluster leader show -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := read.options(cmd)
			if err != nil {
				return err
			}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				leader, _, err := c.Leader(ctx, &adminapi.LeaderRequest{ReadOptions: options})
				if err != nil {
					return err
				}
				return a.show(leader, func(p *page) { p.line("%s", leaderLine(leader)) })
			})
		},
	}
	read.add(cmd)
	return cmd
}

func newLeaderTransferCommand(a *app) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "transfer",
		Short: "Hand leadership to another voter",
		Long: `Hand leadership to another voter, by default to the one that is most up to date.
Writes wait for the moment that it takes, well below a second.`,
		Example: `  mcpraft cluster leader transfer
  mcpraft cluster leader transfer --to node-2`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				r := &adminapi.TransferLeaderRequest{TransferSpec: adminapi.TransferSpec{To: to}}
				leader, _, err := c.TransferLeader(ctx, r)
				if err != nil {
					return err
				}
				return a.show(leader, func(p *page) { p.line("%s", leaderLine(leader)) })
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "`NODE` that should lead")
	_ = cmd.RegisterFlagCompletionFunc("to", a.completeMembers)
	return cmd
}

func leaderLine(l adminapi.Leader) string {
	if l.Node == "" {
		return "no leader is known"
	}
	line := l.Node + " leads"
	if l.Term != 0 {
		line += " in term " + numberIf(l.Term)
	}
	if l.AdminAddr != "" {
		line += ", admin API at " + l.AdminAddr
	}
	return line
}
