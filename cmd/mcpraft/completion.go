package main

import (
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout bounds what the completion of an argument may ask a cluster.
const completionTimeout = 500 * time.Millisecond

func newCompletionCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		GroupID:   groupRepair,
		Short:     "Print a script that teaches the shell to complete commands",
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		Example: `  source <(mcpraft completion bash)
  mcpraft completion zsh > "${fpath[1]}/_mcpraft"
  mcpraft completion fish > ~/.config/fish/completions/mcpraft.fish`,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			default:
				return root.GenPowerShellCompletionWithDesc(out)
			}
		},
	}
}
