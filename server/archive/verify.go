package archive

import (
	"context"
	"errors"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/wal"
)

// A Verification is what a look at the archive has found.
type Verification struct {
	Segments int      // that were read
	Entries  uint64   // in them
	Bytes    int64    // of them, as they are stored
	Damage   []Damage // empty: all of it can be restored, but for the gaps
	Gaps     []Gap
}

// Damage is an object that is not what it should be.
type Damage struct {
	Object  string
	Problem string // what is wrong, and which indexes it costs
	Hint    string
}

// VerifySegments reads the whole archive: every segment decrypts, decompresses and
// has its checksums, is what its name says, and follows the one before it; nothing is
// missing that the cluster relies on. What cannot be told (no key, no answer) is an
// error.
func (b *Backups) VerifySegments(ctx context.Context, told Progress) (Verification, error) {
	before, err := b.Survey(ctx)
	if err != nil {
		return Verification{}, err
	}
	v := verifier{Backups: b, ctx: ctx, told: told}
	for _, c := range before.Chains {
		for _, run := range c.Runs {
			if err := v.run(run); err != nil {
				return Verification{}, err
			}
		}
	}
	after, err := b.Survey(ctx) // what was pruned meanwhile is no gap
	if err != nil {
		return Verification{}, err
	}
	v.found.Gaps = after.Gaps()
	return v.found, nil
}

type verifier struct {
	*Backups
	ctx   context.Context
	told  Progress
	found Verification
}

// run reads the segments of a run and compares their links, whole hashes where names
// have the beginnings.
func (v *verifier) run(run wal.Run) error {
	var before *[32]byte
	for _, ref := range run {
		header, hash, err := v.segment(ref)
		switch {
		case fault.Of(err) == fault.Integrity:
			if gone, statErr := v.gone(ref); gone || statErr != nil {
				before = nil
				if statErr != nil {
					return statErr
				}
				continue
			}
			v.damaged(ref, fault.As(err).Message, fault.As(err).Hint)
			before = nil
			continue
		case err != nil:
			return err
		case before != nil && header.Previous != *before:
			v.damaged(ref, ref.String()+" does not follow the segment before it: the hash of that one is another", "")
		}
		before = &hash
		v.found.Segments++
		if v.found.Bytes += ref.Size; v.told != nil {
			v.told(v.found.Bytes)
		}
	}
	return nil
}

func (v *verifier) damaged(ref wal.Ref, problem, hint string) {
	v.found.Damage = append(v.found.Damage, Damage{Object: ref.Name(), Problem: problem, Hint: hint})
}

// gone reports whether a segment does not exist: then the list of gaps tells.
func (v *verifier) gone(ref wal.Ref) (bool, error) {
	_, err := v.c.Store.Stat(v.ctx, ref.Name())
	if fault.Of(err) == fault.NotFound {
		return true, nil
	}
	return false, err
}

func (v *verifier) segment(ref wal.Ref) (h wal.Header, hash [32]byte, err error) {
	o, err := wal.Open(v.ctx, v.c.Store, v.c.Policy.Ring, ref)
	if err != nil {
		return h, hash, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	entries := uint64(0)
	for _, err := range o.Entries() {
		if err != nil {
			return h, hash, err
		}
		entries++
	}
	v.found.Entries += entries
	return o.Header(), o.Hash(), nil
}
