package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/process"
	"github.com/mcpraft/mcpraft/server/front"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// MCP is what clients meet.
type MCP struct {
	AllowedOrigins      []string `yaml:"allowed_origins" help:"Pages that may call, as scheme://host[:port] of their sites. Programs send no origin and are not concerned; with a listener on loopback, pages of this machine may call anyway."`
	RequestTimeout      Duration `yaml:"request_timeout" min:"100ms" max:"1h" help:"Limit of one request to an upstream that does not have its own. Progress extends it."`
	MaxRequests         int      `yaml:"max_requests" min:"1" max:"1000000" help:"Requests that this node works on at once; beyond it they are refused."`
	StreamsPerPrincipal int      `yaml:"streams_per_principal" min:"1" max:"1000000" help:"Streams that one caller may hold open on this node."`
}

// Upstreams is how this node reaches the MCP servers behind the gateway. Which
// there are is committed state: mcpraft upstreams.
type Upstreams struct {
	AllowPrivate bool                      `yaml:"allow_private" help:"They may be at loopback and private addresses. Link-local ones, where clouds keep the secrets of their machines, are refused always."`
	Secrets      map[string]UpstreamSecret `yaml:"secrets" help:"Credentials for them, by the name that mcpraft upstreams add --secret gives; the same on every node. Files are read again when they change."`
	Commands     map[string]Command        `yaml:"commands" help:"Programs that this node may run as stdio upstreams, by the name that mcpraft upstreams add --command gives. Nothing else is ever run, whatever the API is told."`
	CommandFile  string                    `yaml:"command_file" help:"File with more of them, as a mapping of names like commands; it is read again when it changes and may be missing. Not writable by other users."`
}

// A Command is one program that may run as a stdio upstream.
type Command struct {
	Command     string   `yaml:"command" help:"Program: an absolute path, or a name that is looked up in PATH. No shell is between."`
	Args        []string `yaml:"args" help:"Its arguments, each by itself."`
	Dir         string   `yaml:"dir" help:"Working directory. Empty: the root of the file system."`
	Env         []string `yaml:"env" help:"Variables of its environment, as KEY=VALUE."`
	PassEnv     []string `yaml:"pass_env" help:"Names of variables that it gets from the environment of the node; of that it sees nothing else but PATH, HOME, USER, LANG, LC_ALL, TZ and TMPDIR."`
	EnvFiles    []string `yaml:"env_files" help:"Variables whose values are in files, as KEY=/path; they are read at each start."`
	MemoryLimit Size     `yaml:"memory_limit" min:"0B" max:"1TiB" help:"Resident memory of the program and all that it starts; beyond it they are killed and started again. 0B: no limit. Linux only."`
}

// Process is c as what runs.
func (c *Command) Process() process.Command {
	return process.Command{
		Path: c.Command, Args: c.Args, Dir: c.Dir, Env: c.Env, Pass: c.PassEnv, EnvFiles: c.EnvFiles,
		MemoryLimit: c.MemoryLimit.Bytes(),
	}
}

// Validate reports every mistake of c that shows without starting it.
func (c *Command) Validate() error {
	p := c.Process()
	return p.Validate()
}

// An UpstreamSecret is one credential and the header that carries it.
type UpstreamSecret struct {
	File   string `yaml:"file" help:"File with the credential. Not readable by other users."`
	Header string `yaml:"header" help:"Header that carries it."`
	Scheme string `yaml:"scheme" help:"What stands before it. Empty: Bearer in the header Authorization, nothing in others."`
}

// setDefaults is called for each new entry of upstreams.secrets.
func (s *UpstreamSecret) setDefaults() { s.Header = "Authorization" }

func defaultMCP() MCP {
	return MCP{
		RequestTimeout:      Duration(upstream.DefaultTimeout),
		MaxRequests:         front.DefaultRequests,
		StreamsPerPrincipal: front.DefaultStreamsPerPrincipal,
	}
}

// UpstreamSecrets are the credentials for upstreams.
func (c *Config) UpstreamSecrets() map[string]upstream.Secret {
	secrets := make(map[string]upstream.Secret, len(c.Upstreams.Secrets))
	for name, s := range c.Upstreams.Secrets {
		secrets[name] = upstream.Secret{File: s.File, Header: s.Header, Scheme: s.Scheme}
	}
	return secrets
}

func (l *loader) checkGateway() {
	for n, origin := range l.config.MCP.AllowedOrigins {
		if _, err := front.ParseOrigin(origin); err != nil {
			l.wrong(fmt.Sprintf("mcp.allowed_origins[%d]", n), "write it as browsers do: https://app.example, without a path", "%v", err)
		}
	}
	secrets := l.config.UpstreamSecrets()
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		at, s := "upstreams.secrets."+name, secrets[name]
		if s.File == "" {
			l.missing(at+".file", at, "", "the credential is in it")
			continue
		}
		l.checkPath(at+".file", s.File)
		if _, err := upstream.NewSecrets(map[string]upstream.Secret{name: s}); err != nil {
			l.wrong(at, "", "%v", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.config.Upstreams.Commands)) {
		at, c := "upstreams.commands."+name, l.config.Upstreams.Commands[name]
		if err := record.ValidCommand(name); err != nil {
			l.wrong(at, "use a-z, 0-9 and -, at most 63, not - first", "%q cannot name a command", name)
		}
		if err := c.Validate(); err != nil {
			l.wrong(at, "", "%v", err)
		}
	}
	if file := l.config.Upstreams.CommandFile; file != "" {
		l.checkPath("upstreams.command_file", file)
	}
}

// gateway checks the files of upstream secrets.
func (c *fileChecker) gateway() {
	for _, name := range slices.Sorted(maps.Keys(c.Config.Upstreams.Secrets)) {
		s := c.Config.Upstreams.Secrets[name]
		if err := keptFromOthers(s.File); err != nil {
			c.wrong("upstreams.secrets."+name+".file", err)
		}
	}
}
