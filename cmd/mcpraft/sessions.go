package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

func newSessionsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "sessions",
		GroupID: groupUse,
		Short:   "See and end MCP sessions",
		Long: `MCP sessions of all nodes. A session's own id is a secret of its client; lists
show a hash of it. A command takes that hash, its first 8 digits or more, or the
session's own id.`,
		Example: `  mcpraft sessions ls --state active
  mcpraft sessions show 5f3a90c1
  mcpraft sessions kill 5f3a90c1`,
	}
	cmd.AddCommand(newSessionsListCommand(a), newSessionsShowCommand(a))
	for _, change := range sessionChanges {
		cmd.AddCommand(newSessionChangeCommand(a, change))
	}
	return cmd
}

func newSessionsListCommand(a *app) *cobra.Command {
	var read readFlags
	var pages pageFlags
	var r adminapi.SessionsRequest
	var all bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List live sessions",
		Long: `List sessions, the live ones unless --all or --state asks for others: what has ended
is kept for a while, so that it can be told why.`,
		Example: `  mcpraft sessions ls
  mcpraft sessions ls --all
  mcpraft sessions ls --user https://idp.example#alice --state active -o json`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if r.State != "" {
				if _, err := record.ParseSessionState(r.State); err != nil {
					return err
				}
			}
			if r.ReadOptions, err = read.options(cmd); err != nil {
				return err
			}
			r.After, r.Limit = pages.after, pages.limit
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				list, err := listSessions(ctx, c, r, all || r.State != "")
				if err != nil {
					return err
				}
				return a.showPage(list.Next, list, func(p *page) {
					var rows [][]string
					for _, s := range list.Items {
						rows = append(rows, []string{s.ID[:min(8, len(s.ID))], s.State, s.User.String(), sessionClient(s), s.Endpoint, s.Protocol, ago(s.LastActive), ago(s.Created)})
					}
					p.table([]string{"ID", "STATE", "USER", "CLIENT", "UPSTREAM", "PROTOCOL", "ACTIVE", "AGE"}, rows)
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.User, "user", "", "only sessions of this user, `ISSUER#SUBJECT`")
	f.StringVar(&r.Client, "client", "", "only sessions of this client `ID`")
	f.BoolVar(&all, "all", false, "also sessions that have ended")
	f.StringVar(&r.State, "state", "", "only sessions in this `STATE`: initializing, active, suspended, terminating or dead")
	_ = cmd.RegisterFlagCompletionFunc("state", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, s := range record.SessionStates() {
			names = append(names, s.String())
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	pages.add(cmd, "MARK")
	read.add(cmd)
	return cmd
}

// listSessions is a page of sessions, of the live ones unless all are wanted: then
// of as many as were asked for, over the dead ones between them.
func listSessions(ctx context.Context, c *adminapi.Client, r adminapi.SessionsRequest, all bool) (adminapi.Page[adminapi.Session], error) {
	if all {
		page, _, err := c.Sessions(ctx, &r)
		return page, err
	}
	want := int(r.Limit)
	if want == 0 {
		want = adminapi.DefaultListLimit
	}
	live := adminapi.Page[adminapi.Session]{Items: []adminapi.Session{}}
	for {
		r.Limit = uint64(want - len(live.Items))
		page, _, err := c.Sessions(ctx, &r)
		if err != nil {
			return live, err
		}
		for _, s := range page.Items {
			if s.State != record.Dead.String() {
				live.Items = append(live.Items, s)
			}
		}
		live.Next, r.After = page.Next, page.Next
		if page.Next == "" || len(live.Items) >= want {
			return live, nil
		}
	}
}

func newSessionsShowCommand(a *app) *cobra.Command {
	var read readFlags
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show one session",
		Example: `  mcpraft sessions show 5f3a90c1`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := read.options(cmd)
			if err != nil {
				return err
			}
			return a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				s, _, err := c.Session(ctx, &adminapi.SessionRequest{ReadOptions: options, ID: args[0]})
				if err != nil {
					return noSession(err)
				}
				return a.show(s, func(p *page) { p.fields(sessionFields(s)...) })
			})
		},
	}
	read.add(cmd)
	return cmd
}

// noSession says where the sessions are when err is that one is not there.
func noSession(err error) error {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Kind == fault.NotFound {
		e.Hint = "mcpraft sessions ls lists them"
	}
	return err
}

