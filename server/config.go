package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/archive"
	"github.com/mcpraft/mcpraft/server/auth"
)

// DefaultDrain is how long a stop waits for what was taken.
const DefaultDrain = 20 * time.Second

// Config is what a process is made of. Listeners are handed in open and are
// closed by Run.
type Config struct {
	// Node is the node of the cluster. Fatal, Metrics and Logger are filled in.
	Node raftnode.Config

	Admin    net.Listener // of the admin API, metrics and health
	AdminTLS *tls.Config  // nil: plain text, for loopback or behind a proxy
	MCP      net.Listener // of the MCP front
	MCPTLS   *tls.Config  // nil: plain text, for loopback or behind a proxy

	Auth        auth.Options            // who may call, and the root keys of the cluster
	Gateway     Gateway                 // the message plane
	Backup      archive.Options         // where backups and the archived log go; zero: nowhere
	Seed        *record.SessionSettings // first session settings of a cluster that this node forms; nil: the defaults
	Drain       time.Duration           // how long a stop waits for what was taken; 0 means DefaultDrain
	MemoryLimit int64                   // bytes that the Go runtime aims to stay below; 0: GOMEMLIMIT, else a share of the machine; below 0: leave it alone
	Logger      *slog.Logger            // nil means discard
}

// Validate reports every mistake in c beside those of c.Node.
func (c *Config) Validate() error {
	var errs []error
	if c.Admin == nil {
		errs = append(errs, errors.New("admin: no listener"))
	}
	if c.MCP == nil {
		errs = append(errs, errors.New("mcp: no listener"))
	}
	if err := c.Auth.Validate(); err != nil {
		errs = append(errs, err)
	}
	if err := c.Gateway.Validate(); err != nil {
		errs = append(errs, err)
	}
	if err := c.Backup.PITR.Validate(); err != nil {
		errs = append(errs, err)
	}
	if c.Backup.PITR.Enabled && c.Backup.Store == nil {
		errs = append(errs, errors.New("backup: the log is to be archived and there is no destination"))
	}
	if c.Drain < 0 {
		errs = append(errs, fmt.Errorf("drain: %v is negative", c.Drain))
	}
	if c.Seed != nil {
		if err := c.Seed.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Drain == 0 {
		c.Drain = DefaultDrain
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
