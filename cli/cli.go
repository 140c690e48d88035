package cli

import (
	"context"
	"os"

	"github.com/culvert-tunnel/culvert/cli/internal/command"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

// Main runs the command line of this process and returns its exit code.
func Main() int {
	ctx, stop := process.Signals(context.Background(), os.Exit)
	defer stop()
	return command.Run(ctx, process.Host{Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr})
}
