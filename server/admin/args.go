package admin

import (
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// args reads the arguments of an HTTP request. The first mistake sticks; done
// reports it, and whatever nobody asked for.
type args struct {
	w     http.ResponseWriter
	r     *http.Request
	query url.Values
	taken []string // names of parameters that the route knows
	err   error
	body  bool // taken
	match bool // If-Match and Idempotency-Key taken
}

func newArgs(w http.ResponseWriter, r *http.Request) *args {
	a := &args{w: w, r: r}
	if r.URL.RawQuery != "" {
		var err error
		if a.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
			a.fail(fault.New(fault.Invalid, "the query does not parse: %v", err).
				WithHint("percent-encode what is not a letter, digit or -._~"))
		}
	}
	return a
}

func (a *args) fail(err error) {
	if a.err == nil && err != nil {
		a.err = err
	}
}

// path is a segment of the path, decoded.
func (a *args) path(name string) string { return a.r.PathValue(name) }

// text is a query parameter, empty if it is not given.
func (a *args) text(name string) string {
	a.taken = append(a.taken, name)
	values := a.query[name]
	switch {
	case len(values) == 0:
		return ""
	case len(values) > 1:
		a.fail(fault.New(fault.Invalid, "parameter %s is given %d times", name, len(values)).WithHint("give it once"))
	case values[0] == "" && name != "verbose":
		a.fail(fault.New(fault.Invalid, "parameter %s is empty", name).WithHint("give it a value or leave it out"))
	}
	return values[0]
}

// flag is true for name without a value, or with true or 1.
func (a *args) flag(name string) bool {
	value := a.text(name)
	_, given := a.query[name]
	switch value {
	case "", "true", "1":
		return given
	case "false", "0":
		return false
	}
	a.fail(fault.New(fault.Invalid, "parameter %s=%q is not true or false", name, value))
	return false
}

// number is a query parameter of at least 1, 0 if it is not given.
func (a *args) number(name string) uint64 {
	value := a.text(name)
	if value == "" {
		return 0
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n == 0 {
		a.fail(fault.New(fault.Invalid, "parameter %s=%q is not a number from 1 on", name, value))
		return 0
	}
	return n
}

func (a *args) read() adminapi.ReadOptions {
	consistency, err := adminapi.ParseConsistency(a.text("consistency"))
	if err != nil {
		a.fail(fault.New(fault.Invalid, "parameter %v", err))
	}
	o := adminapi.ReadOptions{Consistency: consistency, MinIndex: a.number("min_index")}
	if value := a.text("max_staleness"); value != "" {
		d, err := time.ParseDuration(value)
		if err != nil || d < time.Millisecond {
			a.fail(fault.New(fault.Invalid, "parameter max_staleness=%q is not a duration of at least 1ms, as in 500ms or 5s", value))
		}
		o.MaxStaleness = adminapi.DurationOf(d)
	}
	return o
}

func (a *args) write() adminapi.WriteOptions {
	a.match = true
	var o adminapi.WriteOptions
	if value, ok := a.header(adminapi.HeaderIfMatch); ok {
		revision, err := adminapi.ParseETag(value)
		if err != nil {
			a.fail(fault.New(fault.Invalid, "header If-Match: %v", err).
				WithHint("send the ETag of the record as it came"))
		}
		o.IfMatch = revision
	}
	if value, ok := a.header(adminapi.HeaderIdempotency); ok {
		if err := validKey(value); err != nil {
			a.fail(err)
		}
		o.IdempotencyKey = value
	}
	return o
}

// header is a header that may be given once.
func (a *args) header(name string) (value string, ok bool) {
	values := a.r.Header[name]
	if len(values) == 0 {
		return "", false
	}
	if len(values) > 1 {
		a.fail(fault.New(fault.Invalid, "header %s is given %d times", name, len(values)).WithHint("give it once"))
	}
	return values[0], true
}

// json reads the body into v, which keeps its zero values if there is none.
func (a *args) json(v any) {
	a.body = true
	if a.err != nil {
		return
	}
	data, err := a.readBody()
	if err != nil || len(data) == 0 {
		a.fail(err)
		return
	}
	if content := a.r.Header.Get("Content-Type"); !isJSON(content) {
		a.fail(fault.New(fault.UnsupportedFormat, "the body has Content-Type %q, this route takes application/json", content).
			WithHint("send Content-Type: application/json"))
		return
	}
	a.fail(decodeJSON(data, v))
}

func isJSON(contentType string) bool {
	const want = "application/json"
	if contentType == want {
		return true // as almost always
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == want
}

// decodeJSON reads a body strictly; what it refuses says what is wrong and where.
func decodeJSON(data []byte, v any) error {
	err := strictjson.DecodeBytes(data, v)
	e, ok := errors.AsType[*strictjson.Error](err)
	if !ok {
		return err
	}
	refused := fault.New(fault.Invalid, "the JSON body is not valid at %v", e).
		WithDetail("line", strconv.Itoa(e.Line)).
		WithDetail("column", strconv.Itoa(e.Column))
	if e.Path != "" {
		refused.WithDetail("path", e.Path)
	}
	return refused
}

func (a *args) readBody() ([]byte, error) {
	if a.r.ContentLength == 0 {
		return nil, nil
	}
	if a.r.ContentLength > adminapi.MaxBodyBytes {
		return nil, tooLarge()
	}
	var data []byte
	var err error
	if n := a.r.ContentLength; n > 0 {
		data = make([]byte, n)
		_, err = io.ReadFull(a.r.Body, data) // it has no more
	} else {
		data, err = io.ReadAll(http.MaxBytesReader(a.w, a.r.Body, adminapi.MaxBodyBytes))
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge()
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "the body ended early: %w", err)
	}
	return data, nil
}

func tooLarge() error {
	return fault.New(fault.TooLarge, "the body is above the limit of %d bytes", adminapi.MaxBodyBytes)
}

// done is the first mistake. Anything that was sent and that the route does not
// take is one: ignoring it would do something else than was asked.
func (a *args) done() error {
	if a.err != nil {
		return a.err
	}
	for _, name := range slices.Sorted(maps.Keys(a.query)) {
		if !slices.Contains(a.taken, name) {
			return a.unknownParameter(name)
		}
	}
	if !a.match {
		for _, name := range []string{adminapi.HeaderIfMatch, adminapi.HeaderIdempotency} {
			if _, ok := a.header(name); ok {
				return fault.New(fault.Invalid, "header %s is for writes, this is a read", name).WithHint("leave it out")
			}
		}
	}
	if !a.body && a.r.ContentLength != 0 {
		return fault.New(fault.Invalid, "the request has a body, this route takes none").WithHint("leave it out")
	}
	return nil
}

func (a *args) unknownParameter(name string) error {
	e := fault.New(fault.Invalid, "there is no parameter %q here", name)
	if len(a.taken) == 0 {
		return e.WithHint("this route takes no parameters")
	}
	return e.WithHint("this route takes %s", strings.Join(a.taken, ", "))
}
