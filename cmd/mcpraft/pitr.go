package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

func newPITRCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "pitr",
		GroupID: groupUse,
		Short:   "Archive of the log: look at it, and go back to any point in time",
		Long: `Look at the archive of the log, from which any point in time is restored. The leader
carries every change into the destination of backups, in segments that follow each
other (pitr.enabled in the nodes' configuration); a point is restored from a backup
before it and the segments between.`,
		Example: `  mcpraft pitr status
  mcpraft pitr label before-upgrade
  mcpraft pitr timeline --since 2h
  mcpraft pitr verify`,
	}
	cmd.AddCommand(newPITRStatusCommand(a), newPITRTimelineCommand(a), newPITRGapsCommand(a), newPITRVerifyCommand(a),
		newPITRFlushCommand(a), newPITRLabelCommand(a), newPITRLabelsCommand(a), newPITRRestoreCommand(a))
	return cmd
}

func newPITRStatusCommand(a *app) *cobra.Command {
	var exit bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what would be lost now, and what can be restored",
		Long: `Say what would be lost if every node were lost now, and which points can be restored.
With --exit-code it ends with exit code 8 when the archive has gaps, cannot be looked
at, or is off.`,
		Example: `  mcpraft pitr status
  mcpraft pitr status --exit-code -o json | jq .lag_seconds`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				s, err := c.PITR(ctx)
				if err != nil {
					return err
				}
				if err := a.show(s, func(p *page) { drawPITR(p, s) }); err != nil {
					return err
				}
				if exit && (!s.Enabled || s.Problem != "" || len(s.Gaps) > 0) {
					return exitDegraded
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&exit, "exit-code", false, "end with exit code 8 if anything is wrong")
	return cmd
}

// drawPITR says it in words first.
func drawPITR(p *page, s adminapi.PITR) {
	if !s.Enabled {
		p.line("The node that was asked does not archive the log: pitr.enabled is false in its configuration.")
	}
	drawSurvivors(p, s)
	p.line("")
	p.fields(
		[2]string{"destination", s.Destination},
		[2]string{"archived", orDash(s.ArchivedIndex > 0, fmt.Sprintf("index %d, segment %d, last at %s", s.ArchivedIndex, s.Segment, s.LastSuccess))},
		[2]string{"waiting", fmt.Sprintf("%d entries; the log takes %s of the %s that may wait", s.LagEntries, sizeOf(s.LogBytes), sizeOf(s.LogMaxBytes))},
		[2]string{"newest backup", orDash(s.Backup != "", s.Backup+", "+s.BackupAt)},
		[2]string{"timeline", s.Timeline},
	)
}

// drawSurvivors says what would be lost now, and what can be restored.
func drawSurvivors(p *page, s adminapi.PITR) {
	p.line("%s", lossOf(s))
	switch {
	case s.Problem != "":
		p.line("What can be restored is unknown: %s", s.Problem)
	case len(s.Restorable) == 0:
		p.line("Nothing can be restored yet: there is no backup.")
	}
	for _, r := range s.Restorable {
		if r.First == r.Last {
			p.line("Restorable: %s (index %d), on timeline %s.", r.From, r.First, r.Timeline)
			continue
		}
		p.line("Restorable: every point from %s (index %d) to %s (index %d), on timeline %s.", r.From, r.First, r.Until, r.Last, r.Timeline)
	}
	if s.Problem == "" {
		p.line("%s", gapsInWords(len(s.Gaps)))
	}
}

// lossOf is what would be lost now.
func lossOf(s adminapi.PITR) string {
	switch {
	case s.ArchivedIndex == 0 && s.Backup == "":
		return "If every node were lost now, everything would be."
	case s.ArchivedIndex == 0:
		return "If every node were lost now, every change since the newest backup would be."
	case s.LagSeconds == 0:
		return "If every node were lost now, no change would be."
	}
	lag := time.Duration(math.Ceil(s.LagSeconds)) * time.Second
	return fmt.Sprintf("If every node were lost now, the changes of the last %s would be.", lag)
}

func gapsInWords(n int) string {
	switch n {
	case 0:
		return "No gaps."
	case 1:
		return "1 gap: mcpraft pitr gaps."
	}
	return fmt.Sprintf("%d gaps: mcpraft pitr gaps.", n)
}

func orDash(ok bool, s string) string {
	if !ok {
		return "-"
	}
	return s
}

