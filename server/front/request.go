package front

import (
	"net/http"
	"net/textproto"
	"strings"

	"github.com/mcpraft/mcpraft/server/exchange"
)

// Headers, in the canonical form that http.Header has for its keys.
const (
	// HeaderRequestID carries the id of a request in both directions: a client
	// may choose one, every answer has one, the log has it too.
	HeaderRequestID = "Mcpraft-Request-Id"

	headerSession   = "Mcp-Session-Id"
	headerVersion   = "Mcp-Protocol-Version"
	headerMethod    = "Mcp-Method"
	headerName      = "Mcp-Name"
	headerLastEvent = "Last-Event-Id"
	paramPrefix     = "Mcp-Param-"
)

// requestOf is what the handler gets to know of r.
func requestOf(r *http.Request, id, alias string, caller exchange.Caller) *exchange.Request {
	h := r.Header
	req := &exchange.Request{ID: id, Alias: alias, Caller: caller, Remote: r.RemoteAddr}
	req.Session, req.HasSession = field(h, headerSession)
	req.Version, req.HasVersion = field(h, headerVersion)
	req.Method, req.HasMethod = field(h, headerMethod)
	req.Name, req.HasName = field(h, headerName)
	req.LastEventID, _ = field(h, headerLastEvent)
	req.JSONOnly = r.Method == http.MethodPost && !takesEvents(h["Accept"])
	for name := range h {
		if strings.HasPrefix(name, paramPrefix) {
			req.Param = func(name string) (string, bool) {
				return field(h, textproto.CanonicalMIMEHeaderKey(paramPrefix+name))
			}
			break
		}
	}
	return req
}

// field is the value of the header of that canonical name. One that came more
// than once has no value that could be right: all of them joined equal none.
func field(h http.Header, name string) (value string, ok bool) {
	switch values := h[name]; len(values) {
	case 0:
		return "", false
	case 1:
		return values[0], true
	default:
		return strings.Join(values, ", "), true
	}
}

// takesEvents reports whether Accept lists event streams. A client that says
// nothing, or that anything will do, was not written for them.
func takesEvents(accept []string) bool {
	for _, line := range accept {
		for item := range strings.SplitSeq(line, ",") {
			media, parameters, _ := strings.Cut(item, ";")
			media = strings.TrimSpace(media)
			if (strings.EqualFold(media, "text/event-stream") || strings.EqualFold(media, "text/*")) && !refused(parameters) {
				return true
			}
		}
	}
	return false
}

// refused reports whether the parameters of a media range hold a quality of 0.
func refused(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			return strings.Trim(strings.TrimSpace(value), "0.") == ""
		}
	}
	return false
}

// bearer is the token of the Authorization header.
func bearer(h http.Header) (token string, ok bool) {
	values := h["Authorization"]
	if len(values) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}
