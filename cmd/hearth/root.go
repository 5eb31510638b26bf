package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// startedKey marks the root command once a command of ours runs: errors from
// before are mistakes in the command line.
const startedKey = "started"

func started(root *cobra.Command) bool { return root.Annotations[startedKey] != "" }

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "hearth",
		Short: "Serve local language models over HTTP and MCP",
		Long: `Hearth runs GGUF models on this machine and serves them over an OpenAI-compatible
HTTP API and over MCP.

Exit codes:
    0  done
    1  failed
    2  wrong usage of a command or flag
    3  the configuration cannot be used
    4  a model cannot be loaded
    5  the server that was named cannot be reached
    6  a batch is done, but some of its requests failed
  130  interrupted (Ctrl-C)`,
		Example: `  hearth serve --model model.gguf
  hearth chat
  echo "Name three rivers." | hearth chat
  hearth check`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Annotations:   map[string]string{},
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			cmd.Root().Annotations[startedKey] = "yes"
		},
	}
	root.PersistentFlags().String("config", "", "configuration file (also: HEARTH_CONFIG, ./hearth.yaml, /etc/hearth/hearth.yaml)")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml") // the flag exists
	root.AddCommand(
		newServeCommand(), newChatCommand(), newGenerateCommand(), newEmbedCommand(), newRerankCommand(), newModelsCommand(),
		newCheckCommand(), newConfigCommand(), newMCPCommand(), newToolsCommand(), newApprovalsCommand(), newBatchCommand(), newBenchCommand(), newVersionCommand(), newTrialCommand(),
	)
	return root
}

// configFlag returns what --config says.
func configFlag(cmd *cobra.Command) string {
	s, _ := cmd.Flags().GetString("config") // the root has it
	return s
}

// isTerminal reports whether a stream of a command is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalWidth returns the columns of the terminal that w is, 80 if it is none.
func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}
