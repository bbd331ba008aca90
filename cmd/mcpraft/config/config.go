package config

import (
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/auth"
)

// Config is the configuration of one node. What the cluster shares (upstreams,
// limits of sessions, later roles and schedules) is committed state and is
// changed by command; the section that calls itself a seed is its first value only.
//
// The tags are read by this package: yaml is the key, help the sentence of the
// annotated example and of the schema, enum the words that are allowed, min and
// max the bounds in the notation of the field's type. A field whose name ends in
// File is the path of a file.
type Config struct {
	Version   int       `yaml:"version" min:"1" max:"1" help:"Format of this file."`
	Node      Node      `yaml:"node" help:"Who this node is and where it keeps its data."`
	Listen    Listen    `yaml:"listen" help:"Addresses of this node, as host:port. Anything but loopback needs a TLS profile."`
	TLS       TLS       `yaml:"tls" help:"Certificates, by the name that listen refers to. Files are read again when they change."`
	Cluster   Cluster   `yaml:"cluster" help:"How this node finds the others. A node forms a cluster only when it is told to."`
	Auth      Auth      `yaml:"auth" help:"Who may call."`
	MCP       MCP       `yaml:"mcp" help:"The port that MCP clients call."`
	Upstreams Upstreams `yaml:"upstreams" help:"How this node reaches the MCP servers behind the gateway."`
	Sessions  Sessions  `yaml:"sessions" help:"Rules for MCP sessions. A seed: taken when the cluster is formed, changed by command afterwards."`
	Storage   Storage   `yaml:"storage" help:"Memory and disk of the state machine and its log."`
	Backup    Backup    `yaml:"backup" help:"When backups are taken, where they go, and which are kept."`
	PITR      PITR      `yaml:"pitr" help:"Point-in-time recovery: the archive of the log, beside the backups."`
	Log       Log       `yaml:"log" help:"The log of this process, on standard error."`
	Shutdown  Shutdown  `yaml:"shutdown" help:"What happens on SIGTERM or Ctrl-C; a second one ends the process at once."`
}

// Node is the identity of a node.
type Node struct {
	Name    string `yaml:"name" help:"Name in the cluster: a-z, 0-9 and -, at most 63. Empty: the host name up to its first dot."`
	DataDir string `yaml:"data_dir" help:"Absolute path. Everything this node keeps is below it."`
}

// Listen holds the addresses of a node.
type Listen struct {
	MCP   Listener `yaml:"mcp" help:"MCP clients."`
	Admin Listener `yaml:"admin" help:"Admin API, metrics and health."`
	Peer  Listener `yaml:"peer" help:"The other nodes, over mutual TLS. A node alone on loopback makes a certificate of its own."`
}

// A Listener is one address that a node listens at.
type Listener struct {
	Addr      string `yaml:"addr" help:"host:port. An empty host, 0.0.0.0 or [::] listens on every interface."`
	TLS       string `yaml:"tls" help:"Name of a TLS profile. Empty: plain text, on loopback only. off: plain text anywhere, for a proxy or sidecar that ends TLS in front of it; never for peers."`
	Advertise string `yaml:"advertise" help:"host:port under which others reach it. Empty: addr, or the host of listen.peer.advertise when addr listens on every interface."`
}

// PlainText is the value of Listener.TLS that allows plain text beyond loopback:
// whoever can see the traffic can take its tokens.
const PlainText = "off"

// TLS holds the profiles that listeners refer to.
type TLS struct {
	Profiles map[string]Profile `yaml:"profiles" help:"One entry per profile: cert_file, key_file and, for peers, ca_file."`
}

// A Profile is a certificate and whom it trusts.
type Profile struct {
	CertFile string `yaml:"cert_file" help:"Certificate chain, PEM."`
	KeyFile  string `yaml:"key_file" help:"Private key, PEM. Not readable by other users."`
	CAFile   string `yaml:"ca_file" help:"CA certificates that peers must be signed by, PEM."`
}

