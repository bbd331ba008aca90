package adminapi

import (
	"context"
	"net/http"
	"net/url"
)

// Paths of the routes for point-in-time recovery; all are answered with WorkType.
const (
	PITRPath         = "/v1/pitr"
	PITRTimelinePath = "/v1/pitr/timeline"
	PITRGapsPath     = "/v1/pitr/gaps"
	PITRVerifyPath   = "/v1/pitr/verify"
	PITRFlushPath    = "/v1/pitr/flush"
	PITRLabelsPath   = "/v1/pitr/labels"
	PITRLabelPath    = "/v1/pitr/labels/{name}"
)

// A PITR says what of the cluster's history would survive if every node were lost now.
type PITR struct {
	Enabled     bool   `json:"enabled"` // on the node that was asked
	Destination string `json:"destination"`
	Problem     string `json:"problem,omitempty"` // the destination could not be looked at; then restorable and gaps are unknown
	Timeline    string `json:"timeline"`

	ArchivedIndex uint64  `json:"archived_index"`         // 0: nothing yet
	ArchivedAt    string  `json:"archived_at,omitempty"`  // log time of the newest entry that is archived
	LastSuccess   string  `json:"last_success,omitempty"` // when the newest segment was taken up
	Segment       uint64  `json:"segment"`                // its number
	LagEntries    uint64  `json:"lag_entries"`            // applied and not archived, the cluster's own upkeep included
	LagSeconds    float64 `json:"lag_seconds"`            // age of the oldest change that would be lost; 0: none would
	LogBytes      int64   `json:"log_bytes"`              // that the log takes on the node that was asked
	LogMaxBytes   int64   `json:"log_max_bytes"`          // that it may take before entries are cut off that are not archived
	Backup        string  `json:"backup,omitempty"`       // id of the newest of this timeline
	BackupAt      string  `json:"backup_at,omitempty"`

	Restorable []PITRStretch `json:"restorable"`
	Gaps       []PITRGap     `json:"gaps"`
}

// A PITRStretch is a part of a timeline every point of which can be restored.
type PITRStretch struct {
	Timeline string `json:"timeline"`
	First    uint64 `json:"first"` // indexes, both included
	Last     uint64 `json:"last"`
	From     string `json:"from"`
	Until    string `json:"until"` // the last point is at least so new
}

// A PITRGap is a part of a timeline that cannot be restored.
type PITRGap struct {
	Timeline string `json:"timeline"`
	First    uint64 `json:"first"` // indexes, both included; first above last: only the link is broken
	Last     uint64 `json:"last"`
	Reason   string `json:"reason"` // recorded, missing, tip or no_backup
	Text     string `json:"text"`
}

// A PITRPoint is something on a timeline.
type PITRPoint struct {
	At       string `json:"at,omitempty"`
	Timeline string `json:"timeline"`
	Index    uint64 `json:"index"`
	Kind     string `json:"kind"` // backup, label, gap, log or tip
	Name     string `json:"name,omitempty"`
	Last     uint64 `json:"last,omitempty"` // of a gap
}

// A PITRVerification is what reading the whole archive has found.
type PITRVerification struct {
	Segments int          `json:"segments"`
	Entries  uint64       `json:"entries"`
	Bytes    int64        `json:"bytes"`
	Damage   []PITRDamage `json:"damage"`
	Gaps     []PITRGap    `json:"gaps"`
}

// A PITRDamage is an object that is not what it should be.
type PITRDamage struct {
	Object  string `json:"object"`
	Problem string `json:"problem"`
	Hint    string `json:"hint,omitempty"`
}

// A PITRLabel is a point with a name.
type PITRLabel struct {
	Name     string `json:"name"`
	Timeline string `json:"timeline"`
	Index    uint64 `json:"index"`
	At       string `json:"at"`
	By       string `json:"by,omitempty"`
	Archived bool   `json:"archived"` // the log is archived up to it
}

// PITRTimelineSpec says what of the timelines to list.
type PITRTimelineSpec struct {
	Since Duration `json:"since,omitempty"` // how far back; 0: a day
}

// PITRLabelSpec names a point.
type PITRLabelSpec struct {
	Name string `json:"name"`
}

// PITR looks at the archive of the log.
func (c *Client) PITR(ctx context.Context) (PITR, error) {
	return work[PITR](ctx, c, http.MethodGet, PITRPath, nil, nil)
}

// PITRTimeline lists points to go back to, in their order.
func (c *Client) PITRTimeline(ctx context.Context, s PITRTimelineSpec) (Page[PITRPoint], error) {
	return work[Page[PITRPoint]](ctx, c, http.MethodPost, PITRTimelinePath, s, nil)
}

// PITRGaps lists what cannot be restored.
func (c *Client) PITRGaps(ctx context.Context) (Page[PITRGap], error) {
	return work[Page[PITRGap]](ctx, c, http.MethodGet, PITRGapsPath, nil, nil)
}

// VerifyPITR reads the whole archive. Damage is in the answer.
func (c *Client) VerifyPITR(ctx context.Context, told Progress) (PITRVerification, error) {
	return work[PITRVerification](ctx, c, http.MethodPost, PITRVerifyPath, nil, told)
}

// FlushPITR returns when everything that was acknowledged before is archived.
func (c *Client) FlushPITR(ctx context.Context) (PITR, error) {
	return work[PITR](ctx, c, http.MethodPost, PITRFlushPath, nil, nil)
}

// LabelPITR gives this point of the log a name.
func (c *Client) LabelPITR(ctx context.Context, s PITRLabelSpec) (PITRLabel, error) {
	return work[PITRLabel](ctx, c, http.MethodPost, PITRLabelsPath, s, nil)
}

// PITRLabels lists the labels by name.
func (c *Client) PITRLabels(ctx context.Context) (Page[PITRLabel], error) {
	return work[Page[PITRLabel]](ctx, c, http.MethodGet, PITRLabelsPath, nil, nil)
}

// RemovePITRLabel forgets a label; the point stays.
func (c *Client) RemovePITRLabel(ctx context.Context, name string) (PITRLabel, error) {
	return work[PITRLabel](ctx, c, http.MethodDelete, PITRLabelsPath+"/"+url.PathEscape(name), nil, nil)
}
