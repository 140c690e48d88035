package operator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/cli/internal/tail"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

// Tail streams the log lines of a connector.
func (c Commands) Tail(agent string) *urfave.Command {
	return &urfave.Command{
		Name: "tail", Usage: "stream the log lines of a connector", ArgsUsage: "[NAME|ID]", OnUsageError: console.UsageError,
		Flags: adminFlags(
			&urfave.StringFlag{Name: "connector-id", Usage: "`ID` of one connector of the tunnel [$TUNNEL_MANAGEMENT_CONNECTOR]"},
			&urfave.GenericFlag{Name: "event", Value: &tail.Events{}, Usage: "kinds of lines: cloudflared, http, tcp, udp; repeatable " +
				"(default: all) [$TUNNEL_MANAGEMENT_FILTER_EVENTS]"},
			&urfave.StringFlag{Name: "level", Usage: "least level of lines: debug, info, warn or error (default: debug) " +
				"[$TUNNEL_MANAGEMENT_FILTER_LEVEL]"},
			&urfave.StringFlag{Name: "sample", Usage: "share of lines, above 0 and at most 1 (default: 1) [$TUNNEL_MANAGEMENT_FILTER_SAMPLE]"},
			&urfave.StringFlag{Name: "token", Usage: "access `TOKEN`, instead of one from the admin API; others on this host can read it in the " +
				"arguments, so use the variable [$TUNNEL_MANAGEMENT_TOKEN]"},
			&urfave.StringFlag{Name: "edge-url", Usage: "public `URL` of the edge, http(s)://HOST:PORT (default: what the admin API says, and the " +
				"management host with --token) [$CULVERT_EDGE_URL]"},
			&urfave.StringFlag{Name: "management-hostname", Usage: "host of the management service (default: management.argotunnel.com) " +
				"[$TUNNEL_MANAGEMENT_HOSTNAME]"},
			&urfave.StringFlag{Name: "output", Usage: "format: default or json [$TUNNEL_MANAGEMENT_OUTPUT] [$TUNNEL_LOG_OUTPUT]"},
			&urfave.StringFlag{Name: "trace", Hidden: true, Usage: "value of the header Cf-Trace-Id"},
			&urfave.StringFlag{Name: "loglevel", Hidden: true, Usage: "without effect [$TUNNEL_LOGLEVEL]"},
			&urfave.StringFlag{Name: "origincert", Hidden: true, Usage: "without effect: tokens come from the admin API [$TUNNEL_ORIGIN_CERT]"},
		),
		Subcommands: []*urfave.Command{
			c.adminCommand("token", "print an access token for the log stream of a tunnel", "NAME|ID", 1, c.managementToken),
		},
		Action: func(ctx *urfave.Context) error { return c.tail(ctx, agent) },
	}
}

// managementToken prints a token in the form of the reference.
func (c Commands) managementToken(ctx *urfave.Context, api *adminclient.Client) error {
	made, err := api.ManagementToken(ctx.Context, ctx.Args().First(), "logs", actor())
	if err != nil {
		return fmt.Errorf("management token of tunnel %q: %w", ctx.Args().First(), err)
	}
	return json.NewEncoder(c.Host.Stdout).Encode(map[string]string{"token": made.Token})
}

func (c Commands) tail(ctx *urfave.Context, agent string) error {
	ctx, err := interleaved(ctx)
	if err != nil {
		return err
	}
	if ctx.NArg() > 1 {
		return fmt.Errorf("%s needs at most one argument: NAME|ID", ctx.Command.HelpName)
	}
	events := *ctx.Generic("event").(*tail.Events) //nolint:forcetypeassert // the flag's own value
	if len(events) == 0 {
		if err := events.Set(c.Env("TUNNEL_MANAGEMENT_FILTER_EVENTS")); err != nil {
			return err
		}
	}
	sample, err := strconv.ParseFloat(cmp.Or(c.Option(ctx, "sample", "TUNNEL_MANAGEMENT_FILTER_SAMPLE"), "1"), 64)
	if err != nil {
		return fmt.Errorf("--sample: %w", err)
	}
	filters, err := tail.ParseFilters(events, c.Option(ctx, "level", "TUNNEL_MANAGEMENT_FILTER_LEVEL"), sample)
	if err != nil {
		return err
	}
	format, err := tail.FormatOf(cmp.Or(c.Option(ctx, "output", "TUNNEL_MANAGEMENT_OUTPUT"), c.Env("TUNNEL_LOG_OUTPUT")))
	if err != nil {
		return err
	}
	running := ctx.Context // the call of the admin API bounds the other one
	target, err := c.tailTarget(ctx)
	if err != nil {
		return err
	}
	target.Agent = agent
	return tail.Run(running, target, filters, format, c.Host.Stdout)
}

// tailTarget finds out where to ask, and gets a token from the admin API when none is given.
func (c Commands) tailTarget(ctx *urfave.Context) (tail.Target, error) {
	t := tail.Target{
		Token: c.Option(ctx, "token", "TUNNEL_MANAGEMENT_TOKEN"), Connector: c.Option(ctx, "connector-id", "TUNNEL_MANAGEMENT_CONNECTOR"),
		Edge: c.Option(ctx, "edge-url", "CULVERT_EDGE_URL"), Trace: ctx.String("trace"),
		Host: cmp.Or(c.Option(ctx, "management-hostname", "TUNNEL_MANAGEMENT_HOSTNAME"), "management.argotunnel.com"),
	}
	if t.Token == "" {
		if !ctx.Args().Present() {
			return t, errors.New("culvert tail needs the name or id of a tunnel, or an access token in TUNNEL_MANAGEMENT_TOKEN or --token")
		}
		err := c.withAdmin(ctx, func(bounded *urfave.Context, api *adminclient.Client) error {
			made, err := api.ManagementToken(bounded.Context, bounded.Args().First(), "logs", actor())
			if err != nil {
				return fmt.Errorf("management token of tunnel %q: %w", bounded.Args().First(), err)
			}
			t.Token = made.Token
			if t.Edge == "" && len(made.URLs) > 0 {
				t.Edge = seenFrom(c.Option(ctx, "edge-admin", "CULVERT_EDGE_ADMIN"), made.URLs[0])
			}
			return nil
		})
		if err != nil {
			return t, err
		}
	}
	var err error
	if t.Edge != "" {
		t.Roots, err = c.adminRoots(ctx, t.Edge)
	}
	return t, err
}

// seenFrom is the URL of an edge as the user of its admin API reaches it: an edge on another host names itself by its loopback.
func seenFrom(admin, edgeURL string) string {
	a, err := url.Parse(admin)
	u, uerr := url.Parse(edgeURL)
	if err != nil || uerr != nil || !strings.HasPrefix(a.Scheme, "http") {
		return edgeURL
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip.IsLoopback() {
		u.Host = net.JoinHostPort(a.Hostname(), u.Port())
	}
	return u.String()
}

// actor is who asks: the user and the host, so that a second stream of the same person replaces the first one.
func actor() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
