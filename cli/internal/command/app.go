package command

import (
	"context"
	"fmt"
	"io"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

// Run executes the command line of host and returns the exit code: 0, or 1 for every error.
func Run(ctx context.Context, host process.Host) int {
	c := &commands{host: host, code: process.ExitOK}
	err := c.app().RunContext(ctx, append([]string{"culvert"}, host.Args...))
	if err == nil {
		return c.code
	}
	for _, line := range strings.Split(strings.TrimSpace(err.Error()), "\n") {
		_, _ = fmt.Fprintln(host.Stderr, line) // nothing is left to do when standard error is closed
	}
	return process.ExitFailure
}

// commands is one execution of the command line.
type commands struct {
	host process.Host
	// levels are the connector's flags as given before tunnel, after it, and after the command below it.
	levels []settings.Level
	// code is the exit code of a command that reports its errors itself.
	code int
}

func (c *commands) app() *urfave.App {
	return &urfave.App{
		Name:           "culvert",
		Usage:          "a tunnel from a private service to the outside, without an open port",
		UsageText:      "culvert up | culvert tunnel run | culvert COMMAND --help",
		Version:        process.Version(),
		Writer:         c.host.Stdout,
		ErrWriter:      io.Discard,
		ExitErrHandler: func(*urfave.Context, error) {}, // Run prints, and the caller exits
		OnUsageError:   usageError,
		Flags:          c.connectorFlags(true),
		Action:         c.fallback,
		Commands: append([]*urfave.Command{
			c.up(), c.tunnel(), c.route(), c.hello(), c.linkCerts(), c.storeUsers(), c.healthcheck(), c.version(),
		}, c.services()...),
	}
}

// usageError keeps the library from printing the whole help text over a misspelled flag.
func usageError(_ *urfave.Context, err error, _ bool) error {
	const undefined = "flag provided but not defined: "
	if name, ok := strings.CutPrefix(err.Error(), undefined); ok {
		return fmt.Errorf("unknown flag %s", name)
	}
	return err
}

// fallback shows the help text for a command without a subcommand, and reports an unknown subcommand.
func (c *commands) fallback(ctx *urfave.Context) error {
	if ctx.Args().Present() {
		return fmt.Errorf("unknown command %q; see %s --help", ctx.Args().First(), strings.TrimSpace(ctx.Command.HelpName))
	}
	if ctx.Command.Name == "culvert" || len(ctx.Lineage()) <= 2 {
		return urfave.ShowAppHelp(ctx)
	}
	return urfave.ShowSubcommandHelp(ctx)
}

// connectorFlags makes one level of the connector's flags. Aliases are flags of their own that share the value, so that
// the library never copies one into the other.
func (c *commands) connectorFlags(hidden bool) []urfave.Flag {
	level := settings.NewLevel()
	c.levels = append(c.levels, level)
	var flags []urfave.Flag
	for _, v := range level {
		usage := v.Flag.Usage
		for _, env := range v.Flag.Env {
			usage += " [$" + env + "]"
		}
		hide := hidden || v.Flag.Effect == settings.Ignored
		flags = append(flags, &urfave.GenericFlag{Name: v.Flag.Name, Usage: usage, Value: v, Hidden: hide})
		for _, alias := range v.Flag.Aliases {
			flags = append(flags, &urfave.GenericFlag{Name: alias, Usage: usage, Value: v, Hidden: true})
		}
	}
	return flags
}

// env is the value of a variable of the host.
func (c *commands) env(name string) string {
	for i := len(c.host.Environ) - 1; i >= 0; i-- {
		if val, ok := strings.CutPrefix(c.host.Environ[i], name+"="); ok {
			return val
		}
	}
	return ""
}

// option is the value of a command's own flag, or of its variable when the flag is not given.
func (c *commands) option(ctx *urfave.Context, name, variable string) string {
	if ctx.IsSet(name) {
		return ctx.String(name)
	}
	return c.env(variable)
}

func (c *commands) println(args ...any) {
	_, _ = fmt.Fprintln(c.host.Stdout, args...) // nothing is left to do when standard output is closed
}
