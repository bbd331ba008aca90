package snapshot

import (
	"context"
	"io"
	"time"

	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// A Level says how much of a backup was checked. Each includes those before it.
type Level string

const (
	LevelFiles  Level = "files"  // every object is there and has its size
	LevelDecode Level = "decode" // and decrypts, decompresses and has its hash, and every record decodes
	LevelDrill  Level = "drill"  // and was restored into a scratch machine, whose digest is the one recorded
)

// ParseLevel reads the name of a Level.
func ParseLevel(name string) (Level, error) {
	switch l := Level(name); l {
	case LevelFiles, LevelDecode, LevelDrill:
		return l, nil
	}
	return "", fault.New(fault.Invalid, "no level of verification is called %q", name).WithHint("use files, decode or drill")
}

// A Check is the result of a verification that came to an end. One that could not,
// because the destination did not answer or a key is missing, has no result.
type Check struct {
	Level   Level     `json:"level"`
	At      time.Time `json:"at"`
	TookMS  int64     `json:"took_ms"`
	Bytes   int64     `json:"bytes"`             // of the state that were read
	Problem string    `json:"problem,omitempty"` // "" means that it passed
}

// Passed reports whether nothing was found.
func (c Check) Passed() bool { return c.Problem == "" }

// Took is how long it took; of a drill, it is what a restore would take at least.
func (c Check) Took() time.Duration { return time.Duration(c.TookMS) * time.Millisecond }

// Verify checks a backup up to LevelDecode. If decode is not nil, it is given the
// state at that level and reads it to its end, to say whether it decodes. Damage is
// both in the Check and the error, of kind Integrity; with any other error there is
// no Check.
func (b Backups) Verify(ctx context.Context, m Manifest, level Level, decode func(io.Reader) error) (*Check, error) {
	begin := time.Now()
	read, err := b.verify(ctx, m, level, decode)
	if err != nil && fault.Of(err) != fault.Integrity {
		return nil, err
	}
	c := &Check{Level: level, At: begin.UTC().Truncate(time.Second), TookMS: time.Since(begin).Milliseconds(), Bytes: read}
	if err != nil {
		c.Problem = err.Error()
	}
	return c, err
}

func (b Backups) verify(ctx context.Context, m Manifest, level Level, decode func(io.Reader) error) (read int64, err error) {
	if level != LevelFiles && level != LevelDecode {
		return 0, fault.New(fault.Invalid, "a backup is not verified at level %q here", level)
	}
	if err := b.verifyFiles(ctx, m); err != nil || level == LevelFiles {
		return 0, err
	}
	state, err := b.Open(ctx, m)
	if err != nil {
		return 0, err
	}
	defer state.Close()
	counted := &countingReader{r: state}
	if decode != nil {
		if err := decode(counted); err != nil {
			return counted.n, err
		}
	}
	_, err = io.Copy(io.Discard, counted) // to the end, where the hash is compared
	return counted.n, err
}

// verifyFiles checks that every file is there with its size.
func (b Backups) verifyFiles(ctx context.Context, m Manifest) error {
	for _, f := range m.Files {
		info, err := b.Store.Stat(ctx, b.file(m.ID, f.Name))
		if fault.Of(err) == fault.NotFound {
			return b.missing(m.ID, f)
		}
		if err != nil {
			return err
		}
		if info.Size != f.Size {
			return b.damaged(m.ID, f, fault.New(fault.Integrity, "it has %d bytes, the manifest says %d", info.Size, f.Size))
		}
	}
	return nil
}

// Note keeps the result of a check with its backup; the newest counts.
func (b Backups) Note(ctx context.Context, id string, c Check) error {
	if err := ValidID(id); err != nil {
		return err
	}
	return b.put(ctx, b.object(checks, id), c, blob.Replace)
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