// Cluster is how a node finds the others.
type Cluster struct {
	Name            string   `yaml:"name" help:"Name of the cluster: a-z, 0-9 and -, at most 63. It is part of every certificate."`
	BootstrapExpect int      `yaml:"bootstrap_expect" min:"0" max:"5" help:"Form a new cluster once this many nodes (1, 3 or 5) have met. 0: never; join an existing one, or wait for mcpraft cluster add on a member or cluster init on this node."`
	Join            []string `yaml:"join" help:"Peer addresses of nodes to look for, as host:port. This node's own may be among them."`
	NonVoter        bool     `yaml:"non_voter" help:"Stay a replica that serves reads and MCP traffic and never votes."`
	Profile         string   `yaml:"profile" enum:"fast,relaxed" help:"Timing. fast: 300 ms to notice a lost leader. relaxed: 500 ms, for slow disks or links."`
}

// Auth is who may call.
type Auth struct {
	BootstrapTokenFile string            `yaml:"bootstrap_token_file" help:"File with the administrator's token, at least 32 characters, the same on every node. Without it only API tokens that were made before may use the admin API."`
	KeyFile            string            `yaml:"key_file" help:"Key file of the cluster, the same on every node: mcpraft keys generate FILE makes one. It opens the keys that session ids are signed and secrets are sealed with. Empty: a node alone on loopback makes one in its data directory."`
	PublicURL          string            `yaml:"public_url" help:"scheme://host[:port] under which clients reach the MCP port, for the metadata that sends them to an issuer. Empty: made from what listen.mcp advertises, with https unless that is plain text on loopback."`
	Issuers            map[string]Issuer `yaml:"issuers" help:"Who else may vouch for MCP clients, by signing JWTs: one entry per issuer, at most 16."`
}

// An Issuer makes JWTs for MCP clients. Exactly one of its three sources of keys
// is given.
type Issuer struct {
	Issuer        string       `yaml:"issuer" help:"Its name exactly as in the claim iss, usually an https URL; clients are then sent there for a token."`
	Audience      []string     `yaml:"audience" help:"A token must be for one of these: the URL of the gateway, or what the issuer calls it."`
	JWKSURL       string       `yaml:"jwks_url" help:"URL of its public keys, a JWK set; https, or http on loopback."`
	PublicKeyFile string       `yaml:"public_key_file" help:"File with its public key in PEM, or a JWK set."`
	SecretFile    string       `yaml:"secret_file" help:"File with a shared secret of at least 32 characters, for HS256. Not readable by other users."`
	Methods       []string     `yaml:"methods" help:"Signatures that are accepted. Empty: HS256 with a secret, else RS256, ES256 and EdDSA; RS384, RS512, PS256, PS384, PS512 and ES384 must be named."`
	JWKSRefresh   Duration     `yaml:"jwks_refresh" min:"1m" max:"24h" help:"Time between two looks at jwks_url; an unknown key is looked for at once, but once a minute at most."`
	ClockSkew     Duration     `yaml:"clock_skew" min:"0s" max:"30s" help:"How far its clock and ours may differ."`
	Claims        IssuerClaims `yaml:"claims" help:"Which claims say who the caller is."`
	Scopes        []string     `yaml:"scopes" help:"Scopes that a token must have, all of them."`
}

// IssuerClaims are the names of claims.
type IssuerClaims struct {
	Subject string `yaml:"subject" help:"Claim that names the caller; it must be unique and never given to another."`
	Client  string `yaml:"client" help:"Claim that names the client. Empty: azp, else client_id."`
}

// setDefaults is called for each new entry of auth.issuers.
func (i *Issuer) setDefaults() {
	i.JWKSRefresh = Duration(auth.DefaultRefresh)
	i.ClockSkew = Duration(auth.DefaultLeeway)
	i.Claims.Subject = "sub"
}