func newPITRTimelineCommand(a *app) *cobra.Command {
	var since time.Duration
	cmd := &cobra.Command{
		Use:   "timeline",
		Short: "List points to go back to",
		Long: `List points to go back to: backups, labels, gaps, the newest point that can be
restored (tip), and a point of the log every pitr.point_interval. Every point between
two that have no gap between them can be restored, too.`,
		Example: `  mcpraft pitr timeline
  mcpraft pitr timeline --since 168h -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				list, err := c.PITRTimeline(ctx, adminapi.PITRTimelineSpec{Since: adminapi.DurationOf(since)})
				if err != nil {
					return err
				}
				return a.show(list, func(p *page) {
					var rows [][]string
					for _, x := range list.Items {
						index := strconv.FormatUint(x.Index, 10)
						if x.Last > x.Index {
							index += "-" + strconv.FormatUint(x.Last, 10)
						}
						rows = append(rows, []string{x.At, index, x.Kind, x.Name, x.Timeline})
					}
					p.table([]string{"TIME", "INDEX", "WHAT", "NAME", "TIMELINE"}, rows)
				})
			})
		},
	}
	cmd.Flags().DurationVar(&since, "since", 24*time.Hour, "how far back")
	return cmd
}

func newPITRGapsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "gaps",
		Short: "List what cannot be restored although it lies between what can",
		Long: `List what cannot be restored although it lies between what can, and why: entries that
were lost before they could be archived (recorded), segments that are missing
(missing, tip), or that have no backup to start from (no_backup). It ends with exit
code 8 if there are any.`,
		Example: `  mcpraft pitr gaps`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				list, err := c.PITRGaps(ctx)
				if err != nil {
					return err
				}
				if err := a.show(list, func(p *page) { drawGaps(p, list.Items) }); err != nil {
					return err
				}
				if len(list.Items) > 0 {
					return exitDegraded
				}
				return nil
			})
		},
	}
}

func drawGaps(p *page, gaps []adminapi.PITRGap) {
	if len(gaps) == 0 {
		p.line("no gaps")
		return
	}
	var rows [][]string
	for _, g := range gaps {
		rows = append(rows, []string{g.Timeline, g.Reason, g.Text})
	}
	p.table([]string{"TIMELINE", "WHY", "WHAT"}, rows)
}

func newPITRVerifyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Read the whole archive and check every byte",
		Long: `Read the whole archive: every segment is there, decrypts, decompresses, has its
checksums and follows the one before it. Damage, and segments that are missing, end
with exit code 7 and are named, with what they cost.`,
		Example: `  mcpraft pitr verify`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				told := a.progress("verified")
				v, err := c.VerifyPITR(ctx, told.reach)
				told.end()
				if err != nil {
					return err
				}
				if err := a.show(v, func(p *page) { drawVerification(p, v) }); err != nil {
					return err
				}
				return verdictOf(v)
			})
		},
	}
}

func drawVerification(p *page, v adminapi.PITRVerification) {
	p.line("%d segments with %d entries verify (%s)", v.Segments, v.Entries, sizeOf(v.Bytes))
	for _, d := range v.Damage {
		p.line("%s", d.Object)
		p.line("  %s", d.Problem)
	}
	if len(v.Gaps) > 0 {
		drawGaps(p, v.Gaps)
	}
}

// verdictOf is the error that a verification ends with, or nil. Gaps that were
// recorded are known; they are not damage.
func verdictOf(v adminapi.PITRVerification) error {
	if len(v.Damage) > 0 {
		return fault.New(fault.Integrity, "%d segments are damaged", len(v.Damage)).WithHint("%s", v.Damage[0].Hint)
	}
	for _, g := range v.Gaps {
		if g.Reason == "missing" || g.Reason == "tip" {
			return fault.New(fault.Integrity, "segments are missing: %s", g.Text).
				WithHint("what comes after can be restored from a later backup: `mcpraft backup run` takes one")
		}
	}
	return nil
}

func newPITRFlushCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "flush",
		Short: "Archive now what was written so far",
		Long: `Archive now what was written so far, and return when it is in the destination and was
read back. Without it a change is archived within pitr.wal_archive.flush.`,
		Example: `  mcpraft pitr flush`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				s, err := c.FlushPITR(ctx)
				if err != nil {
					return err
				}
				return a.show(s, func(p *page) { p.line("archived up to index %d", s.ArchivedIndex) })
			})
		},
	}
}

func newPITRLabelCommand(a *app) *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use:   "label NAME",
		Short: "Give this point in time a name to go back to",
		Long: `Give this point in time a name to go back to: letters, digits, -, _ and ., at most 64.
A name is used once. It leads to everything that was acknowledged before.`,
		Example: `  mcpraft pitr label before-upgrade-1.4
  mcpraft pitr label before-upgrade-1.4 --remove`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				if remove {
					l, err := c.RemovePITRLabel(ctx, args[0])
					if err != nil {
						return err
					}
					return a.show(l, func(p *page) { p.line("%s is forgotten; index %d stays restorable by number", l.Name, l.Index) })
				}
				l, err := c.LabelPITR(ctx, adminapi.PITRLabelSpec{Name: args[0]})
				if err != nil {
					return err
				}
				return a.show(l, func(p *page) { p.line("%s is index %d of timeline %s, %s", l.Name, l.Index, l.Timeline, l.At) })
			})
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "forget the name; the point stays")
	return cmd
}

func newPITRLabelsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "labels",
		Short:   "List the names of points",
		Example: `  mcpraft pitr labels`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				list, err := c.PITRLabels(ctx)
				if err != nil {
					return err
				}
				return a.show(list, func(p *page) {
					var rows [][]string
					for _, l := range list.Items {
						rows = append(rows, []string{l.Name, l.At, strconv.FormatUint(l.Index, 10), l.Timeline, yesNo(l.Archived), l.By})
					}
					p.table([]string{"NAME", "TIME", "INDEX", "TIMELINE", "ARCHIVED", "BY"}, rows)
				})
			})
		},
	}
}
