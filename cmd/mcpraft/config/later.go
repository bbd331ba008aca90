package config

import (
	"slices"
	"strings"
)

// later are the keys that belong to capabilities of later versions; "*" stands
// for any name. They are refused like every unknown key, but as what they are:
// whoever writes them has read about them and did not mistype. A key moves from
// here into Config with the capability that reads it.
var later = []string{
	"admin", "audit", "cache", "firewall", "keys", "limits", "snapshot", "supervision", "telemetry",
	"auth.anonymous", "auth.rbac",
	"backup.alert_if_older", "backup.enabled", "backup.replicas", "backup.retention_days",
	"cluster.autopilot", "cluster.raft",
	"listen.admin.h2", "listen.admin.h3", "listen.admin.proxy_protocol", "listen.admin.max_body",
	"listen.mcp.h2", "listen.mcp.h3", "listen.mcp.proxy_protocol", "listen.mcp.max_body",
	"log.redact", "log.source",
	"mcp.list_page_size", "mcp.naming", "mcp.protocol_versions", "mcp.session",
	"node.id", "node.labels", "node.zone",
	"shutdown.force_after",
	"storage.compaction_concurrency", "storage.engine", "storage.fsync", "storage.min_free_disk",
	"tls.profiles.*.auto_dev_ca", "tls.profiles.*.client_ca_file", "tls.profiles.*.min_version", "tls.profiles.*.reload",
	"upstreams.breaker", "upstreams.health", "upstreams.pool", "upstreams.retry", "upstreams.stdio",
}

// isLater reports whether path is one of later.
func isLater(path string) bool {
	if slices.Contains(later, path) {
		return true
	}
	parts := strings.Split(path, ".")
	if len(parts) == 4 && parts[0] == "tls" {
		parts[2] = "*"
		return slices.Contains(later, strings.Join(parts, "."))
	}
	return false
}