func sessionFields(s adminapi.Session) [][2]string {
	state := s.State
	if s.ByAdmin {
		state += " (by an administrator)"
	}
	if s.Reason != "" {
		state += ": " + s.Reason
	}
	return [][2]string{
		{"id", s.ID},
		{"state", state},
		{"user", s.User.String()},
		{"client", first(sessionClient(s), "-")},
		{"upstream", first(s.Endpoint, "-")},
		{"node", first(s.OwnerNode, "-")},
		{"protocol", first(s.Protocol, "-")},
		{"transport", first(s.Transport, "-")},
		{"authenticated by", first(s.AuthMethod, "-")},
		{"log level", first(s.LogLevel, "-")},
		{"holds", first(bindingTexts(s), "-")},
		{"metadata", first(joinPairs(s.Metadata), "-")},
		{"created", stamp(s.Created)},
		{"last active", stamp(s.LastActive)},
		{"expires", stamp(s.Expires)},
		{"ended", stamp(s.Ended)},
		{"revision", strconv.FormatUint(s.Revision, 10)},
	}
}

// sessionClient is the client's id, else what it calls itself.
func sessionClient(s adminapi.Session) string {
	return first(s.ClientID, strings.TrimSpace(text(s.ClientInfo, "name")+" "+text(s.ClientInfo, "version")))
}

// bindingTexts says what a session holds at upstreams.
func bindingTexts(s adminapi.Session) string {
	var list []string
	for _, b := range s.Bindings {
		line := b.Upstream + " " + b.Protocol
		if b.Session {
			line += ", a session of its own"
		}
		if b.Subscriptions > 0 {
			line += fmt.Sprintf(", %d subscriptions", b.Subscriptions)
		}
		list = append(list, line)
	}
	return strings.Join(list, "; ")
}

// A sessionChange is a command that moves sessions to another state.
type sessionChange struct {
	verb, done, short, long string
	call                    func(ctx context.Context, c *adminapi.Client, id string) (adminapi.Receipt, adminapi.Info, error)
}

var sessionChanges = []sessionChange{
	{
		"kill", "killed", "End sessions at once, on all nodes",
		"End sessions at once, on all nodes. Their clients get 404 and start new ones.",
		func(ctx context.Context, c *adminapi.Client, id string) (adminapi.Receipt, adminapi.Info, error) {
			return c.KillSession(ctx, &adminapi.KillSessionRequest{WriteOptions: onceKey(), ID: id})
		},
	},
	{
		"suspend", "suspended", "Put sessions aside until they are resumed",
		"Put sessions aside: their requests are refused until an administrator resumes them.",
		func(ctx context.Context, c *adminapi.Client, id string) (adminapi.Receipt, adminapi.Info, error) {
			return c.SuspendSession(ctx, &adminapi.SuspendSessionRequest{WriteOptions: onceKey(), ID: id})
		},
	},
	{
		"resume", "resumed", "Make suspended sessions active again",
		"Make suspended sessions active again, whoever suspended them.",
		func(ctx context.Context, c *adminapi.Client, id string) (adminapi.Receipt, adminapi.Info, error) {
			return c.ResumeSession(ctx, &adminapi.ResumeSessionRequest{WriteOptions: onceKey(), ID: id})
		},
	},
}

// maxSessionArgs bounds how many sessions one command line changes.
const maxSessionArgs = 100

func newSessionChangeCommand(a *app, what sessionChange) *cobra.Command {
	return &cobra.Command{
		Use:     what.verb + " ID…",
		Short:   what.short,
		Long:    what.long + " The first one that fails ends the command; those before it are done.",
		Example: "  mcpraft sessions " + what.verb + " 5f3a90c1",
		Args:    cobra.RangeArgs(1, maxSessionArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			type changed struct {
				ID string `json:"id"`
				change
			}
			list := []changed{}
			failed := a.ask(cmd, func(ctx context.Context, c *adminapi.Client) error {
				for _, id := range args {
					receipt, info, err := what.call(ctx, c, id)
					if err != nil {
						return noSession(err)
					}
					list = append(list, changed{id, changeOf(receipt, info)})
				}
				return nil
			})
			if len(list) == 0 {
				return failed
			}
			if err := a.show(list, func(p *page) {
				for _, s := range list {
					p.line("%s session %s  index %d", what.done, s.ID, s.Index)
				}
			}); err != nil {
				return err
			}
			return failed
		},
	}
}
