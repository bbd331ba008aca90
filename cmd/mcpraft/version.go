package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the version of a release, set by the linker (-X main.version=…).
// Empty: what the Go toolchain knows, as for a binary from go install.
var version string

// A buildInfo is what this binary knows about itself.
type buildInfo struct {
	Version  string `json:"version"` // of the module; "devel" when built from a working tree
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a tree with changes that were not committed
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// thisBuild reads what the linker and the Go toolchain wrote into the binary.
func thisBuild() buildInfo {
	b := buildInfo{Version: first(version, "devel"), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; version == "" && v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Revision = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		GroupID: groupRepair,
		Short:   "Print the version of this binary",
		Example: `  mcpraft version
  mcpraft version -o json`,
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			return a.show(b, func(p *page) { p.line("mcpraft %s (%s, %s)", b.Version, b.Platform, b.Go) })
		},
	}
}