// Sessions are the first values of the cluster's session settings.
type Sessions struct {
	TTL             Duration `yaml:"ttl" min:"1s" max:"30d" help:"A session without activity for this long expires."`
	MaxTotal        int      `yaml:"max_total" min:"1" max:"100000000" help:"Live sessions in all."`
	MaxPerPrincipal int      `yaml:"max_per_principal" min:"1" max:"100000000" help:"Live sessions of one caller; at the limit the longest idle one is ended."`
	CleanupInterval Duration `yaml:"cleanup_interval" min:"100ms" max:"1h" help:"Time between two rounds of expiry."`
}

// Storage is the memory and disk of the state machine and its log.
type Storage struct {
	Cache    Size `yaml:"cache" min:"1MiB" max:"1TiB" help:"Cache of blocks."`
	MemTable Size `yaml:"memtable" min:"1MiB" max:"1GiB" help:"One table of recent writes; up to four are in memory."`
	Ballast  Size `yaml:"ballast" min:"0B" max:"1TiB" help:"A file that is given up when the disk is full, so that there is room to repair. 0B: none."`
	Scrub    Size `yaml:"scrub_rate" min:"1MiB" max:"4GiB" help:"Bytes per second that the daily check of all data reads."`

	SnapshotEntries int `yaml:"snapshot_entries" min:"64" max:"10000000" help:"Entries of the log after which the state is made durable and the log is cut."`
	TrailingLogs    int `yaml:"trailing_logs" min:"64" max:"10000000" help:"Entries that stay in the log when it is cut, for nodes that were away; one that lacks more is sent the whole state."`
}

// Log is the log of the process.
type Log struct {
	Level  string `yaml:"level" enum:"debug,info,warn,error" help:"Least severity that is written."`
	Format string `yaml:"format" enum:"auto,text,json" help:"auto: text on a terminal, JSON elsewhere."`
}

// Shutdown is what happens when the node is asked to stop.
type Shutdown struct {
	Drain Duration `yaml:"drain" min:"100ms" max:"10m" help:"Time to hand over leadership and finish what was taken before connections are cut."`
}

// Default is the configuration of a node that was told nothing: loopback only,
// and a member of no cluster until it is initialised.
func Default() Config {
	sessions := record.DefaultSessionSettings()
	return Config{
		Version: 1,
		Node:    Node{DataDir: "/var/lib/mcpraft"},
		Listen: Listen{
			MCP:   Listener{Addr: "127.0.0.1:7440"},
			Admin: Listener{Addr: "127.0.0.1:7441"},
			Peer:  Listener{Addr: "127.0.0.1:7442"},
		},
		Cluster: Cluster{Name: "mcpraft", Profile: "fast"},
		MCP:     defaultMCP(),
		Sessions: Sessions{
			TTL:             Duration(sessions.TTL) * Duration(time.Millisecond),
			MaxTotal:        int(sessions.MaxTotal),
			MaxPerPrincipal: int(sessions.MaxPerPrincipal),
			CleanupInterval: Duration(sessions.CleanupInterval) * Duration(time.Millisecond),
		},
		Storage: Storage{
			Cache: 256 << 20, MemTable: 64 << 20, Ballast: 64 << 20, Scrub: 16 << 20,
			SnapshotEntries: raftnode.DefaultSnapshotEntries, TrailingLogs: raftnode.DefaultTrailingLogs,
		},
		Backup:   defaultBackup(),
		PITR:     defaultPITR(),
		Log:      Log{Level: "info", Format: "auto"},
		Shutdown: Shutdown{Drain: Duration(20 * time.Second)},
	}
}

// Settings are s as the record that seeds the cluster.
func (s Sessions) Settings() record.SessionSettings {
	settings := record.DefaultSessionSettings()
	settings.TTL = uint64(s.TTL.Std() / time.Millisecond)
	settings.MaxTotal = uint64(s.MaxTotal)
	settings.MaxPerPrincipal = uint64(s.MaxPerPrincipal)
	settings.CleanupInterval = uint64(s.CleanupInterval.Std() / time.Millisecond)
	return settings
}
