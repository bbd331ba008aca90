package seal

import (
	"io"
	"runtime"
	"testing"
	"testing/synctest"
)

// zeros is an endless source that costs nothing.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Everything that is allocated on the way, not only what is held, stays far below
// the size of the object.
func TestMemoryIsConstant(t *testing.T) {
	const size, limit = 64 << 20, 40 << 20
	for name, p := range policies(t) {
		r, w := io.Pipe()
		before := allocated()
		go func() {
			s, err := p.NewWriter(w, "test")
			if err == nil {
				_, err = io.CopyN(s, zeros{}, size)
			}
			if err == nil {
				err = s.Close()
			}
			w.CloseWithError(err)
		}()
		s, err := p.Ring.NewReader(r, "test")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, s); n != size || err != nil {
			t.Errorf("%s: read %d, %v", name, n, err)
		}
		if used := allocated() - before; used > limit {
			t.Errorf("%s: an object of %d MiB took %d MiB of memory", name, size>>20, used>>20)
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// A goroutine that is left behind ends the bubble with a panic.
func TestAbandonedReadersAndWritersLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, p := range policies(t) {
			object := sealed(t, p, "test", noise(chunkBytes))
			r, err := p.Ring.NewReader(&sliceReader{object}, "test")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = r.Read(make([]byte, 1))
			w, err := p.NewWriter(io.Discard, "test")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write(noise(chunkBytes))
		}
	})
}

type sliceReader struct{ b []byte }

func (s *sliceReader) Read(p []byte) (int, error) {
	n := copy(p, s.b)
	if s.b = s.b[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}
