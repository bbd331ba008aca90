package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
)

// The native upstream is an MCP server that does nothing and takes no time for
// it: it answers each request from a template, without an HTTP or JSON library,
// so that what is measured is what stands before it.

const (
	initializeResult = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"native","version":"1"}}`
	callResult       = `{"content":[{"type":"text","text":"0123456789012345678901234567890123456789012345678901234567890123"}]}`
)

// listResult is a list of n tools, as large as those of real servers: 300 bytes each.
func listResult(n int) string {
	var b strings.Builder
	b.WriteString(`{"tools":[{"name":"echo","inputSchema":{"type":"object"}}`)
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, `,{"name":"tool-%d","description":"%0*d","inputSchema":{"type":"object","properties":{"path":{"type":"string"},"limit":{"type":"integer"}},"required":["path"]}}`, i, 150, i)
	}
	return b.String() + `]}`
}

// runNative serves until ctx ends.
func runNative(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench native", flag.ContinueOnError)
	var n native
	flags.BoolVar(&n.sse, "sse", false, "answer calls by an event stream")
	tools := flags.Int("tools", 1, "how many there are")
	if err := flags.Parse(args); err != nil {
		return err
	}
	n.list = listResult(*tools)
	l, err := net.Listen("tcp", flags.Arg(0))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var conns sync.WaitGroup
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			return err
		}
		conns.Go(func() {
			defer nc.Close()
			stop := context.AfterFunc(ctx, func() { nc.Close() })
			defer stop()
			_ = n.serve(nc) // a connection that ends is no news
		})
	}
	conns.Wait()
	return nil
}

// A native upstream answers from these.
type native struct {
	sse  bool   // calls are answered by an event stream
	list string // result of tools/list
}

func (n *native) serve(nc net.Conn) error {
	r, body, out := bufio.NewReader(nc), make([]byte, 0, 4096), make([]byte, 0, 1024)
	for {
		method, length, err := readHead(r)
		if err != nil {
			return err
		}
		body = body[:0]
		for len(body) < length {
			body = append(body, make([]byte, length-len(body))...)
			if _, err := io.ReadFull(r, body); err != nil {
				return err
			}
		}
		out = n.answer(out[:0], method, body)
		if _, err := nc.Write(out); err != nil {
			return err
		}
	}
}

// readHead reads the head of a request: its method and the length of its body.
func readHead(r *bufio.Reader) (method string, length int, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return "", 0, err
	}
	method, _, _ = strings.Cut(string(line), " ")
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return "", 0, err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			return method, length, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if textproto.CanonicalMIMEHeaderKey(string(name)) == "Content-Length" {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return "", 0, err
			}
		}
	}
}

func (n *native) answer(out []byte, method string, body []byte) []byte {
	if method != "POST" {
		return append(out, "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n"...)
	}
	id := rawID(body)
	if id == nil {
		return append(out, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"...)
	}
	session, result, sse := "", callResult, n.sse
	switch {
	case bytes.Contains(body, []byte(`"initialize"`)):
		session, result, sse = "Mcp-Session-Id: native\r\n", initializeResult, false
	case bytes.Contains(body, []byte(`"tools/list"`)):
		result, sse = n.list, false
	case bytes.Contains(body, []byte(`"server/discover"`)):
		text := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, id)
		return fmt.Appendf(out, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
	const head, tail = `{"jsonrpc":"2.0","id":`, `,"result":`
	length := len(head) + len(id) + len(tail) + len(result) + 1
	kind, before, after := "application/json", "", ""
	if sse {
		kind, before, after = "text/event-stream", "event: message\ndata: ", "\n\n"
	}
	out = fmt.Appendf(out, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n", kind, session, length+len(before)+len(after))
	out = append(append(append(out, before...), head...), id...)
	out = append(append(append(out, tail...), result...), '}')
	return append(out, after...)
}

// rawID is the JSON of the message's id, nil for a notification. No message of a
// benchmark has another member of that name before it.
func rawID(body []byte) []byte {
	_, rest, ok := bytes.Cut(body, []byte(`"id":`))
	if !ok {
		return nil
	}
	rest = bytes.TrimLeft(rest, " ")
	if end := bytes.IndexAny(rest, ",} "); end > 0 {
		return rest[:end]
	}
	return nil
}
