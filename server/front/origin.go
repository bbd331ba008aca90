package front

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// origins decides from which pages requests may come, and by which names.
type origins struct {
	loopback bool
	allowed  map[string]bool // serialised origins, in lower case
	hosts    map[string]bool // host names of allowed
}

// ParseOrigin reads a serialised origin, scheme://host[:port], as browsers send
// it: without a path, the port left out where it is the scheme's own.
func ParseOrigin(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != s {
		return nil, fmt.Errorf("allowed origin %q is not of the form scheme://host[:port]", s)
	}
	return u, nil
}

func newOrigins(loopback bool, allowed []string) *origins {
	o := &origins{loopback: loopback, allowed: make(map[string]bool), hosts: make(map[string]bool)}
	for _, s := range allowed {
		if u, err := ParseOrigin(s); err == nil {
			o.allowed[strings.ToLower(s)] = true
			o.hosts[strings.ToLower(u.Hostname())] = true
		}
	}
	return o
}

// check refuses a request that was made for another host, or by a page that may
// not.
func (o *origins) check(r *http.Request) error {
	if host := hostname(r.Host); o.loopback && !isLoopback(host) && !o.hosts[strings.ToLower(host)] {
		return fault.New(fault.Forbidden, "the Host header %q does not name this machine, and this port is for this machine only", r.Host).
			WithHint("use http://127.0.0.1 or http://localhost; behind a proxy, list its public origin in mcp.allowed_origins")
	}
	values := r.Header["Origin"]
	if len(values) == 0 {
		return nil
	}
	if len(values) > 1 || !o.permits(values[0]) {
		return fault.New(fault.Forbidden, "requests from pages of the origin %q are not allowed", strings.Join(values, ", ")).
			WithHint("list the origin in mcp.allowed_origins of this node's configuration, if its pages shall call MCP")
	}
	return nil
}

func (o *origins) permits(origin string) bool {
	if o.allowed[strings.ToLower(origin)] {
		return true
	}
	if !o.loopback {
		return false
	}
	u, err := ParseOrigin(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && isLoopback(u.Hostname())
}

// hostname is a Host header without its port and without the brackets of an IPv6
// address.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// The answer to browsers, see check: whoever comes here is allowed.
const (
	corsMethods = "GET, POST, DELETE, OPTIONS"
	corsHeaders = "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Last-Event-ID, Mcp-Method, Mcp-Name"
	corsExpose  = "Mcp-Session-Id, WWW-Authenticate, Retry-After, " + HeaderRequestID
	corsMaxAge  = "7200" // seconds

	maxEchoed = 64 // Mcp-Param-* headers that one preflight may ask for
)

// share lets the page that sent r read the answer.
func share(h http.Header, r *http.Request) {
	if origin := r.Header["Origin"]; len(origin) == 1 {
		h["Access-Control-Allow-Origin"] = origin
		h["Access-Control-Expose-Headers"] = exposed
		h["Vary"] = varyOrigin
	}
}

var (
	exposed    = []string{corsExpose}
	varyOrigin = []string{"Origin"}
)

// preflight answers OPTIONS.
func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Allow", corsMethods)
	if r.Header.Get("Origin") != "" {
		h.Set("Access-Control-Allow-Methods", corsMethods)
		h.Set("Access-Control-Allow-Headers", corsHeaders+paramHeaders(r.Header.Get("Access-Control-Request-Headers")))
		h.Set("Access-Control-Max-Age", corsMaxAge)
	}
	w.WriteHeader(http.StatusNoContent)
}

// paramHeaders is what a page asked for that only it can name: the headers that
// mirror parameters of a tool, in the form of a continued list.
func paramHeaders(asked string) string {
	var b strings.Builder
	n := 0
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.TrimSpace(name)
		if len(name) <= len(paramPrefix) || !strings.EqualFold(name[:len(paramPrefix)], paramPrefix) || !isToken(name) {
			continue
		}
		if n++; n > maxEchoed {
			break
		}
		b.WriteString(", " + name)
	}
	return b.String()
}

// isToken reports whether s is a token of RFC 9110: what a header name is made of.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
