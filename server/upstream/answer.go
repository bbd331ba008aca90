package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A form is what the body of an answer turns out to be.
type form uint8

const (
	formEmpty  form = iota
	formJSON        // one message, or a batch
	formStream      // events
	formOther       // a page of a proxy, plain text
)

// formOf looks at what a body begins with, and at what it is said to be only
// where that is silent: servers and proxies between us mislabel both kinds.
func formOf(contentType string, begin []byte) form {
	begin = bytes.TrimLeft(bytes.TrimPrefix(begin, []byte("\xef\xbb\xbf")), " \t\r\n")
	switch {
	case len(begin) == 0:
		return formEmpty
	case begin[0] == '{' || begin[0] == '[':
		return formJSON
	case begin[0] == ':' || startsField(begin):
		return formStream
	case isMedia(contentType, "text/event-stream"):
		return formStream
	default:
		return formOther
	}
}

var eventFields = [][]byte{[]byte("data"), []byte("event"), []byte("id"), []byte("retry")}

// startsField reports whether a line begins with a field of an event, as far as
// it has come.
func startsField(line []byte) bool {
	for _, name := range eventFields {
		if rest, ok := bytes.CutPrefix(line, name); ok && len(rest) > 0 && (rest[0] == ':' || rest[0] == '\n' || rest[0] == '\r') {
			return true
		}
	}
	return false
}

func isMedia(contentType, want string) bool {
	if contentType == want {
		return true
	}
	got, _, err := mime.ParseMediaType(contentType)
	return err == nil && got == want
}

// A body is an answer whose form is known.
type body struct {
	form   form
	head   *response
	begin  []byte // read already
	ended  bool   // that was all
	meter  meter
	vigil  *vigil // of a stream that was resumed; nil: there is none
	closed bool
}

// openBody reads until the form of the answer shows: for a stream that is its
// first line. It must be closed.
func openBody(ctx context.Context, budget Budget, res *response) (*body, error) {
	b := &body{head: res, meter: meter{budget: budget}}
	if res.status == http.StatusNoContent || res.length == 0 {
		return b, nil
	}
	size := int64(firstRead)
	if res.length > 0 && res.length <= grain {
		size = res.length
	}
	if err := b.meter.draw(ctx, size); err != nil {
		b.close()
		return nil, err
	}
	buf := make([]byte, 0, size)
	for {
		n, err := res.body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		b.begin, b.ended = buf, err == io.EOF
		if n > 0 {
			b.form = formOf(res.header.Get("Content-Type"), buf)
		}
		if err != nil && (err != io.EOF || b.form == formStream && len(buf) == 0) {
			b.close()
			return nil, err
		}
		if b.form != formEmpty || err == io.EOF || len(buf) == cap(buf) {
			return b, nil
		}
	}
}

// all is the whole body, of at most limit bytes.
func (b *body) all(ctx context.Context, limit int64) ([]byte, error) {
	if b.ended {
		return b.begin, nil
	}
	return readAll(ctx, &b.meter, b.begin, b.head.body, b.head.length, limit)
}

// events reads the body as a stream.
func (b *body) events(ctx context.Context) (*sse.Reader, *meteredReader) {
	b.meter.giveBack()
	metered := &meteredReader{ctx: ctx, from: io.MultiReader(bytes.NewReader(b.begin), b.head.body), meter: &b.meter}
	return sse.NewReader(metered, MaxMessage), metered
}

// close gives the connection back if the body was read to its end, and closes it
// otherwise.
func (b *body) close() {
	if !b.closed {
		b.closed = true
		b.head.body.Close()
		b.meter.giveBack()
		b.vigil.end()
	}
}

// A refusal is an answer by which an upstream says that it did not do what was
// asked: an HTTP status beyond 299.
type refusal struct {
	status     int
	failure    *mcp.Message // the JSON-RPC error in the body; nil if there is none
	text       string       // the beginning of a body that is no JSON-RPC, made printable; for logs and messages
	location   string       // of a redirect
	retryAfter time.Duration
}

func (r *refusal) Error() string {
	switch {
	case r.failure != nil:
		return fmt.Sprintf("HTTP %d, %d: %s", r.status, r.failure.Err().Code, clean(r.failure.Err().Message))
	case r.text != "":
		return fmt.Sprintf("HTTP %d, %s", r.status, r.text)
	default:
		return fmt.Sprintf("HTTP %d", r.status)
	}
}

// readRefusal reads what an answer beyond 299 says. It takes the connection's
// failure while reading for the end: the status is the news.
func readRefusal(ctx context.Context, b *body) *refusal {
	r := &refusal{status: b.head.status, location: clean(b.head.header.Get("Location")), retryAfter: retryAfter(b.head.header.Get("Retry-After"))}
	data := b.begin
	switch b.form {
	case formStream:
		events, _ := b.events(ctx)
		data = nil
		if e, err := events.Next(); err == nil {
			data = e.Data
		}
	case formJSON, formOther:
		if whole, err := b.all(ctx, maxRefusal); err == nil {
			data = whole
		}
	}
	if m := failureIn(data); m != nil {
		r.failure = m
	} else {
		r.text = clean(string(data[:min(len(data), 4*maxExcerpt)]))
	}
	return r
}

