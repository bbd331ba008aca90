package config

import "github.com/mcpraft/mcpraft/server/archive"

// PITR is how the log is archived, for point-in-time recovery.
type PITR struct {
	Enabled       bool       `yaml:"enabled" help:"Archive every change into the destination of backups. Needs backup.destination; the same on every node."`
	WALArchive    WALArchive `yaml:"wal_archive" help:"How the log is archived. Compression and encryption are those of backups."`
	Retention     Duration   `yaml:"retention" min:"1h" max:"3650d" help:"Points that young stay restorable: mcpraft backup prune keeps what they need."`
	PointInterval Duration   `yaml:"point_interval" min:"1m" max:"1d" help:"Time between the points that mcpraft pitr timeline shows. Every point in between is restorable, too."`
}

// WALArchive is when segments of the log are cut, and what happens when they cannot
// be stored.
type WALArchive struct {
	Segment     Size     `yaml:"segment" min:"64KiB" max:"64MiB" help:"A segment is cut when it holds so many bytes of entries."`
	Flush       Duration `yaml:"flush" min:"1s" max:"1h" help:"Or when its oldest change is that old: about what is lost at most if every node is."`
	SpoolMax    Size     `yaml:"spool_max" min:"64MiB" max:"1TiB" help:"How large this node's log may become while the destination takes nothing. Keep so much of its disk free."`
	OnSpoolFull string   `yaml:"on_spool_full" enum:"drop_and_rebase,alarm" help:"drop_and_rebase: the log is cut, the archive has a gap, and a backup is taken as soon as the destination is back. alarm: the log grows until the disk is full."`
}

func defaultPITR() PITR {
	return PITR{
		WALArchive: WALArchive{
			Segment: archive.DefaultSegmentBytes, Flush: Duration(archive.DefaultFlush),
			SpoolMax: archive.DefaultSpoolBytes, OnSpoolFull: "drop_and_rebase",
		},
		Retention:     Duration(archive.DefaultRetention),
		PointInterval: Duration(archive.DefaultPointInterval),
	}
}

func (l *loader) checkPITR() {
	if l.config.PITR.Enabled && l.config.Backup.Destination.Type == "none" {
		l.missing("backup.destination.type", "pitr.enabled", "local or s3: the archive lies beside the backups", "pitr.enabled is true")
	}
}

// Options are p as the archiver takes it.
func (p PITR) Options() archive.PITR {
	return archive.PITR{
		Enabled: p.Enabled, SegmentBytes: p.WALArchive.Segment.Bytes(), Flush: p.WALArchive.Flush.Std(),
		SpoolBytes: p.WALArchive.SpoolMax.Bytes(), KeepSpool: p.WALArchive.OnSpoolFull == "alarm",
		Retention: p.Retention.Std(), PointInterval: p.PointInterval.Std(),
	}
}
