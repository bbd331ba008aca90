package sse

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

func TestAppendWritesTheFieldsOfTheStandard(t *testing.T) {
	tests := []struct {
		name  string
		event Event
		want  string
	}{
		{"nothing", Event{}, ""},
		{"data", Event{Data: []byte(`{"a":1}`)}, "data: {\"a\":1}\n\n"},
		{"empty data", Event{Data: []byte{}}, "data: \n\n"},
		{"data of three lines", Event{Data: []byte("a\nb\r\nc")}, "data: a\ndata: b\ndata: c\n\n"},
		{"data that ends in a line end", Event{Data: []byte("a\n")}, "data: a\ndata: \n\n"},
		{"named", Event{Name: "endpoint", Data: []byte("/messages")}, "event: endpoint\ndata: /messages\n\n"},
		{"priming", Event{ID: "k5.0", HasID: true}, "id: k5.0\ndata: \n\n"},
		{"id taken back", Event{HasID: true, Data: []byte("x")}, "id: \ndata: x\n\n"},
		{"an id that does not count", Event{ID: "a", Data: []byte("x")}, "data: x\n\n"},
		{"retry", Event{Retry: 1500 * time.Millisecond}, "retry: 1500\n\n"},
		{"comment", Event{Comment: "keep-alive"}, ": keep-alive\n\n"},
		{"all", Event{ID: "1", HasID: true, Name: "message", Data: []byte("x"), Retry: time.Second, Comment: "c"}, ": c\nid: 1\nevent: message\nretry: 1000\ndata: x\n\n"},
	}
	for _, test := range tests {
		if got := string(Append(nil, test.event)); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestNoValueBreaksOutOfItsField(t *testing.T) {
	evil := "x\r\ndata: forged\n\nid: forged\n\n"
	for _, event := range []Event{
		{ID: evil + "\x00", HasID: true, Data: []byte("ok")},
		{Name: evil, Data: []byte("ok")},
		{Comment: evil, Data: []byte("ok")},
		{Data: []byte(evil)},
	} {
		r := NewReader(bytes.NewReader(Append(nil, event)), 1<<10)
		e := nextData(t, r)
		if strings.Contains(string(e.Data), "ok") && string(e.Data) != "ok" || e.ID == "forged" {
			t.Errorf("%+v reads as %+v", event, e)
		}
		if more, err := r.Next(); err != io.EOF {
			t.Errorf("%+v is followed by %+v, %v", event, more, err)
		}
	}
}

// nextData is the next event that is not a comment.
func nextData(t *testing.T, r *Reader) Event {
	t.Helper()
	for {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Comment == "" {
			return e
		}
	}
}

func TestReaderTakesEveryLineEndInEveryCut(t *testing.T) {
	events := []Event{
		{Name: "endpoint", Data: []byte("/messages?x=1")},
		{ID: "a.1", HasID: true, Data: []byte{}},
		{Data: []byte("one\ntwo\n\nthree")},
		{Retry: 3 * time.Second},
		{Comment: "keep-alive"},
		{ID: "a.2", HasID: true, Data: []byte(strings.Repeat("long ", 3000))},
	}
	var wire []byte
	for _, e := range events {
		wire = Append(wire, e)
	}
	rapid.Check(t, func(t *rapid.T) {
		end := rapid.SampledFrom([]string{"\n", "\r", "\r\n"}).Draw(t, "line end")
		text := rapid.SampledFrom([]string{"", "\xef\xbb\xbf"}).Draw(t, "mark") + strings.ReplaceAll(string(wire), "\n", end)
		var src io.Reader = strings.NewReader(text)
		switch rapid.IntRange(0, 2).Draw(t, "cut") {
		case 1:
			src = iotest.OneByteReader(src)
		case 2:
			src = &chopped{src: src, size: rapid.IntRange(1, 5000).Draw(t, "size")}
		}
		r := NewReader(iotest.DataErrReader(src), 1<<20)
		for i, want := range events {
			got, err := r.Next()
			if err != nil {
				t.Fatalf("event %d: %v", i, err)
			}
			if !equal(got, want) {
				t.Fatalf("event %d = %+v, want %+v", i, got, want)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("the end is %v, want io.EOF", err)
		}
	})
}

// chopped gives at most size bytes at once.
type chopped struct {
	src  io.Reader
	size int
}

func (c *chopped) Read(p []byte) (int, error) { return c.src.Read(p[:min(len(p), c.size)]) }

func equal(a, b Event) bool {
	return a.ID == b.ID && a.HasID == b.HasID && a.Name == b.Name && bytes.Equal(a.Data, b.Data) && (a.Data == nil) == (b.Data == nil) &&
		a.Retry == b.Retry && a.Comment == b.Comment
}

func TestReaderGivesALineWithoutWaitingForTheNextByte(t *testing.T) {
	for _, end := range []string{"\n", "\r", "\r\n"} {
		src, w := io.Pipe()
		done := make(chan Event, 1)
		r := NewReader(src, 1<<10)
		go func() {
			e, _ := r.Next()
			done <- e
		}()
		if _, err := io.WriteString(w, "data: x"+end+end); err != nil {
			t.Fatal(err)
		}
		if e := <-done; string(e.Data) != "x" {
			t.Errorf("with %q: %+v", end, e)
		}
		w.Close()
	}
}

func TestReaderIgnoresWhatTheStandardIgnores(t *testing.T) {
	text := "unknown: 1\n\n" + // a block without a field that counts
		"event: lonely\n\n" +
		"retry: soon\n\n" +
		"id: a\x00b\ndata:x\n\n" + // an id with NUL is none; no blank after the colon
		"data\n\n" + // a field without a colon
		"data:  two blanks\n: dropped inside an event\n\n"
	r := NewReader(strings.NewReader(text), 1<<10)
	for _, want := range []Event{{Data: []byte("x")}, {Data: []byte{}}, {Data: []byte(" two blanks")}} {
		got, err := r.Next()
		if err != nil || !equal(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
}

func TestReaderTellsACutStreamFromAnEndedOne(t *testing.T) {
	for text, want := range map[string]error{
		"":                     io.EOF,
		"data: x\n\n":          io.EOF,
		"data: x\n\n: c\n":     io.EOF,
		"data: x":              io.ErrUnexpectedEOF,
		"data: x\n":            io.ErrUnexpectedEOF,
		"data: x\n\ndata: y\n": io.ErrUnexpectedEOF,
		"\n\n\n":               io.EOF,
	} {
		r := NewReader(strings.NewReader(text), 1<<10)
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if err != want {
			t.Errorf("%q ends with %v, want %v", text, err, want)
		}
		if _, again := r.Next(); again != want {
			t.Errorf("%q ends with %v, and then with %v", text, want, again)
		}
	}
}

func TestReaderKeepsItsLimit(t *testing.T) {
	const limit = 1 << 10
	endless := map[string]io.Reader{
		"one line":    repeat("data: " + strings.Repeat("x", 100)),
		"many lines":  repeat("data: x\n"),
		"many fields": repeat("unknown: x\n"),
		"comments":    io.MultiReader(strings.NewReader("data: x\n"), repeat(": c\n")),
	}
	for name, src := range endless {
		counted := &counting{src: src}
		r := NewReader(counted, limit)
		_, err := r.Next()
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", name, err)
		}
		if counted.n > 4*firstBuffer {
			t.Errorf("%s: %d bytes were read for a limit of %d", name, counted.n, limit)
		}
	}
	r := NewReader(strings.NewReader("data: "+strings.Repeat("x", limit-8)+"\n\n"), limit)
	if _, err := r.Next(); err != nil {
		t.Errorf("an event of exactly the limit: %v", err)
	}
}

type counting struct {
	src io.Reader
	n   int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	c.n += n
	return n, err
}

// repeat gives text for ever.
func repeat(text string) io.Reader { return &repeating{text: text} }

type repeating struct {
	text string
	at   int
}

func (r *repeating) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.text[r.at%len(r.text)]
		r.at++
	}
	return len(p), nil
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("id: 1\r\ndata: x\r\rdata: y\n\n: c\n"), 3)
	f.Add([]byte("\xef\xbb\xbfretry: 5\n\ndata\n\n"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		const limit = 256
		whole := NewReader(bytes.NewReader(stream), limit)
		pieces := NewReader(&chopped{src: bytes.NewReader(stream), size: max(cut%64, 1)}, limit)
		for {
			a, errA := whole.Next()
			b, errB := pieces.Next()
			if (errA == nil) != (errB == nil) || errA == nil && !equal(a, b) {
				t.Fatalf("read at once: %+v, %v; in pieces: %+v, %v", a, errA, b, errB)
			}
			if errA != nil {
				return
			}
			if equal(a, Event{}) {
				continue // an empty comment
			}
			if len(a.Data) > limit {
				t.Fatalf("an event of %d bytes above the limit of %d", len(a.Data), limit)
			}
			if a.HasID && a.Data == nil {
				a.Data = []byte{} // an id is written with a data field
			}
			again, err := NewReader(bytes.NewReader(Append(nil, a)), 4*limit).Next()
			if err != nil || !equal(again, a) {
				t.Fatalf("%+v written and read is %+v, %v", a, again, err)
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	event := Append(nil, Event{ID: "k5.1", HasID: true, Data: bytes.Repeat([]byte("x"), 300)})
	r := NewReader(&repeating{text: string(event)}, 1<<20)
	b.ReportAllocs()
	b.SetBytes(int64(len(event)))
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