// failureIn is the JSON-RPC error that data is, or the first of a batch.
func failureIn(data []byte) *mcp.Message {
	list, _, err := mcp.ParseAny(data, mcp.FromUpstream)
	if err != nil || list[0].Kind() != mcp.KindFailure {
		return nil
	}
	return list[0]
}

// code is the JSON-RPC code of the refusal, 0 if it has none.
func (r *refusal) code() int {
	if r.failure == nil {
		return 0
	}
	return r.failure.Err().Code
}

// says is what a refusal says, in lower case.
func (r *refusal) says() string {
	if r.failure != nil {
		return strings.ToLower(r.failure.Err().Message)
	}
	return strings.ToLower(r.text)
}

// lostSession reports whether the refusal means that the upstream does not know
// the session of the request (any more), so that nothing was processed. The
// specification's way is 404; servers that stand for one process say it by 400.
func (r *refusal) lostSession(hadID bool) bool {
	if r.code() == mcp.CodeMethodNotFound || r.code() == mcp.CodeUnsupportedVersion {
		return false
	}
	switch r.status {
	case http.StatusNotFound:
		return hadID
	case http.StatusBadRequest:
		text := r.says()
		if strings.Contains(text, "not initialized") {
			return true
		}
		return strings.Contains(text, "session") && saysUnknown(text)
	}
	return false
}

func saysUnknown(text string) bool {
	for _, word := range []string{"not found", "no valid", "invalid", "unknown", "expired", "terminated", "closed", "missing", "required", "does not exist", "no active"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// modernWord reports whether only a server of the modern era talks like that.
func (r *refusal) modernWord() bool {
	switch r.code() {
	case mcp.CodeHeaderMismatch, mcp.CodeMissingCapability, mcp.CodeUnsupportedVersion:
		return true
	}
	return false
}

// inconclusive reports whether the refusal says nothing of what the upstream can
// do: it comes from something in between, from an upstream in trouble, or from a
// check that precedes everything else.
func (r *refusal) inconclusive() bool {
	switch r.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusRequestTimeout,
		http.StatusTooManyRequests, http.StatusMisdirectedRequest, http.StatusTooEarly:
		return true
	}
	return r.status >= 500 && r.status != http.StatusNotImplemented
}

// supported are the versions that an upstream named in an error.
func (r *refusal) supported() []mcp.Version {
	if r.failure == nil {
		return nil
	}
	return versionsIn(mcp.Field(r.failure.Err().Data, "supported"))
}

// versionsIn reads a list of revisions; what we do not know is left out.
func versionsIn(raw []byte) []mcp.Version {
	var names []string
	if raw == nil || mcp.Unmarshal(raw, &names) != nil {
		return nil
	}
	var known []mcp.Version
	for _, name := range names {
		if v := mcp.Version(name); v.Known() {
			known = append(known, v)
		}
	}
	return known
}

// retryAfter reads delay seconds; dates are ignored.
func retryAfter(value string) time.Duration {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// maxExcerpt is how much of a foreign text is repeated, in characters.
const maxExcerpt = 160

// clean makes the beginning of a foreign text fit for one line of a log or a
// message.
func clean(text string) string {
	var out strings.Builder
	length, blank := 0, false
	for _, r := range text {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			blank = out.Len() > 0
			continue
		}
		if length++; length > maxExcerpt {
			out.WriteString("…")
			break
		}
		if blank {
			out.WriteByte(' ')
			blank = false
		}
		out.WriteRune(r)
	}
	return out.String()
}

// What is wrong with an answer that came.
var (
	errNoAnswer = errors.New("no message in the answer")
	errGarbage  = errors.New("the answer is no message")
)

// A wrongIDError is an answer to something that was not asked.
type wrongIDError struct{ sent, got mcp.ID }

func (e *wrongIDError) Error() string {
	return fmt.Sprintf("it answered request %s, where %s was sent", clean(string(e.got)), e.sent)
}

// pick finds in messages the answer to the request that was sent under id. An
// error without an id counts: some servers lose it.
func pick(list []*mcp.Message, id mcp.ID) (*mcp.Message, error) {
	var stray mcp.ID
	found := false
	for _, m := range list {
		if m.Kind() != mcp.KindResult && m.Kind() != mcp.KindFailure {
			continue
		}
		if answers(m, id) {
			return m, nil
		}
		stray, found = m.ID(), true
	}
	if found {
		return nil, &wrongIDError{sent: id, got: stray}
	}
	return nil, errNoAnswer
}

// answers reports whether m answers the request that was sent under the number
// id. A number that comes back as a string is taken for it.
func answers(m *mcp.Message, id mcp.ID) bool {
	if m.ID() == id {
		return true
	}
	if m.ID() == "" {
		return m.Kind() == mcp.KindFailure
	}
	text, ok := m.ID().Text()
	return ok && text == string(id)
}
