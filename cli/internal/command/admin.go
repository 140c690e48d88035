package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/connector"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

const (
	adminTimeout        = 15 * time.Second
	credentialsFileMode = 0o400
)

// adminFlags say which edge is meant.
func adminFlags(more ...urfave.Flag) []urfave.Flag {
	return append([]urfave.Flag{
		&urfave.StringFlag{Name: "edge-admin", Usage: "admin API of the edge: unix:/PATH or http(s)://HOST:PORT (default: admin.sock in the data directory) [$CULVERT_EDGE_ADMIN]"},
		&urfave.StringFlag{Name: "edge-admin-token-file", Usage: "`FILE` with the bearer token of the admin API [$CULVERT_EDGE_ADMIN_TOKEN_FILE]"},
		&urfave.StringFlag{Name: "data-dir", Usage: "data `DIR` of the edge on this machine (default: ~/.culvert/edge) [$CULVERT_DATA_DIR]"},
	}, more...)
}

// admin are the operator's commands against an edge.
func (c *commands) admin() []*urfave.Command {
	cmd := func(name, usage, args string, nargs int, run func(ctx *urfave.Context, api *adminclient.Client) error, flags ...urfave.Flag) *urfave.Command {
		return &urfave.Command{
			Name: name, Usage: usage, ArgsUsage: args, OnUsageError: usageError, Flags: adminFlags(flags...),
			Action: func(ctx *urfave.Context) error {
				if ctx.NArg() != nargs {
					return fmt.Errorf("%s needs %d argument(s): %s", ctx.Command.HelpName, nargs, args)
				}
				return c.withAdmin(ctx, run)
			},
		}
	}
	asJSON := &urfave.StringFlag{Name: "output", Usage: "format: text or json", Value: "text"}
	return []*urfave.Command{
		cmd("create", "create a tunnel and write its credentials file", "NAME", 1, c.createTunnel,
			&urfave.StringFlag{Name: "credentials-file", Aliases: []string{"cred-file"}, Usage: "`FILE` to write instead of ~/.culvert/ID.json [$TUNNEL_CRED_FILE]"}),
		cmd("list", "list tunnels", "", 0, c.listTunnels, asJSON),
		cmd("delete", "delete a tunnel and its routes", "NAME|ID", 1, c.deleteTunnel,
			&urfave.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "also when it has connections, which are closed"}),
		cmd("token", "print the run token of a tunnel", "NAME|ID", 1, c.tunnelToken),
		{
			Name: "route", Usage: "say which hosts go to which tunnel", Action: c.fallback, OnUsageError: usageError,
			Subcommands: []*urfave.Command{
				cmd("add", "send a host (exact, *.domain or *) to a tunnel", "HOST TUNNEL", 2, c.addRoute),
				cmd("list", "list routes", "", 0, c.listRoutes, asJSON),
				cmd("delete", "delete the route of a host", "HOST", 1, c.deleteRoute),
			},
		},
	}
}

func (c *commands) withAdmin(ctx *urfave.Context, run func(ctx *urfave.Context, api *adminclient.Client) error) error {
	var token tunnel.Secret
	if path := c.option(ctx, "edge-admin-token-file", "CULVERT_EDGE_ADMIN_TOKEN_FILE"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("admin token file: %w", err)
		}
		token = tunnel.Secret(strings.TrimSpace(string(b)))
	}
	address := c.option(ctx, "edge-admin", "CULVERT_EDGE_ADMIN")
	if address == "" {
		address = "unix:" + c.adminSocket(c.option(ctx, "data-dir", "CULVERT_DATA_DIR"))
	}
	api, err := adminclient.Dial(address, token)
	if err != nil {
		return err
	}
	defer api.Close()
	bounded, cancel := context.WithTimeout(ctx.Context, adminTimeout)
	defer cancel()
	ctx.Context = bounded
	if err := run(ctx, api); err != nil {
		return fmt.Errorf("%w (edge at %s)", err, address)
	}
	return nil
}

func (c *commands) adminSocket(dataDir string) string {
	if dataDir == "" {
		dataDir = c.dataDir()
	}
	return filepath.Join(dataDir, "admin.sock")
}

// dataDir is where the own edge keeps its data.
func (c *commands) dataDir() string { return filepath.Join(c.home(), connector.StateDir, "edge") }

