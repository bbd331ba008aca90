package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// A frontLoad is one run against an MCP endpoint; it travels to the process of
// the load as flags.
type frontLoad struct {
	op       string // call, list, initialize
	addrs    string // host:port of the listeners, separated by commas
	path     string
	tool     string
	token    string // by environment; when it is signing:KEY, every caller signs a JWT of its own subject
	conns    int    // callers, each with a connection and a session of its own
	duration time.Duration
	pids     string
}

// measure runs l in a process of its own.
func (l frontLoad) measure(ctx context.Context) (sample, error) {
	var s sample
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := exec.CommandContext(ctx, self, "frontload", "-op", l.op, "-addrs", l.addrs, "-path", l.path, "-tool", l.tool,
		"-conns", fmt.Sprint(l.conns), "-duration", l.duration.String(), "-pids", l.pids)
	cmd.Env = append(os.Environ(), tokenVariable+"="+l.token)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return s, fmt.Errorf("load: %w", err)
	}
	return s, json.Unmarshal(out, &s)
}

// runFrontLoad is the process of the load.
func runFrontLoad(ctx context.Context, args []string) error {
	l := frontLoad{token: os.Getenv(tokenVariable)}
	flags := flag.NewFlagSet("bench frontload", flag.ContinueOnError)
	flags.StringVar(&l.op, "op", "call", "")
	flags.StringVar(&l.addrs, "addrs", "", "")
	flags.StringVar(&l.path, "path", "/mcp", "")
	flags.StringVar(&l.tool, "tool", "echo", "")
	flags.IntVar(&l.conns, "conns", 1, "")
	flags.DurationVar(&l.duration, "duration", time.Second, "")
	flags.StringVar(&l.pids, "pids", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	addrs := strings.Split(l.addrs, ",")
	callers := make([]*frontCaller, l.conns)
	for i := range callers {
		var err error
		if callers[i], err = l.caller(addrs[i%len(addrs)], i); err != nil {
			return fmt.Errorf("caller %d: %w", i, err)
		}
		defer callers[i].nc.Close()
	}
	if l.op == "list" { // what an upstream lists is known a moment after it is registered
		if err := waitFor(ctx, 60*time.Second, func() error { return callers[0].step(l.op) }); err != nil {
			return err
		}
	}
	begin := time.Now()
	measured, end := begin.Add(warmUp), begin.Add(warmUp+l.duration)
	results := make([]callerResult, l.conns)
	var wg sync.WaitGroup
	var cpu []time.Duration
	wg.Go(func() { cpu = used(ctx, append(strings.Split(l.pids, ","), thisProcess), measured, end) })
	for i, c := range callers {
		wg.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				start := time.Now()
				results[i].add(start, measured, end, c.step(l.op))
			}
		})
	}
	wg.Wait()
	s := merge(results, l.duration)
	s.CPU = cpu
	return json.NewEncoder(os.Stdout).Encode(s)
}

// A frontCaller is one client with a connection and a session.
type frontCaller struct {
	nc      net.Conn
	r       *bufio.Reader
	heads   []string // of a request, up to the session; one for each principal that the caller is
	head    string   // the one in use
	session string
	tool    string
	want    string // that a result must hold; "" for nothing in particular
	n       int
	out     []byte
}

func (l frontLoad) caller(addr string, i int) (*frontCaller, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &frontCaller{nc: nc, r: bufio.NewReaderSize(nc, 8192), tool: l.tool, n: i * 1_000_000}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n", l.path, addr)
	for _, token := range l.tokens(i) {
		c.heads = append(c.heads, head+token)
	}
	c.head = c.heads[0]
	if err := c.initialize(); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// principals is how many there are in all; each caller is some of them.
const principals = 256

// tokens are the headers by which caller i says who it is.
func (l frontLoad) tokens(i int) []string {
	key, ok := strings.CutPrefix(l.token, signing)
	if !ok && l.token == "" {
		return []string{""}
	}
	if !ok {
		return []string{"Authorization: Bearer " + l.token + "\r\n"}
	}
	var list []string
	for p := i % principals; p < principals; p += l.conns {
		list = append(list, "Authorization: Bearer "+signed(key, fmt.Sprintf("user-%d", p))+"\r\n")
	}
	return list
}

func (c *frontCaller) step(op string) error {
	if op == "initialize" {
		c.session, c.head = "", c.heads[c.n%len(c.heads)]
		return c.initialize()
	}
	c.n++
	if op == "list" {
		c.want = fmt.Sprintf("tool-%d", listed-1)
		return c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/list"}`, c.n), true)
	}
	return c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":{"text":"hello"}}}`, c.n, c.tool), true)
}

func (c *frontCaller) initialize() error {
	c.n++
	err := c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`, c.n), true)
	if err != nil {
		return err
	}
	return c.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, false)
}

// post sends one message and reads the answer to its end. A request must be
// answered by a result.
func (c *frontCaller) post(body string, request bool) error {
	c.out = append(c.out[:0], c.head...)
	if c.session != "" {
		c.out = fmt.Appendf(c.out, "Mcp-Session-Id: %s\r\nMCP-Protocol-Version: 2025-11-25\r\n", c.session)
	}
	c.out = fmt.Appendf(c.out, "Content-Length: %d\r\n\r\n%s", len(body), body)
	if _, err := c.nc.Write(c.out); err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if id := answer.Header.Get("Mcp-Session-Id"); id != "" {
		c.session = id
	}
	if answer.StatusCode/100 != 2 || request && !(bytes.Contains(text, []byte(`"result"`)) && bytes.Contains(text, []byte(c.want))) {
		return fmt.Errorf("status %d: %.200s", answer.StatusCode, text)
	}
	return nil
}

const signing = "signing:"

// signed is a JWT of subject under HS256.
func signed(key, subject string) string {
	enc := base64.RawURLEncoding.EncodeToString
	now := time.Now()
	text := enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc(fmt.Appendf(nil,
		`{"iss":%q,"aud":%q,"sub":%q,"iat":%d,"exp":%d}`, benchIssuer, benchAudience, subject, now.Unix(), now.Add(time.Hour).Unix()))
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + enc(mac.Sum(nil))
}

const benchIssuer, benchAudience = "https://idp.bench.example", "mcpraft-bench"

var errNoPeer = errors.New("not installed")
