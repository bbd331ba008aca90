package process

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// ErrLine says that a line is longer than its reader takes.
var ErrLine = errors.New("a line above the limit")

const lineBuffer = 64 << 10 // bytes

// Lines reads lines of bounded length.
type Lines struct {
	from *bufio.Reader
	max  int
}

// NewLines reads lines of at most limit bytes.
func NewLines(from io.Reader, limit int) *Lines {
	return &Lines{from: bufio.NewReaderSize(from, lineBuffer), max: limit}
}

// Next is the next line that is not blank, without its end; the caller may keep
// it. What follows the last end of line is no line: its writer was cut off. The
// error is that of the reader, or ErrLine, after which nothing can be read.
func (l *Lines) Next() ([]byte, error) {
	for {
		line, err := l.next()
		if err != nil {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

func (l *Lines) next() ([]byte, error) {
	var line []byte
	for {
		part, err := l.from.ReadSlice('\n')
		if len(line)+len(part) > l.max+1 {
			return nil, ErrLine
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}