func (c *commands) createTunnel(ctx *urfave.Context, api *adminclient.Client) error {
	name := ctx.Args().First()
	created, err := api.CreateTunnel(ctx.Context, name)
	if err != nil {
		return fmt.Errorf("create tunnel %q: %w", name, err)
	}
	id := created.Tunnel.ID.String()
	path := c.option(ctx, "credentials-file", "TUNNEL_CRED_FILE")
	if path == "" {
		path = filepath.Join(c.home(), connector.StateDir, id+".json")
	}
	path = connector.ExpandHome(path, c.home())
	if err := writeNew(path, created.Credentials); err != nil {
		undo := api.DeleteTunnel(ctx.Context, id, false) // without its credentials nobody could run it
		return errors.Join(fmt.Errorf("credentials file: %w", err), undo)
	}
	c.println("Tunnel credentials written to " + path + ". Keep this file secret: whoever has it can run the tunnel.")
	c.println(fmt.Sprintf("Created tunnel %s with id %s", name, id))
	return nil
}

// writeNew writes a file that must not exist yet and that only its owner may read.
func writeNew(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, credentialsFileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func (c *commands) listTunnels(ctx *urfave.Context, api *adminclient.Client) error {
	list, err := api.ListTunnels(ctx.Context)
	if err != nil {
		return fmt.Errorf("list tunnels: %w", err)
	}
	return c.table(ctx, list, "ID\tNAME\tCREATED\tCONNECTIONS", func(w *tabwriter.Writer) {
		for _, t := range list {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", t.ID, t.Name, t.CreatedAt.UTC().Format(time.RFC3339), t.Connections)
		}
	})
}

// table prints rows as text, or v as JSON.
func (c *commands) table(ctx *urfave.Context, v any, head string, rows func(w *tabwriter.Writer)) error {
	switch ctx.String("output") {
	case "json":
		enc := json.NewEncoder(c.host.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "text":
		w := tabwriter.NewWriter(c.host.Stdout, 0, 4, 2, ' ', 0)
		_, _ = fmt.Fprintln(w, head) // the writer keeps everything until Flush, which reports
		rows(w)
		return w.Flush()
	default:
		return fmt.Errorf("--output %q is none of text, json", ctx.String("output"))
	}
}

func (c *commands) deleteTunnel(ctx *urfave.Context, api *adminclient.Client) error {
	ref := ctx.Args().First()
	err := api.DeleteTunnel(ctx.Context, ref, ctx.Bool("force"))
	if errors.Is(err, tunnel.ErrConflict) {
		return fmt.Errorf("delete tunnel %q: %w; --force closes its connections", ref, err)
	}
	if err != nil {
		return fmt.Errorf("delete tunnel %q: %w", ref, err)
	}
	c.println("Deleted tunnel", ref)
	return nil
}

func (c *commands) tunnelToken(ctx *urfave.Context, api *adminclient.Client) error {
	token, err := api.Token(ctx.Context, ctx.Args().First())
	if err != nil {
		return fmt.Errorf("token of tunnel %q: %w", ctx.Args().First(), err)
	}
	c.println(token)
	return nil
}

func (c *commands) addRoute(ctx *urfave.Context, api *adminclient.Client) error {
	host, ref := ctx.Args().Get(0), ctx.Args().Get(1)
	r, err := api.AddRoute(ctx.Context, host, ref)
	if err != nil {
		return fmt.Errorf("add route %s to tunnel %q: %w", host, ref, err)
	}
	c.println(fmt.Sprintf("%s goes to tunnel %s", r.Host, r.TunnelID))
	return nil
}

func (c *commands) listRoutes(ctx *urfave.Context, api *adminclient.Client) error {
	list, err := api.ListRoutes(ctx.Context)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	return c.table(ctx, list, "HOST\tTUNNEL\tID", func(w *tabwriter.Writer) {
		for _, r := range list {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", r.Host, r.TunnelName, r.TunnelID)
		}
	})
}

func (c *commands) deleteRoute(ctx *urfave.Context, api *adminclient.Client) error {
	host := ctx.Args().First()
	if err := api.DeleteRoute(ctx.Context, host); err != nil {
		return fmt.Errorf("delete route %s: %w", host, err)
	}
	c.println("Deleted route", host)
	return nil
}
