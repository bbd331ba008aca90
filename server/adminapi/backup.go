package adminapi

import (
	"context"
	"net/http"
	"net/url"
)

// Paths of the routes for backups; all are answered with WorkType.
const (
	BackupsPath      = "/v1/backups"
	BackupPath       = "/v1/backups/{id}"
	BackupCheckPath  = "/v1/backups/{id}/verify"
	BackupHoldPath   = "/v1/backups/{id}/hold"
	BackupStatusPath = "/v1/backup/status"
	BackupPrunePath  = "/v1/backup/prune"
	BackupProbePath  = "/v1/backup/test-destination"
)

// A Backup is one backup in the destination of the node that was asked.
type Backup struct {
	ID          string       `json:"id"`
	Created     string       `json:"created"` // RFC 3339, by the clock of the node that took it
	Creator     string       `json:"creator,omitempty"`
	Reason      string       `json:"reason,omitempty"`
	Timeline    string       `json:"timeline,omitempty"`
	Index       uint64       `json:"index"`
	At          string       `json:"at,omitempty"` // log time of its newest write, RFC 3339
	Digest      string       `json:"digest,omitempty"`
	Size        int64        `json:"size"`         // of the state, in bytes
	StoredBytes int64        `json:"stored_bytes"` // in the destination
	Cipher      string       `json:"cipher,omitempty"`
	Compression string       `json:"compression,omitempty"`
	Keys        []string     `json:"keys,omitempty"`    // any one of them opens it
	Hold        *BackupHold  `json:"hold,omitempty"`    // absent: none
	Checked     *BackupCheck `json:"checked,omitempty"` // the newest check; absent: never
	Damage      string       `json:"damage,omitempty"`  // its manifest does not verify; then little else is known
}

// A BackupHold keeps a backup whatever the retention says.
type BackupHold struct {
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
	Since  string `json:"since,omitempty"`
}

// A BackupCheck is the result of a verification.
type BackupCheck struct {
	ID      string `json:"id,omitempty"`
	Level   string `json:"level"` // files, decode or drill
	At      string `json:"at"`
	TookMS  int64  `json:"took_ms"`
	Bytes   int64  `json:"bytes"`             // of the state that were read
	Problem string `json:"problem,omitempty"` // absent: it passed
}

// A BackupStatus says what would survive if every node were lost now, and how that is
// known.
type BackupStatus struct {
	PITR       PITR            `json:"pitr"`
	Verified   *BackupVerified `json:"verified,omitempty"`    // the newest verification that passed; absent: none of this timeline
	Drilled    *BackupVerified `json:"drilled,omitempty"`     // the newest drill that passed
	NextBackup string          `json:"next_backup,omitempty"` // RFC 3339, in the zone of the schedule; empty: none is scheduled on the node that was asked
	NextVerify string          `json:"next_verify,omitempty"`
}

// A BackupVerified is a verification that passed.
type BackupVerified struct {
	ID     string `json:"id"`    // of the backup
	Level  string `json:"level"` // files, decode or drill
	At     string `json:"at"`
	TookMS uint64 `json:"took_ms"`
}

// A BackupPruning is what was deleted, or would be.
type BackupPruning struct {
	DryRun    bool            `json:"dry_run"`
	Verdicts  []BackupVerdict `json:"verdicts"`  // of all backups, the oldest first
	Leftovers []string        `json:"leftovers"` // ids of backups that were never finished
	Deleted   []string        `json:"deleted"`

	Segments     int   `json:"segments"`      // of the archived log that no promised point needs
	SegmentBytes int64 `json:"segment_bytes"` // of them
	Labels       int   `json:"labels"`        // of points that cannot be restored any more
}

// A BackupVerdict says whether a backup is kept, and why.
type BackupVerdict struct {
	ID   string   `json:"id"`
	Keep []string `json:"keep"` // reasons; empty: it goes
}

// A BackupStep is one thing that a destination must be able to do.
type BackupStep struct {
	Name       string `json:"name"`
	Permission string `json:"permission"` // that it needs, in the words of S3
	Problem    string `json:"problem,omitempty"`
}

// A BackupProbe is what was tried with a destination. Problem is absent if it can
// be used.
type BackupProbe struct {
	Steps   []BackupStep `json:"steps"`
	Problem string       `json:"problem,omitempty"`
	Hint    string       `json:"hint,omitempty"`
}

// Arguments of the routes that have some.
type (
	BackupRunSpec struct {
		Reason string `json:"reason,omitempty"`
	} // for people; at most 256 bytes
	BackupCheckSpec struct {
		Level string `json:"level,omitempty"`
	} // files, decode or drill; empty: decode
	BackupPruneSpec struct {
		DryRun bool `json:"dry_run,omitempty"`
	}
	BackupHoldSpec struct {
		Reason string `json:"reason,omitempty"`
	} // at most 256 bytes
)

func backupPath(id, rest string) string { return BackupsPath + "/" + url.PathEscape(id) + rest }

// RunBackup takes a backup on the node that answers.
func (c *Client) RunBackup(ctx context.Context, s BackupRunSpec, told Progress) (Backup, error) {
	return work[Backup](ctx, c, http.MethodPost, BackupsPath, s, told)
}

// Backups lists them, the oldest first.
func (c *Client) Backups(ctx context.Context) (Page[Backup], error) {
	return work[Page[Backup]](ctx, c, http.MethodGet, BackupsPath, nil, nil)
}

// BackupStatus says what would survive if every node were lost now.
func (c *Client) BackupStatus(ctx context.Context) (BackupStatus, error) {
	return work[BackupStatus](ctx, c, http.MethodGet, BackupStatusPath, nil, nil)
}

// Backup shows one.
func (c *Client) Backup(ctx context.Context, id string) (Backup, error) {
	return work[Backup](ctx, c, http.MethodGet, backupPath(id, ""), nil, nil)
}

// VerifyBackup checks one; damage is an error of kind Integrity.
func (c *Client) VerifyBackup(ctx context.Context, id string, s BackupCheckSpec, told Progress) (BackupCheck, error) {
	return work[BackupCheck](ctx, c, http.MethodPost, backupPath(id, "/verify"), s, told)
}

// PruneBackups deletes what the node's retention does not keep.
func (c *Client) PruneBackups(ctx context.Context, s BackupPruneSpec) (BackupPruning, error) {
	return work[BackupPruning](ctx, c, http.MethodPost, BackupPrunePath, s, nil)
}

// HoldBackup keeps one until ReleaseBackup.
func (c *Client) HoldBackup(ctx context.Context, id string, s BackupHoldSpec) (Backup, error) {
	return work[Backup](ctx, c, http.MethodPut, backupPath(id, "/hold"), s, nil)
}

// ReleaseBackup ends a hold; that there is none is no error.
func (c *Client) ReleaseBackup(ctx context.Context, id string) (Backup, error) {
	return work[Backup](ctx, c, http.MethodDelete, backupPath(id, "/hold"), nil, nil)
}

// TestDestination tries what the node's destination must be able to do.
func (c *Client) TestDestination(ctx context.Context) (BackupProbe, error) {
	return work[BackupProbe](ctx, c, http.MethodPost, BackupProbePath, nil, nil)
}
