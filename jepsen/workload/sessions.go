package workload

import (
	"context"
	"fmt"
	"net/http"

	"github.com/mcpraft/mcpraft/jepsen/history"
)

// maxHeld bounds the sessions that a client uses at a time.
const maxHeld = 3

// A session that a client holds.
type session struct{ name, id string }

// sessions opens sessions on one node, uses them on others, lets a principal that
// has nothing to do with them try the same, and ends them.
func (c *Client) sessions() func(context.Context) {
	var held []session
	stranger := ""
	return func(ctx context.Context) {
		if stranger == "" {
			c.count++ // a name whose outcome is unknown may be taken
			token, err := newToken(ctx, c.Cluster, fmt.Sprint(c.subject, "-stranger-", c.count))
			if err != nil {
				return // no leader now
			}
			stranger = token
		}
		if len(held) == 0 || len(held) < maxHeld && c.rng.IntN(8) == 0 {
			if s, ok := c.open(c.node()); ok {
				held = append(held, s)
			}
			return
		}
		i := c.rng.IntN(len(held))
		switch n := c.rng.IntN(100); {
		case n < 75:
			c.use(history.Use, http.MethodPost, c.node(), held[i], c.token)
		case n < 92:
			method := []string{http.MethodPost, http.MethodGet, http.MethodDelete}[c.rng.IntN(3)]
			c.use(history.Foreign, method, c.node(), held[i], stranger)
		default:
			c.use(history.End, http.MethodDelete, c.node(), held[i], c.token)
			for range 2 { // what was ended stays so
				c.use(history.Use, http.MethodPost, c.node(), held[i], c.token)
			}
			held = append(held[:i], held[i+1:]...)
		}
	}
}

// open opens a session and says that the client is ready.
func (c *Client) open(node string) (session, bool) {
	s := session{name: c.value()}
	o := c.begin(node, history.Initialize, s.name)
	ctx, cancel := c.patience()
	defer cancel()
	_, header, err := c.exchange(ctx, packet{method: http.MethodPost, node: node, token: c.token, body: initialize}, &o)
	s.id = header.Get("Mcp-Session-Id")
	c.finish(&o, err)
	if err != nil || s.id == "" {
		return s, false
	}
	o = c.begin(node, history.Use, s.name)
	_, _, err = c.exchange(ctx, packet{method: http.MethodPost, node: node, session: s.id, token: c.token, body: initialized}, &o)
	c.finish(&o, err)
	return s, true
}

// use sends one request in a session, which is perhaps somebody else's.
func (c *Client) use(do, method, node string, s session, token string) {
	o := c.begin(node, do, s.name)
	ctx, cancel := c.patience()
	defer cancel()
	p := packet{method: method, node: node, session: s.id, token: token}
	if method == http.MethodPost {
		p.body = ping
	}
	if method == http.MethodGet {
		// A stream that is opened would stay open: its status is the answer.
		a, err := c.send(ctx, p)
		if err == nil {
			a.Body.Close()
			o.Status = a.StatusCode
			err = statusFault(a, nil)
		}
		c.finish(&o, err)
		return
	}
	_, _, err := c.exchange(ctx, p, &o)
	c.finish(&o, err)
}
