package console

import (
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/paths"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

// Console is the process as a command sees it.
type Console struct{ Host process.Host }

// Env is the value of an environment variable, "" when it is not set.
func (c Console) Env(name string) string {
	for i := len(c.Host.Environ) - 1; i >= 0; i-- {
		if val, ok := strings.CutPrefix(c.Host.Environ[i], name+"="); ok {
			return val
		}
	}
	return ""
}

// Home is the home directory of the user, "" when there is none.
func (c Console) Home() string { return c.Env("HOME") }

// ExpandHome replaces a leading ~ of path by the home directory.
func (c Console) ExpandHome(path string) string { return paths.ExpandHome(path, c.Home()) }

// EdgeData is where the edge of this machine keeps its data by default.
func (c Console) EdgeData() string { return paths.EdgeData(c.Home()) }

// Option is the value of a command's own flag, or of its variable when the flag is not given.
func (c Console) Option(ctx *urfave.Context, name, variable string) string {
	if ctx.IsSet(name) {
		return ctx.String(name)
	}
	return c.Env(variable)
}

// Println prints a line of results.
func (c Console) Println(args ...any) {
	_, _ = fmt.Fprintln(c.Host.Stdout, args...) // nothing is left to do when standard output is closed
}

// Warn prints a line that is no result.
func (c Console) Warn(args ...any) { c.Host.Errorln(append([]any{"Warning:"}, args...)...) }

// UsageError keeps the library from printing the whole help text over a misspelled flag. It names flags with two dashes, as help texts
// do; the library has one.
func UsageError(ctx *urfave.Context, err error, _ bool) error {
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		return fmt.Errorf("unknown flag --%s; see %s --help", name, helpName(ctx))
	}
	if name, ok := strings.CutPrefix(err.Error(), "flag needs an argument: -"); ok {
		return fmt.Errorf("flag --%s needs a value", name)
	}
	if before, after, ok := strings.Cut(err.Error(), " for flag -"); ok {
		return fmt.Errorf("%s for flag --%s", before, after)
	}
	return err
}

// helpName is the command whose flags are meant, as it is typed.
func helpName(ctx *urfave.Context) string {
	if ctx.Command != nil && ctx.Command.HelpName != "" {
		return strings.TrimSpace(ctx.Command.HelpName)
	}
	return ctx.App.Name
}

// Fallback shows the help text for a command without a subcommand, and reports an unknown subcommand.
func Fallback(ctx *urfave.Context) error {
	if ctx.Args().Present() {
		return fmt.Errorf("unknown command %q; see %s --help", ctx.Args().First(), strings.TrimSpace(ctx.Command.HelpName))
	}
	if ctx.Command.Name == ctx.App.Name || len(ctx.Lineage()) <= 2 {
		return urfave.ShowAppHelp(ctx)
	}
	return urfave.ShowSubcommandHelp(ctx)
}
