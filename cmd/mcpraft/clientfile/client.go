package clientfile

import (
	"path/filepath"
	"strings"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// MaxBytes bounds a file that is edited. Claude Code keeps its own history in the
// same file, which grows to megabytes.
const MaxBytes = 16 << 20

// A Client is an MCP client whose configuration can be edited.
type Client struct {
	Name  string // on the command line
	Title string // for people
	HTTP  bool   // takes URLs; false: commands only
	After string // what makes it read the file again

	path   func(System) string
	format format
}

// A format writes and reads the entries of one kind of file. Put and remove leave
// everything else as it is.
type format interface {
	read(doc []byte) ([]Named, error)
	put(doc []byte, name string, e Entry) ([]byte, error)
	remove(doc []byte, name string) ([]byte, error)
}

// An Entry is one MCP server as a client has it: a URL with headers, or a command.
type Entry struct {
	Transport string            // as the file says: "http", "sse", "stdio" or "" for what the rest shows
	URL       string            //
	Headers   map[string]string //
	Command   string            //
	Args      []string          //
	Env       map[string]string // read only
	Disabled  bool              // read only
}

// A Named is an Entry and its key in the list.
type Named struct {
	Name string
	Entry
}

// System is where files are looked for.
type System struct {
	OS     string // as runtime.GOOS
	Home   string // the user's home directory
	Getenv func(string) string
}

// All are the clients that are known.
func All() []Client {
	return []Client{
		{
			Name: "claude-code", Title: "Claude Code", HTTP: true, After: "start a new session; /mcp shows the server",
			path: func(s System) string {
				if dir := s.Getenv("CLAUDE_CONFIG_DIR"); dir != "" {
					return filepath.Join(dir, ".claude.json")
				}
				return filepath.Join(s.Home, ".claude.json")
			},
			format: jsonFormat{list: "mcpServers", typed: true},
		},
		{
			Name: "claude-desktop", Title: "Claude Desktop", After: "quit Claude Desktop and start it again",
			path:   func(s System) string { return filepath.Join(s.applications(), "Claude", "claude_desktop_config.json") },
			format: jsonFormat{list: "mcpServers"},
		},
		{
			Name: "cursor", Title: "Cursor", HTTP: true, After: "Cursor sees the change; Settings, MCP shows the server",
			path:   func(s System) string { return filepath.Join(s.Home, ".cursor", "mcp.json") },
			format: jsonFormat{list: "mcpServers"},
		},
		{
			Name: "vscode", Title: "VS Code", HTTP: true, After: "VS Code sees the change; \"MCP: List Servers\" starts the server",
			path:   func(s System) string { return filepath.Join(s.applications(), "Code", "User", "mcp.json") },
			format: jsonFormat{list: "servers", typed: true},
		},
		{
			Name: "codex", Title: "Codex", HTTP: true, After: "start Codex again; /mcp shows the server",
			path: func(s System) string {
				if dir := s.Getenv("CODEX_HOME"); dir != "" {
					return filepath.Join(dir, "config.toml")
				}
				return filepath.Join(s.Home, ".codex", "config.toml")
			},
			format: tomlFormat{},
		},
	}
}

// applications is where programs keep what a user configures.
func (s System) applications() string {
	switch s.OS {
	case "darwin":
		return filepath.Join(s.Home, "Library", "Application Support")
	case "windows":
		if dir := s.Getenv("APPDATA"); dir != "" {
			return dir
		}
		return filepath.Join(s.Home, "AppData", "Roaming")
	}
	if dir := s.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(s.Home, ".config")
}

// Names are the names of All.
func Names() []string {
	var names []string
	for _, c := range All() {
		names = append(names, c.Name)
	}
	return names
}

// Lookup is the client of that name.
func Lookup(name string) (Client, error) {
	for _, c := range All() {
		if c.Name == name {
			return c, nil
		}
	}
	return Client{}, fault.New(fault.Invalid, "there is no client %q", name).
		WithHint("known are %s; any other needs the URL of the gateway and a token, which mcpraft token create makes", strings.Join(Names(), ", "))
}

// Path is where c keeps its list of MCP servers.
func (c Client) Path(s System) string { return c.path(s) }

// Get is the entry of that name in doc, false if there is none.
func (c Client) Get(doc []byte, name string) (Entry, bool, error) {
	list, err := c.format.read(doc)
	for _, e := range list {
		if e.Name == name {
			return e.Entry, true, err
		}
	}
	return Entry{}, false, err
}

// Put is doc with e under name, in the place of what was there.
func (c Client) Put(doc []byte, name string, e Entry) ([]byte, error) {
	after, err := c.format.put(doc, name, e)
	if err != nil {
		return nil, err
	}
	if len(after) > MaxBytes {
		return nil, fault.New(fault.TooLarge, "the file would have %d bytes, the limit is %d", len(after), MaxBytes)
	}
	return after, nil
}

// Remove is doc without the entry of that name; doc itself if there is none.
func (c Client) Remove(doc []byte, name string) ([]byte, error) { return c.format.remove(doc, name) }

// Servers are all entries of a file of any client, in their order: told by its
// keys, not by its name.
func Servers(doc []byte) ([]Named, error) {
	list, err := readAnyJSON(doc)
	if err == nil {
		return list, nil
	}
	if servers, tomlErr := (tomlFormat{}).read(doc); tomlErr == nil && len(servers) > 0 {
		return servers, nil
	}
	return nil, err
}
