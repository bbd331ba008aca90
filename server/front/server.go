package front

import (
	"log/slog"
	"net/http"
	"time"
)

// Bounds of a connection. A request has deadlines of its own.
const (
	headerTimeout = 5 * time.Second  // from the first byte of a request to the end of its headers
	idleTimeout   = 90 * time.Second // between two requests
	maxH2Streams  = 250              // requests at once on one HTTP/2 connection
)

// Server is a new http.Server with f behind it, for plain connections and for
// *tls.Conn (HTTP/2 if the handshake chose it). There is no ReadTimeout and no
// WriteTimeout: they would end streams.
func (f *Front) Server() *http.Server {
	return &http.Server{
		Handler:           f,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    MaxHeader,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxH2Streams},
		ErrorLog:          slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
	}
}
