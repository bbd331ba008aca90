package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/snapshot"
)

func newBackupCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "backup",
		GroupID: groupUse,
		Short:   "Take, check and delete the backups in the nodes' destination",
		Long: `Take, check and delete the backups in the destination that the nodes' configuration
names (backup.destination). The node that answers does the work; one at a time in the
cluster writes to the destination. When the command is interrupted, the work is given
up.`,
		Example: `  mcpraft backup test-destination
  mcpraft backup run
  mcpraft backup status
  mcpraft backup verify 20260512T140210Z-88120-5f3a90c1 --level drill
  mcpraft backup prune --dry-run`,
	}
	cmd.AddCommand(newBackupStatusCommand(a), newBackupRunCommand(a), newBackupListCommand(a), newBackupShowCommand(a), newBackupVerifyCommand(a),
		newBackupPruneCommand(a), newBackupHoldCommand(a), newBackupReleaseCommand(a), newBackupTestCommand(a))
	return cmd
}

func newBackupStatusCommand(a *app) *cobra.Command {
	var exit bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what would be lost now, what can be restored, and how that is known",
		Long: `Say what would be lost if every node were lost now, what can be restored, when a
backup was last taken, verified and drilled, and when the next one is due. With
--exit-code it ends with exit code 8 when there is no backup, none was verified, the
archive has gaps, or the destination cannot be looked at.`,
		Example: `  mcpraft backup status
  mcpraft backup status --exit-code -o json | jq -r .next_backup`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				s, err := c.BackupStatus(ctx)
				if err != nil {
					return err
				}
				if err := a.show(s, func(p *page) { drawBackupStatus(p, s) }); err != nil {
					return err
				}
				if exit && (s.PITR.Backup == "" || s.Verified == nil || s.PITR.Problem != "" || len(s.PITR.Gaps) > 0) {
					return exitDegraded
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&exit, "exit-code", false, "end with exit code 8 if anything is wrong")
	return cmd
}

// drawBackupStatus says it in words first.
func drawBackupStatus(p *page, s adminapi.BackupStatus) {
	drawSurvivors(p, s.PITR)
	p.line("")
	p.fields(
		[2]string{"destination", s.PITR.Destination},
		[2]string{"last backup", orNever(s.PITR.Backup != "", s.PITR.BackupAt+", "+s.PITR.Backup)},
		[2]string{"last verified", verifiedInWords(s.Verified)},
		[2]string{"last drill", verifiedInWords(s.Drilled)},
		[2]string{"next backup", orNever(s.NextBackup != "", s.NextBackup)},
		[2]string{"next verification", orNever(s.NextVerify != "", s.NextVerify)},
	)
}

func verifiedInWords(v *adminapi.BackupVerified) string {
	if v == nil {
		return "never"
	}
	return fmt.Sprintf("%s, %s, at level %s, took %s", v.At, v.ID, v.Level, time.Duration(v.TookMS)*time.Millisecond)
}

func orNever(ok bool, s string) string {
	if !ok {
		return "never"
	}
	return s
}

func newBackupRunCommand(a *app) *cobra.Command {
	var spec adminapi.BackupRunSpec
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Take a backup now",
		Long: `Take a backup now. It holds every write that was acknowledged before. It exists when
the command says so: everything has arrived in the destination, and was looked at.`,
		Example: `  mcpraft backup run
  mcpraft backup run --reason 'before the upgrade' -o json | jq -r .id`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				told := a.progress("backed up")
				b, err := c.RunBackup(ctx, spec, told.reach)
				told.end()
				if err != nil {
					return err
				}
				return a.show(b, func(p *page) {
					p.line("backup %s: index %d, %s stored", b.ID, b.Index, sizeOf(b.StoredBytes))
				})
			})
		},
	}
	cmd.Flags().StringVar(&spec.Reason, "reason", "", "`TEXT` that is kept with it")
	return cmd
}

func newBackupListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the backups, the oldest first",
		Example: `  mcpraft backup ls`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				list, err := c.Backups(ctx)
				if err != nil {
					return err
				}
				return a.show(list, func(p *page) {
					var rows [][]string
					for _, b := range list.Items {
						rows = append(rows, []string{
							b.ID, b.At, strconv.FormatUint(b.Index, 10), b.Timeline, sizeOf(b.StoredBytes), b.Cipher, checkedAs(b), mark(b.Hold != nil, "held"),
						})
					}
					p.table([]string{"ID", "STATE OF", "INDEX", "TIMELINE", "STORED", "ENCRYPTION", "CHECKED", "HOLD"}, rows)
				})
			})
		},
	}
}

// checkedAs is what is known of b, in a word or two.
func checkedAs(b adminapi.Backup) string {
	switch {
	case b.Damage != "":
		return "damaged"
	case b.Checked == nil:
		return "never"
	case b.Checked.Problem != "":
		return "damaged"
	}
	return b.Checked.Level
}

func newBackupShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show one backup, and which keys open it",
		Example: `  mcpraft backup show 20260512T140210Z-88120-5f3a90c1`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				b, err := c.Backup(ctx, args[0])
				if err != nil {
					return err
				}
				return a.showBackup(b)
			})
		},
	}
}

