// Package clientfile edits the configuration files of MCP clients: it reads,
// adds, replaces and removes one entry of their lists of MCP servers.
//
// Where a client keeps its file, under which key, and how it writes a server is
// one row of [All]. A file belongs to its user: everything but the one entry
// stays byte for byte as it was, comments and spelling included, and a file that
// cannot be edited that way is refused rather than written anew. JSON files may
// have comments and trailing commas, as the editors allow.
//
// The package touches no disk and knows nothing of clusters.
package clientfile
