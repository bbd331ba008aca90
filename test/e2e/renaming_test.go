package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// A renaming is a proxy for clients that know the names of one upstream by heart and
// are to use them at the endpoint of all upstreams: it says them as they are called
// there, and gives answers back under the names that the client knows.
type renaming struct {
	alias string
	front *url.URL
}

func startRenaming(t *testing.T, alias, front string) string {
	t.Helper()
	to, err := url.Parse(front)
	if err != nil {
		t.Fatal(err)
	}
	r := renaming{alias, to}
	s := httptest.NewServer(&httputil.ReverseProxy{Rewrite: r.request, ModifyResponse: r.response, FlushInterval: -1})
	t.Cleanup(s.Close)
	return s.URL
}

// name is the public name of what the client calls name. What it has read of another
// upstream it calls by its public name already.
func (r renaming) name(name string) string {
	if strings.Contains(name, "__") {
		return name
	}
	return r.alias + "__" + name
}

func (r renaming) uri(uri string) string {
	if strings.HasPrefix(uri, "gw://") {
		return uri
	}
	return "gw://" + r.alias + "/" + uri
}

func (r renaming) request(p *httputil.ProxyRequest) {
	p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = r.front.Scheme, r.front.Host, p.In.Host
	if p.In.Body == nil {
		return
	}
	body, err := io.ReadAll(io.LimitReader(p.In.Body, maxForwarded))
	if err != nil {
		return
	}
	var m map[string]any
	if json.Unmarshal(body, &m) == nil {
		if renamed := r.message(m); renamed {
			body, _ = json.Marshal(m)
			r.header(p.Out.Header, m)
		}
	}
	p.Out.Body, p.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
}

// message renames what a request is about, and reports whether it is about anything.
func (r renaming) message(m map[string]any) (renamed bool) {
	params, _ := m["params"].(map[string]any)
	at := func(object map[string]any, key string, f func(string) string) {
		if s, ok := object[key].(string); ok {
			object[key], renamed = f(s), true
		}
	}
	switch m["method"] {
	case "tools/call", "prompts/get":
		at(params, "name", r.name)
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		at(params, "uri", r.uri)
	case "completion/complete":
		ref, _ := params["ref"].(map[string]any)
		at(ref, "name", r.name)
		at(ref, "uri", r.uri)
	}
	return renamed
}

// header has the header repeat the new name where it repeated the old one.
func (r renaming) header(h http.Header, m map[string]any) {
	switch old := h.Get("Mcp-Name"); {
	case old == "":
	case m["method"] == "resources/read":
		h.Set("Mcp-Name", r.uri(old))
	default:
		h.Set("Mcp-Name", r.name(old))
	}
}

func (r renaming) response(answer *http.Response) error {
	back := strings.NewReplacer(`"gw://`+r.alias+"/", `"`, `"name":"`+r.alias+"__", `"name":"`, `"message":"`+r.alias+": ", `"message":"`)
	in, out := answer.Body, bufio.NewReaderSize(answer.Body, maxForwarded)
	answer.Body = struct {
		io.Reader
		io.Closer
	}{&lines{from: out, back: back}, in}
	answer.ContentLength = -1
	answer.Header.Del("Content-Length")
	return nil
}

// lines reads line by line, each with its replacements: an event is one line, and so
// is an answer.
type lines struct {
	from *bufio.Reader
	back *strings.Replacer
	rest []byte
}

func (l *lines) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		line, err := l.from.ReadString('\n')
		if line == "" && err != nil {
			return 0, err
		}
		l.rest = []byte(l.back.Replace(line))
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
