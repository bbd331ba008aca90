package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	maxBody   = 1 << 20          // bytes of one request
	clockStep = 5 * time.Second  // between updates of the clock, for who is subscribed
	idleAfter = 30 * time.Minute // a session without a request or stream for so long is forgotten
)

// A Server is the demo upstream. Make one with New, and Close it.
type Server struct {
	life context.Context // ends with Close; calls of the legacy era outlive their connection
	end  context.CancelFunc
	work sync.WaitGroup // calls and the clock, see start
	stop sync.Mutex     // held while work is added, and while life ends

	tools    map[string]*tool // never changed
	toolList []mcp.Raw        // never changed
	sessions sessions
	topics   topics
	notes    notes
	counter  counter
	secret   []byte // proves that a requestState is ours
}

// New starts a server. Close ends it.
func New() *Server {
	life, end := context.WithCancel(context.Background())
	s := &Server{life: life, end: end, secret: []byte(newID())}
	s.loadTools()
	_, _ = s.notes.put("welcome", "Change me with the tool write_note.") // there is room for the first
	s.start(s.tick)
	return s
}

// Close ends every call and stream, and waits until they have ended. Requests that
// come later are refused.
func (s *Server) Close() {
	s.stop.Lock()
	s.end()
	s.stop.Unlock()
	s.work.Wait()
}

// start does f on a goroutine that Close waits for; false after Close.
func (s *Server) start(f func()) bool {
	s.stop.Lock()
	defer s.stop.Unlock()
	if s.life.Err() != nil {
		return false
	}
	s.work.Go(f)
	return true
}

// tick moves the clock and forgets idle sessions.
func (s *Server) tick() {
	ticker := time.NewTicker(clockStep)
	defer ticker.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case now := <-ticker.C:
			for _, id := range s.sessions.idle(now.Add(-idleAfter)) {
				s.forget(id)
			}
			s.topics.publish(updated(clockURI))
		}
	}
}

// ServeHTTP answers one request of the MCP endpoint, whatever its path.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.life.Err() != nil:
		refuse(w, http.StatusServiceUnavailable, "the server is stopping")
	case !isLocal(r.Host) || !isLocalOrigin(r.Header.Get("Origin")):
		refuse(w, http.StatusForbidden, "the demo server answers this machine only")
	case r.Method == http.MethodPost:
		s.post(w, r)
	case r.Method == http.MethodGet:
		s.listenLegacy(w, r)
	case r.Method == http.MethodDelete:
		s.deleteSession(w, r)
	default:
		w.Header().Set("Allow", "DELETE, GET, POST")
		refuse(w, http.StatusMethodNotAllowed, "the method must be DELETE, GET or POST")
	}
}

// post reads one message and gives it to its era.
func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		status := http.StatusBadRequest
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			status = http.StatusRequestEntityTooLarge
		}
		refuse(w, status, "the body cannot be read: "+err.Error())
		return
	}
	m, err := mcp.Parse(body, mcp.Inbound)
	if err != nil {
		e, _ := errors.AsType[*mcp.Error](err)
		respond(w, http.StatusBadRequest, mcp.Failed(e.ID, e))
		return
	}
	if mcp.Version(r.Header.Get(mcp.HeaderVersion)).Modern() || mcp.Meta(m.Params(), mcp.MetaProtocolVersion) != nil {
		s.postModern(w, r, m)
		return
	}
	s.postLegacy(w, r, m)
}

// respond writes one message as JSON.
func respond(w http.ResponseWriter, status int, m *mcp.Message) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(m.Bytes()) // an error means that the client is gone
}

// refuse answers a request that has no message, or none that can be named.
func refuse(w http.ResponseWriter, status int, message string) {
	respond(w, status, mcp.Failed("", &mcp.Error{Code: mcp.CodeInvalidRequest, Message: message}))
}

// isLocalOrigin keeps out pages of other sites that a browser here has open.
func isLocalOrigin(origin string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && isLocal(u.Host)
}

// isLocal reports whether host, perhaps with a port, is this machine by name: a
// foreign name that resolves to this machine is not.
func isLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if len(host) > 1 && host[0] == '[' {
		host = host[1 : len(host)-1]
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
