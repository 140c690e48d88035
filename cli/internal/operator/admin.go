package operator

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/access"
	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/cli/internal/paths"
	"github.com/culvert-tunnel/culvert/pkg/config"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

// atLeastOne stands for any number of arguments but none.
const atLeastOne = -1

const (
	adminTimeout        = 15 * time.Second
	credentialsFileMode = 0o400
)

// adminFlags say which edge is meant.
func adminFlags(more ...urfave.Flag) []urfave.Flag {
	return append([]urfave.Flag{
		&urfave.StringFlag{Name: "edge-admin", Usage: "admin API of the edge: unix:/PATH or http(s)://HOST:PORT (default: admin.sock in the " +
			"data directory) [$CULVERT_EDGE_ADMIN]"},
		&urfave.StringFlag{Name: "edge-admin-token-file", Usage: "`FILE` with the bearer token of the admin API " +
			"[$CULVERT_EDGE_ADMIN_TOKEN_FILE]"},
		&urfave.StringFlag{Name: "edge-admin-ca", Usage: "`FILE` with the CA certificate of an https admin API (default: ca.pem in the data " +
			"directory or beside the socket, if it exists) [$CULVERT_EDGE_ADMIN_CA]"},
		&urfave.StringFlag{Name: "data-dir", Usage: "data `DIR` of the edge on this machine (default: ~/.culvert/edge) [$CULVERT_DATA_DIR]"},
	}, more...)
}

// Commands are the commands of an operator against the admin API of an edge.
type Commands struct {
	console.Console
	// Exit sets the exit code of a command that has shown why by itself; nil where that is always 0.
	Exit func(code int)
}

// TopLevel are the commands beside tunnel. userAgent is what servers are told.
func (c Commands) TopLevel(userAgent string) []*urfave.Command {
	return []*urfave.Command{c.Route(), c.loginCommand(), c.Tail(userAgent), access.Command(c.Console)}
}

// Tunnel are the operator's commands against an edge.
func (c Commands) Tunnel() []*urfave.Command {
	cmd := c.adminCommand
	return []*urfave.Command{
		cmd("create", "create a tunnel and write its credentials file", "NAME", 1, c.createTunnel,
			&urfave.StringFlag{Name: "credentials-file", Aliases: []string{"cred-file"}, Usage: "`FILE` to write instead of ~/.culvert/ID.json " +
				"[$TUNNEL_CRED_FILE]"}),
		cmd("list", "list tunnels", "", 0, c.listTunnels, listFlags()...),
		cmd("info", "show the connectors of a tunnel", "NAME|ID", 1, c.info, outputFlag(), recentFlag(),
			&urfave.StringFlag{Name: "sort-by", Hidden: true, Usage: "no effect: the oldest is first"},
			&urfave.BoolFlag{Name: "invert-sort", Hidden: true, Usage: "no effect: the oldest is first"}),
		cmd("cleanup", "end the connections of tunnels; their connectors may connect again", "NAME|ID...", atLeastOne, c.cleanup,
			&urfave.StringFlag{Name: "connector-id", Aliases: []string{"c"}, Usage: "only those of the connector with this `ID`"}),
		cmd("delete", "delete tunnels and their routes", "NAME|ID...", atLeastOne, c.deleteTunnels,
			&urfave.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "also when it has connections, which are closed"}),
		c.ping(),
		cmd("token", "print the run token of a tunnel", "NAME|ID", 1, c.tunnelToken,
			&urfave.StringFlag{Name: "credentials-file", Aliases: []string{"cred-file"}, Usage: "write the credentials to this new `FILE`, and " +
				"print nothing [$TUNNEL_CRED_FILE]"}),
		c.loginCommand(),
		absent("vnet", "an edge of this program has one network for each tunnel"),
		cmd("rotate", "give a tunnel a new secret, print its run token, and end the connections with the old secret", "NAME|ID", 1,
			c.rotateSecret,
			&urfave.DurationFlag{Name: "grace", Usage: "`TIME` during which the old secret stays valid, such as 10m (default: none)"}),
		cmd("connections", "list the connections of all tunnels", "", 0, c.listConnections, outputFlag()),
		cmd("evict", "end one connection; its connector may connect again", "CONNECTION-ID", 1, c.evictConnection),
		c.Route(), c.configuration(),
	}
}

func (c Commands) loginCommand() *urfave.Command {
	return c.adminCommand("login", "check the access to the admin API of an edge", "", 0, c.login)
}

