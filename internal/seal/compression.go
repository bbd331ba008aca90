package seal

import (
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A Compression says how bytes are compressed before they are encrypted. Numbers
// are for ever: they are stored.
type Compression uint8

const (
	Uncompressed Compression = 0
	Zstd         Compression = 1
)

var compressionNames = [...]string{"none", "zstd"}

func (c Compression) String() string {
	if int(c) < len(compressionNames) {
		return compressionNames[c]
	}
	return "unknown"
}

// ParseCompression reads the name of a compression.
func ParseCompression(name string) (Compression, error) {
	if i := slices.Index(compressionNames[:], name); i >= 0 {
		return Compression(i), nil
	}
	return 0, fault.New(fault.Invalid, "no compression is called %q", name).WithHint("use zstd or none")
}

// Windows bound the memory of both sides. The writer's is smaller than what a
// reader takes, so that it can grow one day.
const (
	writeWindow = 4 << 20
	readWindow  = 8 << 20
)

// writer compresses into w; its Close does not close w. One goroutine does all.
func (c Compression) writer(w io.WriteCloser) (io.WriteCloser, error) {
	switch c {
	case Uncompressed:
		return nopCloser{w}, nil
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(writeWindow), zstd.WithLowerEncoderMem(true))
	}
	return nil, fault.New(fault.Unsupported, "compression %d is not known to this binary", uint8(c))
}

// reader undoes writer. It has no goroutine and needs no Close.
func (c Compression) reader(r io.Reader) (io.Reader, error) {
	switch c {
	case Uncompressed:
		return r, nil
	case Zstd:
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(readWindow), zstd.WithDecoderLowmem(true))
	}
	return nil, fault.New(fault.Unsupported, "compression %d is not known to this binary", uint8(c))
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
