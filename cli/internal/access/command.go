package access

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/cli/internal/runlog"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

// commands are those of one execution.
type commands struct{ console.Console }

// Command is the tree of culvert access, which is also culvert forward.
func Command(c console.Console) *urfave.Command {
	cmd := commands{c}
	hostname := &urfave.StringFlag{Name: "hostname", Aliases: []string{"tunnel-host", "T"}, Usage: "`NAME` of the application " +
		"[$TUNNEL_SERVICE_HOSTNAME]"}
	return &urfave.Command{
		Name: "access", Aliases: []string{"forward"}, Usage: "reach a TCP service behind a host name of an edge", Action: console.Fallback,
		OnUsageError: console.UsageError,
		Flags:        []urfave.Flag{&urfave.BoolFlag{Name: "fedramp", Hidden: true}},
		Subcommands: append([]*urfave.Command{
			{
				Name: "tcp", Aliases: []string{"ssh", "rdp", "smb"}, OnUsageError: console.UsageError, ArgsUsage: "[LISTENER]",
				Usage: "carry standard input and output, or the connections to a listener, to the application",
				Flags: []urfave.Flag{
					hostname,
					&urfave.StringFlag{Name: "destination", Usage: "`HOST:PORT` behind a jump host (bastion) [$TUNNEL_SERVICE_DESTINATION]"},
					&urfave.StringFlag{Name: "url", Aliases: []string{"listener", "L"}, Usage: "`HOST:PORT` to listen on, instead of standard " +
						"input and output [$TUNNEL_SERVICE_URL]"},
					&urfave.StringSliceFlag{Name: "header", Aliases: []string{"H"}, Usage: "`FIELD` to send, as NAME: VALUE, repeatable"},
					&urfave.StringFlag{Name: "service-token-id", Aliases: []string{"id"}, Usage: "`ID` of a service token " +
						"[$TUNNEL_SERVICE_TOKEN_ID]"},
					&urfave.StringFlag{Name: "service-token-secret", Aliases: []string{"secret"}, Usage: "its `SECRET`; better given in its " +
						"variable [$TUNNEL_SERVICE_TOKEN_SECRET]"},
					&urfave.StringFlag{Name: "log-level", Aliases: []string{"loglevel"}, Value: "info", Usage: "least level that is logged"},
					&urfave.StringFlag{Name: "logfile", Usage: "`FILE` that log lines are appended to"},
					&urfave.StringFlag{Name: "log-directory", Usage: "`DIR` for a log file"},
					&urfave.StringFlag{Name: "connect-to", Hidden: true, Usage: "other place: HOST, HOST:PORT or SNI:PORT:HOST"},
					&urfave.Uint64Flag{Name: "debug-stream", Hidden: true},
				},
				Action: cmd.tcp,
			},
			{
				Name: "ssh-config", Usage: "print an entry for ssh_config", OnUsageError: console.UsageError,
				Flags:  []urfave.Flag{hostname, &urfave.BoolFlag{Name: "short-lived-cert", Hidden: true}},
				Action: cmd.sshConfig,
			},
		}, withAccount("login", "curl", "token", "ssh-gen")...),
	}
}

// withAccount are the commands that need an identity at the vendor. They say so, whatever their flags.
func withAccount(names ...string) []*urfave.Command {
	var out []*urfave.Command
	for _, name := range names {
		out = append(out, &urfave.Command{
			Name: name, Usage: "not in this program: it needs an account with the vendor", Hidden: true, SkipFlagParsing: true,
			Action: func(*urfave.Context) error {
				return fmt.Errorf("access %s is a command for an account with the vendor: use cloudflared for it", name)
			},
		})
	}
	return out
}

func (c commands) tcp(ctx *urfave.Context) error {
	if ctx.NArg() > 1 {
		return fmt.Errorf("unexpected argument %q", ctx.Args().Get(1))
	}
	listener := ctx.Args().First()
	if listener == "" {
		listener = c.Option(ctx, "url", "TUNNEL_SERVICE_URL")
	}
	log, err := c.openLog(ctx, listener != "")
	if err != nil {
		return err
	}
	defer log.Close()
	carrier, err := c.carrier(ctx, log.Logger)
	if err != nil {
		return err
	}
	if listener != "" {
		addr, err := listenAddress(listener)
		if err != nil {
			return err
		}
		return carrier.listen(ctx.Context, addr)
	}
	if c.Host.Stdin == nil {
		return errors.New("there is no standard input; give a listener by --url HOST:PORT")
	}
	if err := carrier.stream(ctx.Context, c.Host.Stdin, c.Host.Stdout); err != nil {
		return fmt.Errorf("%s: %w", carrier.url.Host, err)
	}
	return nil
}

// openLog opens the log that the flags describe. Lines go to standard error only for a listener: without one it is the terminal of the
// program that started this one.
func (c commands) openLog(ctx *urfave.Context, console bool) (*runlog.Log, error) {
	s, err := settings.Resolve(nil, func(string) string { return "" }, nil, "")
	if err != nil {
		return nil, err
	}
	stderr := io.Discard
	if console {
		stderr = c.Host.Stderr
	}
	for flag, setting := range map[string]string{"log-level": "loglevel", "logfile": "logfile", "log-directory": "log-directory"} {
		if val := ctx.String(flag); val != "" {
			s = s.With(setting, val)
		}
	}
	return runlog.Open(s, stderr, c.Home()), nil
}

// carrier is what the flags and variables describe.
func (c commands) carrier(ctx *urfave.Context, logger *slog.Logger) (*carrier, error) {
	u, err := target(c.Option(ctx, "hostname", "TUNNEL_SERVICE_HOSTNAME"))
	if err != nil {
		return nil, err
	}
	host := u.Host
	serverName := ""
	if to := ctx.String("connect-to"); to != "" {
		if serverName, err = override(u, to); err != nil {
			return nil, err
		}
	}
	if ctx.IsSet("service-token-secret") {
		c.Warn("--service-token-secret is visible to every user of this host; use TUNNEL_SERVICE_TOKEN_SECRET")
	}
	fields := headers(ctx.StringSlice("header"))
	for name, val := range map[string]string{
		headerID:          c.Option(ctx, "service-token-id", "TUNNEL_SERVICE_TOKEN_ID"),
		headerSecret:      c.Option(ctx, "service-token-secret", "TUNNEL_SERVICE_TOKEN_SECRET"),
		headerDestination: c.Option(ctx, "destination", "TUNNEL_SERVICE_DESTINATION"),
	} {
		if val != "" {
			fields.Set(name, val)
		}
	}
	fields.Set("User-Agent", "culvert/"+process.Version())
	return newCarrier(u, host, fields, serverName, logger), nil
}

func (c commands) sshConfig(ctx *urfave.Context) error {
	if ctx.Bool("short-lived-cert") {
		return errors.New("short-lived certificates need an account with the vendor: use cloudflared for them")
	}
	host := c.Option(ctx, "hostname", "TUNNEL_SERVICE_HOSTNAME")
	if host == "" {
		host = "[your hostname]"
	}
	c.Println(strings.Join([]string{
		"Add to your ~/.ssh/config:", "", "Host " + host, "  ProxyCommand " + c.Host.Name() + " access ssh --hostname %h", "",
	}, "\n"))
	return nil
}
