package command

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/cli/internal/operator"
	"github.com/culvert-tunnel/culvert/cli/internal/service"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

// Run executes the command line of host and returns the exit code: 0, or 1 for every error.
func Run(ctx context.Context, host process.Host) int {
	c := &commands{Console: console.Console{Host: host}, code: process.ExitOK}
	err := c.app().RunContext(ctx, append([]string{host.Name()}, host.Args...))
	if err == nil {
		return c.code
	}
	for _, line := range strings.Split(strings.TrimSpace(err.Error()), "\n") {
		host.Errorln(line)
	}
	return process.ExitFailure
}

// commands is one execution of the command line.
type commands struct {
	console.Console
	// levels are the connector's flags as given before tunnel, after it, and after the command below it.
	levels []settings.Level
	// report is what the connector uploads as its local configuration.
	report atomic.Pointer[[]byte]
	// code is the exit code of a command that reports its errors itself.
	code int
}

func (c *commands) app() *urfave.App {
	return &urfave.App{
		Name:           c.Host.Name(),
		Usage:          "a tunnel from a private service to the outside, without an open port",
		UsageText:      "culvert up | culvert tunnel run | culvert COMMAND --help",
		Version:        process.Version(),
		Writer:         c.Host.Stdout,
		ErrWriter:      io.Discard,
		ExitErrHandler: func(*urfave.Context, error) {}, // Run prints, and the caller exits
		OnUsageError:   console.UsageError,
		Flags:          append(c.connectorFlags(true), &urfave.BoolFlag{Name: capitalVersion, Hidden: true}),
		Action:         c.bareProgram,
		Commands: slices.Concat(
			[]*urfave.Command{c.up(), c.tunnel()},
			c.operator().TopLevel("culvert/"+process.Version()),
			c.operator().Supervisor(),
			[]*urfave.Command{service.Hello(c.Console), c.healthcheck(), c.version(), c.diagnose().Check()},
			service.Commands(c.Console, func(code int) { c.code = code }, c.configFile),
		),
	}
}

// connectorFlags makes one level of the connector's flags. Aliases are flags of their own that share the value, so that
// the library never copies one into the other.
func (c *commands) connectorFlags(hidden bool) []urfave.Flag {
	level := settings.NewLevel()
	c.levels = append(c.levels, level)
	var flags []urfave.Flag
	for _, v := range level {
		usage := v.Flag.Usage
		if v.Flag.Effect != settings.Acts {
			usage = "no effect: " + usage
		}
		for _, env := range v.Flag.Env {
			usage += " [$" + env + "]"
		}
		hide := hidden || v.Flag.Effect == settings.Ignored
		flags = append(flags, newFlag(v.Flag.Name, usage, v, hide))
		for _, alias := range v.Flag.Aliases {
			flags = append(flags, newFlag(alias, usage, v, true))
		}
	}
	return flags
}

// oneNameFlag is a flag without aliases. The library searches all flags for each flag, and computes their names by regular
// expressions each time: with a hundred flags that took most of the time of a short command.
type oneNameFlag struct {
	*urfave.GenericFlag
	names []string
}

func newFlag(name, usage string, v *settings.Value, hidden bool) oneNameFlag {
	return oneNameFlag{&urfave.GenericFlag{Name: name, Usage: usage, Value: v, Hidden: hidden}, []string{name}}
}

// Names is the name of the flag.
func (f oneNameFlag) Names() []string { return f.names }

// operator are the commands against an edge.
func (c *commands) operator() operator.Commands {
	return operator.Commands{
		Console: c.Console,
		Exit:    func(code int) { c.code = code },
	}
}
