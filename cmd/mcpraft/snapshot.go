package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/snapshot"
)

func newSnapshotCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "snapshot",
		GroupID: groupUse,
		Short:   "Save the whole state in a file, check such files, begin a cluster from one",
		Long: `Save the whole state in a file, check such files, begin a cluster from one.

A snapshot is everything: registry, sessions, upstreams, tokens, settings, and the
cluster's own keys, sealed by the key file (auth.key_file). Keep a copy of the key
file in another place: without it a restored cluster cannot open them.`,
		Example: `  mcpraft snapshot save
  mcpraft snapshot verify mcpraft-20260512T140210Z-88120.snapshot
  mcpraft snapshot restore mcpraft-20260512T140210Z-88120.snapshot --into /var/lib/mcpraft --node node-1`,
	}
	cmd.AddCommand(newSnapshotSaveCommand(a), newSnapshotInspectCommand(a), newSnapshotVerifyCommand(a), newSnapshotRestoreCommand(a))
	return cmd
}

// keyFlags name the key files that open a snapshot.
type keyFlags struct{ files []string }

func (k *keyFlags) add(cmd *cobra.Command, usage string) {
	cmd.Flags().StringArrayVar(&k.files, "key-file", nil, usage)
	_ = cmd.MarkFlagFilename("key-file")
}

func (k *keyFlags) ring() (seal.Ring, error) { return seal.LoadRing(k.files...) }

// A snapshotInfo is what is known of a snapshot file.
type snapshotInfo struct {
	File        string            `json:"file"`
	Cluster     string            `json:"cluster"`
	ClusterID   string            `json:"cluster_id"`
	Timeline    string            `json:"timeline"`
	Index       uint64            `json:"index"`
	Term        uint64            `json:"term"`
	LogTime     string            `json:"log_time"`
	Digest      string            `json:"digest"`
	Counts      map[string]uint64 `json:"counts"`
	Created     string            `json:"created"`
	Creator     string            `json:"creator"`
	StateBytes  int64             `json:"state_bytes"`
	Compression string            `json:"compression"`
	Cipher      string            `json:"cipher"`
	Keys        []string          `json:"keys"` // any one of them opens it
}

// inspectFile reads what a snapshot file says of itself.
func inspectFile(path string) (_ snapshotInfo, err error) {
	f, err := snapshot.OpenFile(path)
	if err != nil {
		return snapshotInfo{}, err
	}
	info := snapshotInfo{
		File: path, Cluster: f.State.ClusterName, ClusterID: f.State.Cluster.String(), Timeline: f.State.Timeline.String(),
		Index: f.State.Index, Term: f.State.Term, LogTime: logTime(f.State.LogTime), Digest: f.State.Digest.String(), Counts: f.State.Counts,
		Created: f.Created.Format(time.RFC3339), Creator: f.Creator, StateBytes: f.StateBytes,
		Compression: f.Sealed.Compression.String(), Cipher: f.Sealed.Cipher.String(), Keys: []string{},
	}
	for _, id := range f.Sealed.Keys {
		info.Keys = append(info.Keys, id.String())
	}
	return info, f.Close()
}

func (s snapshotInfo) draw(p *page) {
	keys := strings.Join(s.Keys, " or ")
	if keys == "" {
		keys = "none is needed"
	}
	var counts []string
	for _, noun := range slices.Sorted(maps.Keys(s.Counts)) {
		counts = append(counts, strconv.FormatUint(s.Counts[noun], 10)+" "+noun)
	}
	p.fields(
		[2]string{"file", s.File},
		[2]string{"cluster", s.Cluster + ", id " + s.ClusterID + ", timeline " + s.Timeline},
		[2]string{"state", fmt.Sprintf("index %d, term %d, written %s", s.Index, s.Term, s.LogTime)},
		[2]string{"digest", s.Digest},
		[2]string{"holds", strings.Join(counts, ", ")},
		[2]string{"size", sizeOf(s.StateBytes) + " when it is unpacked"},
		[2]string{"packed", "compression " + s.Compression + ", encryption " + s.Cipher},
		[2]string{"keys", keys},
		[2]string{"saved", s.Created + " by " + s.Creator},
	)
}

func newSnapshotInspectCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what a snapshot file says of itself",
		Long: `Show what a snapshot file says of itself, and which keys open it. No key is needed.
That a file is not cut is checked; only "snapshot verify" says that it is right.`,
		Example: `  mcpraft snapshot inspect mcpraft-20260512T140210Z-88120.snapshot
  mcpraft snapshot inspect nightly.snapshot -o json | jq .index`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			info, err := inspectFile(args[0])
			if err != nil {
				return err
			}
			return a.show(info, info.draw)
		},
	}
}

// A verification is what was found right.
type verification struct {
	File  string `json:"file"`
	Level string `json:"level"`
	Index uint64 `json:"index"`
	Bytes int64  `json:"bytes"` // that were read of the state
	Took  int64  `json:"took_ms"`
}

func newSnapshotVerifyCommand(a *app) *cobra.Command {
	var keys keyFlags
	level, scratch := string(snapshot.LevelDecode), ""
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check every byte of a snapshot file",
		Long: `Check every byte of a snapshot file. A file that is damaged ends with exit code 7
and says what is wrong with it. Each level includes those before it:

  files   every byte has the checksum that was written; no key is needed
  decode  and it decrypts and decompresses
  drill   and it restores into a scratch directory, whose digest is the one that
          the cluster had`,
		Example: `  mcpraft snapshot verify nightly.snapshot
  mcpraft snapshot verify nightly.snapshot --level files
  mcpraft snapshot verify nightly.snapshot --level drill --key-file /etc/mcpraft/backup.keys`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := snapshot.ParseLevel(level)
			if err != nil {
				return err
			}
			ring, err := keys.ring()
			if err != nil {
				return err
			}
			began := time.Now()
			v := verification{File: args[0], Level: string(l)}
			if l == snapshot.LevelDrill {
				v.Index, v.Bytes, err = a.drillFile(cmd.Context(), args[0], scratch, ring)
			} else {
				v.Index, v.Bytes, err = a.verifyFile(args[0], l, ring)
			}
			if err != nil {
				return err
			}
			v.Took = time.Since(began).Milliseconds()
			return a.show(v, func(p *page) {
				p.line("%s verifies at level %s: index %d", v.File, v.Level, v.Index)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&level, "level", level, "how much is checked: files, decode or drill")
	f.StringVar(&scratch, "scratch", "", "`DIRECTORY` in which drill restores (default: beside temporary files)")
	keys.add(cmd, "`FILE` with a key that opens it; may be given again")
	_ = cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions([]string{"files", "decode", "drill"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) verifyFile(path string, level snapshot.Level, ring seal.Ring) (index uint64, read int64, err error) {
	p := a.progress("verified")
	defer p.end()
	d, err := snapshot.VerifyFile(path, level, ring, func(r io.Reader) error {
		_, err := io.Copy(p, r)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return d.State.Index, p.n, nil
}
