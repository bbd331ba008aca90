package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// ask runs f with a client of the cluster that the command line means. It uses
// plain HTTP: a command sends one request or two, for which the upgrade to a
// stream would be the larger part of the work.
func (a *app) ask(cmd *cobra.Command, f func(context.Context, *adminapi.Client) error) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	client, err := t.client(a.flags.timeout, t.Addresses...)
	if err != nil {
		return err
	}
	defer client.Close()
	return t.explain(f(cmd.Context(), client))
}

// client is a client of some addresses of t.
func (t target) client(timeout time.Duration, addrs ...string) (*adminapi.Client, error) {
	config, err := t.tls()
	if err != nil {
		return nil, err
	}
	return adminapi.New(adminapi.Config{Addrs: addrs, Token: t.Token, TLS: config, Timeout: timeout})
}

// tls is nil unless t brings certificates of its own; https addresses then use
// the system's.
func (t target) tls() (*tls.Config, error) {
	if t.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the certificates of context %s cannot be read: %w", t.Context, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fault.New(fault.Invalid, "%s holds no certificate in PEM", t.CAFile)
	}
	return &tls.Config{RootCAs: roots}, nil
}

// explain adds to a failure what only the command line knows: where the address
// and the token came from, and which flag does what the API does with a header.
func (t target) explain(err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	revision := e.Details["revision"]
	nobody := e.Kind == fault.Unreachable && e.Details["code"] == "" // else a node answered, of an upstream
	switch {
	case revision != "" && (e.Kind == fault.Conflict || e.Kind == fault.Precondition):
		e.Hint = "to change it as it is now, add --if-revision " + revision
	case nobody && slices.Equal(t.Addresses, []string{defaultAddr}):
		e.Hint = "mcpraft dev starts a cluster on this machine; --addr, MCPRAFT_ADDR or a context names another"
	case nobody && t.Context == devContext:
		e.Hint = "mcpraft dev starts the cluster of context \"dev\" again; mcpraft context use chooses another"
	case e.Kind == fault.Unauthenticated && t.Token == "":
		e.Hint = "there is no token for " + t.Addresses[0] + ": set MCPRAFT_TOKEN or save a context (mcpraft context add)"
	case e.Kind == fault.Unauthenticated && t.Context != "":
		e.Hint = fmt.Sprintf("the token is that of context %q; save a valid one with mcpraft context add", t.Context)
	}
	return err
}

// reaches reports whether addr, as a node announces it, can be meant for us: a
// node's loopback address is of use only on the same machine.
func (t target) reaches(addr string) bool {
	return !isLoopback(addr) || slices.ContainsFunc(t.Addresses, isLoopback)
}

func isLoopback(addr string) bool {
	if u, err := url.Parse(addr); err == nil && u.Host != "" {
		addr = u.Host
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// onceKey is a new Idempotency-Key: with it the client may send a change again,
// to another node, when a connection breaks, and it is still applied once.
func onceKey() adminapi.WriteOptions {
	return adminapi.WriteOptions{IdempotencyKey: rand.Text()}
}

// readFlags are the flags of commands that read.
type readFlags struct {
	consistency  string
	minIndex     uint64
	maxStaleness time.Duration
}

func (r *readFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.consistency, "consistency", "", "how fresh the answer must be: linearizable, bounded or any; by default linearizable for one record, bounded for a list")
	f.Uint64Var(&r.minIndex, "min-index", 0, "wait until the node has applied this log `INDEX`, as printed by a write")
	f.DurationVar(&r.maxStaleness, "max-staleness", 0, "for bounded: refuse an answer that is older")
	_ = cmd.RegisterFlagCompletionFunc("consistency",
		cobra.FixedCompletions([]string{"linearizable", "bounded", "any"}, cobra.ShellCompDirectiveNoFileComp))
}

func (r *readFlags) options(cmd *cobra.Command) (adminapi.ReadOptions, error) {
	consistency, err := adminapi.ParseConsistency(r.consistency)
	if err != nil {
		return adminapi.ReadOptions{}, usageError(cmd, err)
	}
	if r.maxStaleness < 0 {
		return adminapi.ReadOptions{}, usageError(cmd, fmt.Errorf("--max-staleness %v is negative", r.maxStaleness))
	}
	return adminapi.ReadOptions{
		Consistency:  consistency,
		MinIndex:     r.minIndex,
		MaxStaleness: adminapi.DurationOf(r.maxStaleness),
	}, nil
}

// pageFlags are the flags of commands that list.
type pageFlags struct {
	limit uint64
	after string
}

func (p *pageFlags) add(cmd *cobra.Command, what string) {
	cmd.Flags().Uint64Var(&p.limit, "limit", 0, fmt.Sprintf("at most this many, 1 to %d (default %d)", adminapi.MaxListLimit, adminapi.DefaultListLimit))
	cmd.Flags().StringVar(&p.after, "after", "", "begin behind this `"+what+"`, as a page before it said")
}

// showPage is show for a part of a list: people are told how to get the rest.
func (a *app) showPage(next string, value any, human func(*page)) error {
	if err := a.show(value, human); err != nil {
		return err
	}
	if next != "" && a.flags.output == formatTable {
		a.note("there are more: add --after %s", shellQuote(next))
	}
	return nil
}

// shellQuote is s as one word of a POSIX shell.
func shellQuote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("-_./:@%+,=", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// A change is what a write answers, with what it was done to.
type change struct {
	Revision uint64        `json:"revision,omitempty"`
	Time     adminapi.Time `json:"time,omitzero"`
	Index    uint64        `json:"index"`
	Timeline string        `json:"timeline"`
}

func changeOf(r adminapi.Receipt, i adminapi.Info) change {
	return change{Revision: r.Revision, Time: r.Time, Index: i.Index, Timeline: i.Timeline}
}

// pairs parses "key=value" arguments of the flag of that name.
func pairs(cmd *cobra.Command, flag string, args []string) (map[string]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(args))
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, usageError(cmd, fmt.Errorf("--%s %q is not of the form key=value", flag, arg))
		}
		if _, twice := m[key]; twice {
			return nil, usageError(cmd, fmt.Errorf("--%s gives %q twice", flag, key))
		}
		m[key] = value
	}
	return m, nil
}

// ago is how long before now t was, for tables.
func ago(t adminapi.Time) string {
	if t == 0 {
		return ""
	}
	d := time.Since(t.Time())
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// stamp is t for a person who looks at one record.
func stamp(t adminapi.Time) string {
	if t == 0 {
		return "never"
	}
	return t.Time().Format(time.RFC3339)
}