// adminCommand is one call of the admin API. Flags may stand before, between and after the arguments.
func (c Commands) adminCommand(
	name, usage, args string, nargs int, run func(ctx *urfave.Context, api *adminclient.Client) error, flags ...urfave.Flag,
) *urfave.Command {
	return &urfave.Command{
		Name: name, Usage: usage, ArgsUsage: args, OnUsageError: console.UsageError, Flags: adminFlags(flags...),
		Action: func(ctx *urfave.Context) error {
			ctx, err := interleaved(ctx)
			if err != nil {
				return err
			}
			if ctx.NArg() != nargs && (nargs != atLeastOne || ctx.NArg() == 0) {
				return fmt.Errorf("%s needs %d argument(s): %s", ctx.Command.HelpName, max(nargs, -nargs), args)
			}
			return c.withAdmin(ctx, run)
		},
	}
}

func outputFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "format: text, json or yaml", Value: "text"}
}

// interleaved parses flags that stand after arguments, which the library treats as arguments. It returns a context with the
// arguments alone.
func interleaved(ctx *urfave.Context) (*urfave.Context, error) {
	set := flag.NewFlagSet(ctx.Command.Name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range ctx.Command.Flags {
		if err := f.Apply(set); err != nil {
			return nil, err
		}
	}
	for _, name := range ctx.LocalFlagNames() { // what stood before the arguments
		if set.Lookup(name) == nil {
			continue
		}
		values := []string{ctx.String(name)}
		if list := ctx.StringSlice(name); list != nil {
			values = list
		}
		for _, value := range values {
			if err := set.Set(name, value); err != nil {
				return nil, err
			}
		}
	}
	var args []string
	for rest := ctx.Args().Slice(); len(rest) > 0; {
		if len(rest[0]) < 2 || rest[0][0] != '-' {
			args, rest = append(args, rest[0]), rest[1:]
			continue
		}
		if err := set.Parse(rest); err != nil {
			return nil, console.UsageError(ctx, err, true)
		}
		rest = set.Args()
	}
	if err := errors.Join(joinAliases(set, ctx.Command.Flags), set.Parse(append([]string{"--"}, args...))); err != nil {
		return nil, err
	}
	out := urfave.NewContext(ctx.App, set, ctx)
	out.Command = ctx.Command
	return out, nil
}

// joinAliases gives all names of a flag the value of the one that was used.
func joinAliases(set *flag.FlagSet, flags []urfave.Flag) error {
	used := make(map[string]string)
	set.Visit(func(f *flag.Flag) { used[f.Name] = f.Value.String() })
	var errs []error
	for _, f := range flags {
		for _, name := range f.Names() {
			value, ok := used[name]
			for _, other := range f.Names() {
				if ok && other != name {
					errs = append(errs, set.Set(other, value))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// withAdmin bounds a command of one or two calls.
func (c Commands) withAdmin(ctx *urfave.Context, run func(ctx *urfave.Context, api *adminclient.Client) error) error {
	bounded, cancel := context.WithTimeout(ctx.Context, adminTimeout)
	defer cancel()
	ctx.Context = bounded
	return c.withAdminFor(ctx, run)
}

func (c Commands) withAdminFor(ctx *urfave.Context, run func(ctx *urfave.Context, api *adminclient.Client) error) error {
	var token tunnel.Secret
	if path := c.Option(ctx, "edge-admin-token-file", "CULVERT_EDGE_ADMIN_TOKEN_FILE"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("admin token file: %w", err)
		}
		token = tunnel.Secret(strings.TrimSpace(string(b)))
	}
	address := c.Option(ctx, "edge-admin", "CULVERT_EDGE_ADMIN")
	given := address != ""
	if !given {
		address = "unix:" + c.adminSocket(c.Option(ctx, "data-dir", "CULVERT_DATA_DIR"))
	}
	roots, err := c.adminRoots(ctx, address)
	if err != nil {
		return err
	}
	api, err := adminclient.DialTLS(address, token, roots)
	if err != nil {
		return err
	}
	defer api.Close()
	err = run(ctx, api)
	switch {
	case err == nil:
		return nil
	case !given && isAbsent(err):
		return fmt.Errorf("no edge of this program runs here: there is no %s. Commands for an account with Cloudflare are those of "+
			"cloudflared; culvert tunnel run needs only the token or the credentials file", address)
	default:
		return fmt.Errorf("%w (edge at %s)", err, address)
	}
}

// isAbsent reports whether a call failed because there is no socket. A file of the user that does not exist is another matter.
func isAbsent(err error) bool {
	return errors.As(err, new(*net.OpError)) && errors.Is(err, fs.ErrNotExist)
}

// adminRoots returns the roots for the certificate of an https admin API: those of the system and the CA of the edge. It returns nil
// for the system's roots alone.
func (c Commands) adminRoots(ctx *urfave.Context, address string) (*x509.CertPool, error) {
	if !strings.HasPrefix(address, "https://") {
		return nil, nil //nolint:nilnil // nil stands for the roots of the system
	}
	path := c.Option(ctx, "edge-admin-ca", "CULVERT_EDGE_ADMIN_CA")
	required := path != ""
	if !required {
		path = filepath.Join(c.edgeData(ctx), "ca.pem")
	}
	b, err := filewatch.ReadRegular(path, filewatch.DefaultMaxBytes)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return nil, nil //nolint:nilnil // nil stands for the roots of the system
	}
	if err != nil {
		return nil, fmt.Errorf("CA of the admin API: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("CA of the admin API: %s holds no certificate", path)
	}
	return pool, nil
}

// edgeData is the data directory of the edge: the one that is given, the one of a given socket, or the default.
func (c Commands) edgeData(ctx *urfave.Context) string {
	if dir := c.Option(ctx, "data-dir", "CULVERT_DATA_DIR"); dir != "" {
		return dir
	}
	if socket, ok := strings.CutPrefix(c.Option(ctx, "edge-admin", "CULVERT_EDGE_ADMIN"), "unix:"); ok {
		return filepath.Dir(socket)
	}
	return paths.EdgeData(c.Home())
}

func (c Commands) adminSocket(dataDir string) string {
	if dataDir == "" {
		dataDir = paths.EdgeData(c.Home())
	}
	return filepath.Join(dataDir, "admin.sock")
}

func (c Commands) createTunnel(ctx *urfave.Context, api *adminclient.Client) error {
	name := ctx.Args().First()
	created, err := api.CreateTunnel(ctx.Context, name)
	if err != nil {
		return fmt.Errorf("create tunnel %q: %w", name, err)
	}
	id := created.Tunnel.ID.String()
	path := c.Option(ctx, "credentials-file", "TUNNEL_CRED_FILE")
	if path == "" {
		path = paths.Credentials(c.Home(), id)
	}
	path = paths.ExpandHome(path, c.Home())
	if err := writeNew(path, created.Credentials); err != nil {
		undo := api.DeleteTunnel(ctx.Context, id, false) // without its credentials it cannot be run
		return errors.Join(fmt.Errorf("credentials file: %w", err), undo)
	}
	c.Println("Tunnel credentials written to " + path + ". Keep this file secret: whoever has it can run the tunnel.")
	c.Println(fmt.Sprintf("Created tunnel %s with id %s", name, id))
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

// table prints rows as text, or v as JSON or YAML.
func (c Commands) table(ctx *urfave.Context, v any, head string, rows func(w *tabwriter.Writer)) error {
	switch ctx.String("output") {
	case "json":
		enc := json.NewEncoder(c.Host.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		b, err := config.YAML(v)
		if err != nil {
			return err
		}
		_, err = c.Host.Stdout.Write(b)
		return err
	case "text":
		w := tabwriter.NewWriter(c.Host.Stdout, 0, 4, 2, ' ', 0)
		_, _ = fmt.Fprintln(w, head) // the writer keeps everything until Flush, which reports
		rows(w)
		return w.Flush()
	default:
		return fmt.Errorf("--output %q is none of text, json, yaml", ctx.String("output"))
	}
}

func (c Commands) rotateSecret(ctx *urfave.Context, api *adminclient.Client) error {
	ref := ctx.Args().First()
	rotated, err := api.RotateSecret(ctx.Context, ref, ctx.Duration("grace"))
	if err != nil {
		return fmt.Errorf("rotate secret of tunnel %q: %w", ref, err)
	}
	c.Println(rotated.Token)
	return nil
}

func (c Commands) listConnections(ctx *urfave.Context, api *adminclient.Client) error {
	list, err := api.ListConnections(ctx.Context)
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	return c.table(ctx, list, "ID\tTUNNEL\tCONNECTOR\tINDEX\tPROTOCOL\tSTATE\tREMOTE\tSINCE", func(w *tabwriter.Writer) {
		for _, k := range list {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", k.ID, k.TunnelID, k.ConnectorID, k.ConnIndex, k.Protocol, k.State,
				k.RemoteAddr, k.Since.UTC().Format(time.RFC3339))
		}
	})
}

func (c Commands) evictConnection(ctx *urfave.Context, api *adminclient.Client) error {
	id := ctx.Args().First()
	if err := api.EvictConnection(ctx.Context, id); err != nil {
		return fmt.Errorf("evict connection %q: %w", id, err)
	}
	c.Println("Evicted connection", id)
	return nil
}

// TunnelID looks up the id of a tunnel at the edge on this machine.
func (c Commands) TunnelID(ctx context.Context, name string) (tunnel.ID, error) {
	address := c.Env("CULVERT_EDGE_ADMIN")
	if address == "" {
		address = "unix:" + c.adminSocket(c.Env("CULVERT_DATA_DIR"))
	}
	api, err := adminclient.Dial(address, nil)
	if err != nil {
		return tunnel.ID{}, err
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	t, err := api.GetTunnel(ctx, name)
	if isAbsent(err) {
		return tunnel.ID{}, errors.New("no edge of this program runs here that knows it")
	}
	return t.ID, err
}
