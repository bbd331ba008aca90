package front

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/mcpraft/mcpraft/server/front/h1"
)

// Bounds of a connection. A request has deadlines of its own.
const (
	headerTimeout = 5 * time.Second  // from the first byte of a request to the end of its headers
	idleTimeout   = 90 * time.Second // between two requests
	maxH2Streams  = 250              // requests at once on one HTTP/2 connection
)

// Server is a new server with f behind it, for plain connections and for *tls.Conn
// (HTTP/2 if the handshake chose it). The hot case is served by the fast lane, the
// rest by net/http.
func (f *Front) Server() *h1.Server { return h1.New(f.netServer()) }

// netServer is the server of net/http. There is no ReadTimeout and no WriteTimeout:
// they would end streams.
func (f *Front) netServer() *http.Server {
	return &http.Server{
		Handler:           f,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    MaxHeader,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxH2Streams},
		ErrorLog:          slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
	}
}
