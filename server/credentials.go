package server

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/credential"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// buildCredentials makes what upstreams are shown. Token endpoints are reached
// under the same rule about addresses as upstreams.
func (s *Server) buildCredentials(self record.Principal) {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: upstream.Guard{AllowPrivate: s.c.Gateway.AllowPrivate}.Control}
	s.credentials = credential.New(credential.Config{
		Replica: s.node,
		Sealer:  s.auth.Keys(),
		Actor:   self,
		Node:    s.c.Node.Node,
		Process: s.node.Status().Process,
		Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			ForceAttemptHTTP2:   true,
			DisableKeepAlives:   true, // asked once in a while
			TLSHandshakeTimeout: 5 * time.Second,
		},
		Registerer: s.registry,
		Logger:     s.log,
	})
	s.node.Watch(s.credentials.Changed)
	s.node.Duty("credentials", s.credentials.Reseal)
}

// shownToUpstreams gives credentials in the words of package upstream.
type shownToUpstreams struct{ c *credential.Credentials }

func (s shownToUpstreams) Get(ctx context.Context, name string) (header, value string, err error) {
	h, err := s.c.Get(ctx, name)
	return h.Name, h.Value, err
}

func (s shownToUpstreams) Refused(name, header, value string) bool {
	return s.c.Refused(name, credential.Header{Name: header, Value: value})
}
