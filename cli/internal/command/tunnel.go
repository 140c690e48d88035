package command

import (
	"errors"
	"fmt"
	"net"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/connector"
	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

// tunnel is the tree of the drop-in: the connector's flags go before run or after it.
func (c *commands) tunnel() *urfave.Command {
	return &urfave.Command{
		Name: "tunnel", Usage: "run a tunnel's connector, and manage tunnels on an edge", OnUsageError: console.UsageError,
		Flags:  c.connectorFlags(false),
		Action: c.bareTunnel,
		Subcommands: append([]*urfave.Command{
			{
				Name: "run", Usage: "run the connector of a tunnel (the drop-in for cloudflared tunnel run)",
				ArgsUsage: "[TUNNEL]", OnUsageError: console.UsageError,
				Flags: c.connectorFlags(false), Action: c.runTunnel,
			},
			{
				Name: "ready", Usage: "exit with 0 if the connector at --metrics has a connection", OnUsageError: console.UsageError,
				Flags: c.connectorFlags(true), Action: c.readyTunnel,
			},
			c.diagnose().Diag(), c.ingress(),
		}, c.operator().Tunnel()...),
	}
}

// capitalVersion is a third name of --version, which the library does not have.
const capitalVersion = "V"

// bareProgram takes the flags of tunnel. Without any argument it prints the help text as an error.
func (c *commands) bareProgram(ctx *urfave.Context) error {
	if ctx.Bool(capitalVersion) {
		urfave.ShowVersion(ctx)
		return nil
	}
	if ctx.NArg() > 0 || ctx.NumFlags() > 0 {
		return c.bareTunnel(ctx)
	}
	ctx.App.Writer = c.Host.Stderr
	return errors.Join(urfave.ShowAppHelp(ctx), errors.New("no command given"))
}

// bareTunnel runs a quick tunnel if an origin was given, and refuses to guess what else tunnel without a command should do: help
// text with exit code 0 would look like a success to a service manager (docs/spec/lifecycle.md 11.4).
func (c *commands) bareTunnel(ctx *urfave.Context) error {
	if ctx.Args().Present() {
		return console.Fallback(ctx)
	}
	s, file, err := c.connectorSettings()
	if err != nil {
		return err
	}
	switch {
	case s.Text("quick-service") != "" && s.Text("name") == "" && (s.IsSet("url") || s.IsSet("hello-world")):
		return c.runConnector(ctx, true)
	case file != nil && file.Tunnel != "":
		return errors.New("the configuration file names a tunnel; use culvert tunnel run to run it")
	case s.IsSet("name"):
		return errors.New("--name without run makes a tunnel in an account with the vendor, which is a job of cloudflared; on an edge of " +
			"this program culvert tunnel create NAME makes one, and culvert tunnel run NAME runs it")
	case s.IsSet("token"), s.IsSet("token-file"):
		return errors.New("use culvert tunnel run to run a tunnel with a token")
	}
	return errors.New("nothing to run: culvert tunnel run runs a tunnel, culvert tunnel --url ORIGIN a quick tunnel without an account; see " +
		"culvert tunnel --help")
}

func (c *commands) readyTunnel(ctx *urfave.Context) error {
	s, _, err := c.connectorSettings()
	if err != nil {
		return err
	}
	addr := s.Text("metrics")
	if addr == "" {
		return errors.New("tunnel ready needs --metrics, the address of the connector's metrics listener")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("metrics address: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return process.Health(ctx.Context, "http://"+net.JoinHostPort(host, port)+"/ready")
}

// flagsOnly resolves without a file, to find the file.
func (c *commands) flagsOnly() (*settings.Settings, error) {
	return settings.Resolve(c.levels, c.Env, nil, "")
}

func (c *commands) resolve(file *cfdfile.File) (*settings.Settings, error) {
	if file == nil {
		return c.flagsOnly()
	}
	return settings.Resolve(c.levels, c.Env, file.Flags, file.Path)
}

// connectorSettings reads everything that a user gave; the file is nil when there is none.
func (c *commands) connectorSettings() (*settings.Settings, *cfdfile.File, error) {
	s, err := c.flagsOnly()
	if err != nil {
		return nil, nil, err
	}
	file, err := connector.ReadFile(s.Text("config"), c.Home())
	if errors.Is(err, connector.ErrNoFile) {
		return s, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	s, err = c.resolve(file)
	return s, file, err
}