func (a *app) showBackup(b adminapi.Backup) error {
	return a.show(b, func(p *page) {
		checked, hold, keys := checkedAs(b), "none", strings.Join(b.Keys, " or ")
		if b.Checked != nil {
			checked += ", " + b.Checked.At
		}
		if b.Hold != nil {
			hold = fmt.Sprintf("by %s since %s: %s", b.Hold.By, b.Hold.Since, b.Hold.Reason)
		}
		if keys == "" {
			keys = "none is needed"
		}
		p.fields(
			[2]string{"id", b.ID},
			[2]string{"taken", b.Created + " by " + b.Creator},
			[2]string{"reason", b.Reason},
			[2]string{"state", fmt.Sprintf("index %d of timeline %s, written %s", b.Index, b.Timeline, b.At)},
			[2]string{"digest", b.Digest},
			[2]string{"size", fmt.Sprintf("%s, %s stored", sizeOf(b.Size), sizeOf(b.StoredBytes))},
			[2]string{"packed", "compression " + b.Compression + ", encryption " + b.Cipher},
			[2]string{"keys", keys},
			[2]string{"checked", checked},
			[2]string{"hold", hold},
		)
		if b.Damage != "" {
			p.line("%s", b.Damage)
		}
	})
}

func newBackupVerifyCommand(a *app) *cobra.Command {
	spec := adminapi.BackupCheckSpec{Level: string(snapshot.LevelDecode)}
	cmd := &cobra.Command{
		Use:   "verify ID",
		Short: "Check a backup, as far as restoring it",
		Long: `Check a backup; the result is kept with it. Damage ends with exit code 7 and names the
object. Each level includes those before it:

  files   every object is there and has its size
  decode  and every byte has its checksum, decrypts and decompresses
  drill   and it restores into a scratch directory of the node that does the work,
          whose digest is the one that the cluster had`,
		Example: `  mcpraft backup verify 20260512T140210Z-88120-5f3a90c1
  mcpraft backup verify 20260512T140210Z-88120-5f3a90c1 --level drill`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				told := a.progress("verified")
				check, err := c.VerifyBackup(ctx, args[0], spec, told.reach)
				told.end()
				if err != nil {
					return err
				}
				return a.show(check, func(p *page) { p.line("backup %s verifies at level %s", check.ID, check.Level) })
			})
		},
	}
	cmd.Flags().StringVar(&spec.Level, "level", spec.Level, "how much is checked: files, decode or drill")
	_ = cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions([]string{"files", "decode", "drill"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func newBackupPruneCommand(a *app) *cobra.Command {
	var spec adminapi.BackupPruneSpec
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Delete the backups that the retention does not keep",
		Long: `Delete the backups that the retention of the node's configuration does not keep
(backup.retention), what is left of backups that were never finished, and the archived
log that no point of the last pitr.retention needs. Held ones stay, and so do those
that such a point is restored from. --dry-run says for each whether it is kept, and why.`,
		Example: `  mcpraft backup prune --dry-run
  mcpraft backup prune`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				done, err := c.PruneBackups(ctx, spec)
				if err != nil {
					return err
				}
				return a.show(done, func(p *page) { drawPruning(p, done) })
			})
		},
	}
	cmd.Flags().BoolVar(&spec.DryRun, "dry-run", false, "say what would be deleted, and why the others stay")
	return cmd
}

func drawPruning(p *page, done adminapi.BackupPruning) {
	if !done.DryRun {
		p.line("deleted %d of %d backups, and %d segments of the log (%s)", len(done.Deleted), len(done.Verdicts)+len(done.Leftovers), done.Segments, sizeOf(done.SegmentBytes))
		return
	}
	var rows [][]string
	for _, v := range done.Verdicts {
		verdict := "keep"
		if len(v.Keep) == 0 {
			verdict = "delete"
		}
		rows = append(rows, []string{v.ID, verdict, strings.Join(v.Keep, "; ")})
	}
	for _, id := range done.Leftovers {
		rows = append(rows, []string{id, "delete", "it was never finished"})
	}
	p.table([]string{"ID", "VERDICT", "WHY"}, rows)
	p.line("segments of the log to delete: %d (%s)", done.Segments, sizeOf(done.SegmentBytes))
}

func newBackupHoldCommand(a *app) *cobra.Command {
	var spec adminapi.BackupHoldSpec
	cmd := &cobra.Command{
		Use:     "hold ID",
		Short:   "Keep a backup, whatever the retention says",
		Example: `  mcpraft backup hold 20260512T140210Z-88120-5f3a90c1 --reason audit`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				b, err := c.HoldBackup(ctx, args[0], spec)
				if err != nil {
					return err
				}
				return a.show(b, func(p *page) { p.line("backup %s is kept until it is released", b.ID) })
			})
		},
	}
	cmd.Flags().StringVar(&spec.Reason, "reason", "", "`TEXT` that is kept with the hold")
	return cmd
}

func newBackupReleaseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "release ID",
		Short:   "Leave a backup to the retention again",
		Example: `  mcpraft backup release 20260512T140210Z-88120-5f3a90c1`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				b, err := c.ReleaseBackup(ctx, args[0])
				if err != nil {
					return err
				}
				return a.show(b, func(p *page) { p.line("backup %s is left to the retention", b.ID) })
			})
		},
	}
}

func newBackupTestCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "test-destination",
		Short: "Try everything that a destination must be able to do",
		Long: `Try everything that a destination must be able to do, from the node that answers: put,
get, range, list, multipart, conditional put, delete. One that
cannot be used ends with exit code 4, and every permission that is missing is named.`,
		Example: `  mcpraft backup test-destination`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				probe, err := c.TestDestination(ctx)
				if err != nil {
					return err
				}
				err = a.show(probe, func(p *page) {
					var rows [][]string
					for _, s := range probe.Steps {
						result := "ok"
						if s.Problem != "" {
							result = s.Problem
						}
						rows = append(rows, []string{s.Name, s.Permission, result})
					}
					p.table([]string{"STEP", "NEEDS", "RESULT"}, rows)
				})
				if err == nil && probe.Problem != "" {
					err = fault.New(fault.Forbidden, "%s", probe.Problem).WithHint("%s", probe.Hint)
				}
				return err
			})
		},
	}
}
