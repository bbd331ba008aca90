package router

import "slices"

// severities are the levels of log messages (RFC 5424), the least severe first.
var severities = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// severity orders the levels; -1 stands for what is none of them.
func severity(level string) int { return slices.Index(severities, level) }
