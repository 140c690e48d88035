package operator

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

// Route is the tree of culvert route, which is also culvert tunnel route.
func (c Commands) Route() *urfave.Command {
	return &urfave.Command{
		Name: "route", Usage: "say which hosts and public ports go to which tunnel", Action: console.Fallback, OnUsageError: console.UsageError,
		Subcommands: []*urfave.Command{
			c.adminCommand("add", "send a host (exact, *.domain or *) or a public port (tcp://:PORT, udp://:PORT) to a tunnel",
				"HOST|PORT TUNNEL", 2, c.addRoute,
				&urfave.StringFlag{Name: "to", Usage: "of a port: `IP:PORT` in the tunnel's private network"},
				&urfave.StringFlag{Name: "host", Usage: "of a tcp port, instead of --to: `NAME` of an ingress rule with a stream service (ssh://, " +
					"tcp://, ...)"},
				&urfave.StringFlag{Name: "proxy-protocol", Usage: "of a tcp port: tell the origin the visitor's address by the PROXY protocol, " +
					"`v1|v2`"},
				&urfave.StringFlag{Name: "idle", Usage: "of a port: end what carried nothing for this `TIME`, such as 1h (default: the edge's " +
					"setting)"}),
			c.adminCommand("list", "list routes", "", 0, c.listRoutes, outputFlag()),
			c.adminCommand("delete", "delete the route of a host or a port", "HOST|PORT", 1, c.deleteRoute),
			c.adminCommand("dns", "send a host to a tunnel, as route add, with the arguments of cloudflared", "TUNNEL HOST", 2, c.routeDNS,
				&urfave.BoolFlag{Name: "overwrite-dns", Aliases: []string{"f"}, Usage: "take the host from another tunnel"}),
			absent("lb", "an edge of this program has no load balancers; replicas of a connector share a tunnel"),
			absent("ip", "an edge of this program has no routed networks; a port leads to an address behind a tunnel: route add tcp://:PORT "+
				"TUNNEL --to IP:PORT"),
		},
	}
}

func (c Commands) addRoute(ctx *urfave.Context, api *adminclient.Client) error {
	name, ref := ctx.Args().Get(0), ctx.Args().Get(1)
	target := adminclient.PortTarget{
		To: ctx.String("to"), HostName: ctx.String("host"), ProxyProtocol: ctx.String("proxy-protocol"), Idle: ctx.String("idle"),
	}
	r, err := api.AddPort(ctx.Context, name, ref, target)
	if err != nil {
		return fmt.Errorf("add route %s to tunnel %q: %w", name, ref, err)
	}
	if r.Bound != "" {
		c.Println(fmt.Sprintf("%s goes to %s of tunnel %s; it listens on %s", r.Host, destination(r), r.TunnelID, r.Bound))
		return nil
	}
	c.Println(fmt.Sprintf("%s goes to tunnel %s", r.Host, r.TunnelID))
	return nil
}

// destination says where the traffic of a port goes.
func destination(r adminclient.Route) string {
	out := r.To
	if r.HostName != "" {
		out = "host " + r.HostName
	}
	if r.ProxyProtocol != "" {
		out += " (PROXY protocol " + r.ProxyProtocol + ")"
	}
	return cmp.Or(out, "-")
}

// state says whether a port is open; a host always is.
func state(r adminclient.Route) string {
	switch {
	case r.Fault != "":
		return "not open: " + strings.TrimPrefix(r.Fault, "route "+r.Host+": ")
	case r.Bound != "":
		return "open"
	default:
		return "-"
	}
}

func (c Commands) listRoutes(ctx *urfave.Context, api *adminclient.Client) error {
	list, err := api.ListRoutes(ctx.Context)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	return c.table(ctx, list, "ROUTE\tTUNNEL\tID\tTO\tSTATE", func(w *tabwriter.Writer) {
		for _, r := range list {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Host, r.TunnelName, r.TunnelID, destination(r), state(r))
		}
	})
}

func (c Commands) deleteRoute(ctx *urfave.Context, api *adminclient.Client) error {
	name := ctx.Args().First()
	if err := api.DeleteRoute(ctx.Context, name); err != nil {
		return fmt.Errorf("delete route %s: %w", name, err)
	}
	c.Println("Deleted route", name)
	return nil
}
