package operator

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

// tunnelDocument and the types below are the JSON of the reference's list and info, which scripts read (docs/spec/lifecycle.md 11.6).
type tunnelDocument struct {
	ID        tunnel.ID `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	// DeletedAt is always zero: the list has only tunnels that exist.
	DeletedAt   time.Time            `json:"deleted_at"`
	Connections []connectionDocument `json:"connections"`
}

type connectionDocument struct {
	ColoName           string    `json:"colo_name"`
	ID                 string    `json:"id"`
	IsPendingReconnect bool      `json:"is_pending_reconnect"`
	OriginIP           string    `json:"origin_ip"`
	OpenedAt           time.Time `json:"opened_at"`
}

type infoDocument struct {
	ID         tunnel.ID           `json:"id"`
	Name       string              `json:"name"`
	CreatedAt  time.Time           `json:"createdAt"`
	Connectors []connectorDocument `json:"conns"`
}

type connectorDocument struct {
	ID          tunnel.ConnectorID   `json:"id"`
	Features    []string             `json:"features"`
	Version     string               `json:"version"`
	Arch        string               `json:"arch"`
	RunAt       time.Time            `json:"run_at"`
	Connections []connectionDocument `json:"conns"`
}

// filter is what --id, --name and their like leave of a list.
type filter struct {
	id, name, prefix, notPrefix string
	at                          time.Time // zero is now
	sortBy                      string
	invert                      bool
}

func newFilter(ctx *urfave.Context) (filter, error) {
	f := filter{
		id: ctx.String("id"), name: ctx.String("name"), prefix: ctx.String("name-prefix"), notPrefix: ctx.String("exclude-name-prefix"),
		sortBy: ctx.String("sort-by"), invert: ctx.Bool("invert-sort"),
	}
	if text := ctx.String("when"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return f, fmt.Errorf("--when %q is not a time in RFC 3339 form", text)
		}
		f.at = at
	}
	if !slices.Contains([]string{"name", "id", "createdAt", "deletedAt", "numConnections"}, f.sortBy) {
		return f, fmt.Errorf("--sort-by %q is none of name, id, createdAt, deletedAt, numConnections", f.sortBy)
	}
	return f, nil
}

// keep reports whether a tunnel is listed.
func (f filter) keep(t adminclient.Tunnel) bool {
	switch {
	case f.id != "" && !strings.EqualFold(f.id, t.ID.String()), f.name != "" && f.name != t.Name:
		return false
	case !strings.HasPrefix(t.Name, f.prefix), f.notPrefix != "" && strings.HasPrefix(t.Name, f.notPrefix):
		return false
	}
	return f.at.IsZero() || !t.CreatedAt.After(f.at)
}

// apply gives the tunnels that are listed, in order.
func (f filter) apply(list []adminclient.Tunnel) []adminclient.Tunnel {
	list = slices.DeleteFunc(list, func(t adminclient.Tunnel) bool { return !f.keep(t) })
	slices.SortStableFunc(list, func(a, b adminclient.Tunnel) int {
		order := cmp.Compare(a.Name, b.Name)
		switch f.sortBy {
		case "id":
			order = cmp.Compare(a.ID.String(), b.ID.String())
		case "createdAt":
			order = a.CreatedAt.Compare(b.CreatedAt)
		case "numConnections":
			order = cmp.Compare(a.Connections, b.Connections)
		}
		if f.invert {
			return -order
		}
		return order
	})
	return list
}

func listFlags() []urfave.Flag {
	return []urfave.Flag{
		outputFlag(),
		&urfave.StringFlag{Name: "id", Aliases: []string{"i"}, Usage: "only the tunnel with this `ID`"},
		&urfave.StringFlag{Name: "name", Aliases: []string{"n"}, Usage: "only the tunnel with this `NAME`"},
		&urfave.StringFlag{Name: "name-prefix", Aliases: []string{"np"}, Usage: "only tunnels whose names begin with `TEXT`"},
		&urfave.StringFlag{Name: "exclude-name-prefix", Aliases: []string{"enp"}, Usage: "no tunnels whose names begin with `TEXT`"},
		&urfave.StringFlag{Name: "when", Aliases: []string{"w"}, Usage: "only tunnels that existed at this `TIME` (RFC 3339)"},
		&urfave.StringFlag{Name: "sort-by", Value: "name", Usage: "`FIELD`: name, id, createdAt or numConnections"},
		&urfave.BoolFlag{Name: "invert-sort", Usage: "in the opposite order"},
		&urfave.BoolFlag{Name: "show-deleted", Aliases: []string{"d"}, Hidden: true, Usage: "no effect: deleted tunnels are not listed"},
		recentFlag(),
	}
}

func recentFlag() urfave.Flag {
	return &urfave.BoolFlag{
		Name: "show-recently-disconnected", Aliases: []string{"rd"}, Hidden: true, Usage: "no effect: only connections that exist are listed",
	}
}

func (c Commands) listTunnels(ctx *urfave.Context, api *adminclient.Client) error {
	f, err := newFilter(ctx)
	if err != nil {
		return err
	}
	all, err := api.ListTunnels(ctx.Context)
	if err != nil {
		return fmt.Errorf("list tunnels: %w", err)
	}
	conns, err := api.ListConnections(ctx.Context)
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	if ctx.Bool("show-deleted") {
		c.Warn("--show-deleted has no effect: deleted tunnels are not listed")
	}
	list := f.apply(all)
	out := []tunnelDocument{}
	for _, t := range list {
		out = append(out, tunnelDocument{ID: t.ID, Name: t.Name, CreatedAt: t.CreatedAt, Connections: connectionsOf(conns, t.ID)})
	}
	return c.table(ctx, out, "ID\tNAME\tCREATED\tCONNECTIONS", func(w *tabwriter.Writer) {
		for _, t := range list {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", t.ID, t.Name, t.CreatedAt.UTC().Format(time.RFC3339), t.Connections)
		}
	})
}

func connectionsOf(all []adminclient.Connection, id tunnel.ID) []connectionDocument {
	out := []connectionDocument{}
	for _, k := range all {
		if k.TunnelID == id && k.State == active {
			out = append(out, document(k))
		}
	}
	return out
}

// active is the state of a connection that takes requests.
const active = "active"

func document(k adminclient.Connection) connectionDocument {
	origin := k.RemoteAddr
	if i := strings.LastIndexByte(origin, ':'); i >= 0 {
		origin = strings.Trim(origin[:i], "[]")
	}
	return connectionDocument{ColoName: k.EdgeAddr, ID: k.ID, OriginIP: origin, OpenedAt: k.Since}
}

// info shows the connectors of a tunnel.
func (c Commands) info(ctx *urfave.Context, api *adminclient.Client) error {
	ref := ctx.Args().First()
	t, err := api.GetTunnel(ctx.Context, ref)
	if err != nil {
		return fmt.Errorf("info of tunnel %q: %w", ref, err)
	}
	conns, err := api.ListConnections(ctx.Context)
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	out := infoDocument{ID: t.ID, Name: t.Name, CreatedAt: t.CreatedAt, Connectors: connectors(conns, t.ID)}
	if ctx.String("output") == "text" {
		c.Println(fmt.Sprintf("NAME:     %s\nID:       %s\nCREATED:  %s\n", t.Name, t.ID, t.CreatedAt.UTC().Format(time.RFC3339)))
	}
	return c.table(ctx, out, "CONNECTOR ID\tCREATED\tARCHITECTURE\tVERSION\tORIGIN IP\tEDGE", func(w *tabwriter.Writer) {
		for _, k := range out.Connectors {
			var places []string
			for _, conn := range k.Connections {
				places = append(places, conn.ColoName)
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.RunAt.UTC().Format(time.RFC3339), k.Arch, k.Version,
				k.Connections[0].OriginIP, strings.Join(places, ", "))
		}
	})
}

// connectors groups the active connections of a tunnel, the connector that is connected for the longest time first.
func connectors(all []adminclient.Connection, id tunnel.ID) []connectorDocument {
	out := []connectorDocument{}
	for _, k := range all {
		if k.TunnelID != id || k.State != active {
			continue
		}
		i := slices.IndexFunc(out, func(d connectorDocument) bool { return d.ID == k.ConnectorID })
		if i < 0 {
			i = len(out)
			out = append(out, connectorDocument{ID: k.ConnectorID, Features: k.Features, Version: k.Version, Arch: k.Arch, RunAt: k.Since})
		}
		out[i].Connections = append(out[i].Connections, document(k))
		if k.Since.Before(out[i].RunAt) {
			out[i].RunAt = k.Since
		}
	}
	slices.SortStableFunc(out, func(a, b connectorDocument) int { return a.RunAt.Compare(b.RunAt) })
	return out
}

// cleanup ends the connections of tunnels; their connectors may connect again.
func (c Commands) cleanup(ctx *urfave.Context, api *adminclient.Client) error {
	conns, err := api.ListConnections(ctx.Context)
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	var errs []error
	for _, ref := range ctx.Args().Slice() {
		t, err := api.GetTunnel(ctx.Context, ref)
		if err != nil {
			errs = append(errs, fmt.Errorf("cleanup of tunnel %q: %w", ref, err))
			continue
		}
		n := 0
		for _, k := range conns {
			only := ctx.String("connector-id")
			if k.TunnelID != t.ID || k.State != active || only != "" && !strings.EqualFold(only, k.ConnectorID.String()) {
				continue
			}
			if err := api.EvictConnection(ctx.Context, k.ID); err != nil && !errors.Is(err, tunnel.ErrNotFound) {
				errs = append(errs, fmt.Errorf("evict connection %q: %w", k.ID, err))
				continue
			}
			n++
		}
		c.Println(fmt.Sprintf("Ended %d connections of tunnel %s", n, t.ID))
	}
	return errors.Join(errs...)
}

func (c Commands) deleteTunnels(ctx *urfave.Context, api *adminclient.Client) error {
	var errs []error
	for _, ref := range ctx.Args().Slice() {
		err := api.DeleteTunnel(ctx.Context, ref, ctx.Bool("force"))
		switch {
		case errors.Is(err, tunnel.ErrConflict):
			errs = append(errs, fmt.Errorf("delete tunnel %q: %w; --force closes its connections", ref, err))
		case err != nil:
			errs = append(errs, fmt.Errorf("delete tunnel %q: %w", ref, err))
		default:
			c.Println("Deleted tunnel", ref)
		}
	}
	return errors.Join(errs...)
}

// tunnelToken prints the run token, or writes the credentials file instead.
func (c Commands) tunnelToken(ctx *urfave.Context, api *adminclient.Client) error {
	ref := ctx.Args().First()
	creds, err := api.Credentials(ctx.Context, ref)
	if err != nil {
		return fmt.Errorf("token of tunnel %q: %w", ref, err)
	}
	path := c.ExpandHome(c.Option(ctx, "credentials-file", "TUNNEL_CRED_FILE"))
	if path == "" {
		c.Println(creds.Token)
		return nil
	}
	if err := writeNew(path, creds.Credentials); err != nil {
		return fmt.Errorf("credentials file: %w", err)
	}
	return nil
}

// routeDNS sends a host to a tunnel, with the arguments of the reference. With --overwrite-dns it takes the host from another tunnel.
func (c Commands) routeDNS(ctx *urfave.Context, api *adminclient.Client) error {
	ref, host := ctx.Args().Get(0), ctx.Args().Get(1)
	r, err := api.AddRoute(ctx.Context, host, ref)
	if errors.Is(err, tunnel.ErrConflict) && ctx.Bool("overwrite-dns") {
		if _, err := api.GetTunnel(ctx.Context, ref); err != nil { // before the host loses its route
			return fmt.Errorf("route %s to tunnel %q: %w", host, ref, err)
		}
		if err := api.DeleteRoute(ctx.Context, host); err != nil && !errors.Is(err, tunnel.ErrNotFound) {
			return fmt.Errorf("route %s: %w", host, err)
		}
		r, err = api.AddRoute(ctx.Context, host, ref)
	}
	if errors.Is(err, tunnel.ErrConflict) {
		return fmt.Errorf("route %s to tunnel %q: %w; --overwrite-dns takes it", host, ref, err)
	}
	if err != nil {
		return fmt.Errorf("route %s to tunnel %q: %w", host, ref, err)
	}
	c.Println(fmt.Sprintf("%s goes to tunnel %s", r.Host, r.TunnelID))
	return nil
}

// login says whether the admin API lets this user in: there is nothing else to log in to.
func (c Commands) login(ctx *urfave.Context, api *adminclient.Client) error {
	list, err := api.ListTunnels(ctx.Context)
	if err != nil {
		return err
	}
	c.Println(fmt.Sprintf("The admin API of the edge responds and has %d tunnels: no login is needed.", len(list)))
	return nil
}

// absent are commands of the reference for things that an edge of ours does not have.
func absent(name, why string) *urfave.Command {
	return &urfave.Command{
		Name: name, Usage: "not in this program: " + why, Hidden: true, SkipFlagParsing: true,
		Action: func(ctx *urfave.Context) error {
			return fmt.Errorf("%s does nothing here: %s", ctx.Command.HelpName, why)
		},
	}
}
