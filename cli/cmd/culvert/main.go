package main

import (
	"context"
	"os"

	"github.com/culvert-tunnel/culvert/cli/internal/command"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

func main() { os.Exit(run()) }

// run runs the command line of this process and returns its exit code.
func run() int {
	ctx, stop := process.Signals(context.Background(), os.Exit)
	defer stop()
	return command.Run(ctx, process.Host{
		Args: os.Args[1:], Program: os.Args[0], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
}
