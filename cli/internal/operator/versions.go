package operator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/opsclient"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// applyWait is how long apply and rollback wait for the proxies by default.
const applyWait = 10 * time.Second

// versions is the tree of culvert config.
func (c Commands) versions() *urfave.Command {
	change := []urfave.Flag{
		&urfave.StringFlag{Name: "author", Usage: "who makes the change (default: the user)"},
		&urfave.Uint64Flag{
			Name: "if-version", Usage: "only if the newest version has this `NUMBER`; 0 for a tunnel without any",
			DefaultText: "whatever it has",
		},
		&urfave.DurationFlag{Name: "wait", Value: applyWait, Usage: "`TIME` for the proxies to put it in force"},
	}
	return &urfave.Command{
		Name: "config", Usage: "put configurations of tunnels in force through the store, and go back to former ones", Action: console.Fallback,
		OnUsageError: console.UsageError,
		Subcommands: []*urfave.Command{
			c.supervisorCommand("history", "list the versions of a tunnel's configuration, and what the proxies have in force", "TUNNEL", 1, 1,
				c.configHistory),
			c.supervisorCommand("show", "show the document of a version (default: the newest)", "TUNNEL [VERSION]", 1, 2, c.configShow),
			c.supervisorCommand("diff", "compare a version with the newest one or another, or the newest one with a file",
				"TUNNEL VERSION|FILE [VERSION|FILE]", 2, 3, c.configDiff),
			c.supervisorCommand("apply", "put a configuration file (YAML as for tunnel run, or the pushed JSON) in force on all proxies",
				"TUNNEL FILE", 2, 2, c.configApply, change...),
			c.supervisorCommand("rollback", "put a former version in force again, as a new version", "TUNNEL VERSION", 2, 2, c.configRollback,
				change...),
			c.supervisorCommand("reseal", "seal the kept versions of a tunnel with the first key of config_key_file", "TUNNEL", 1, 1,
				c.configReseal),
		},
	}
}

// configReseal ends the need for the former keys.
func (c Commands) configReseal(ctx *urfave.Context, api *opsclient.Client) error {
	id, err := c.tunnelOf(ctx.Context, ctx.Args().First())
	if err != nil {
		return err
	}
	done, err := api.Reseal(ctx.Context, id)
	if err != nil {
		return err
	}
	err = c.table(ctx, done, "VERSION\tSEALED", func(w *tabwriter.Writer) {
		for _, n := range done.Sealed {
			_, _ = fmt.Fprintf(w, "%d\twith the first key\n", n)
		}
		for _, n := range done.Unreadable {
			_, _ = fmt.Fprintf(w, "%d\tno key opens it\n", n)
		}
	})
	if err == nil && len(done.Unreadable) > 0 {
		err = fmt.Errorf("%d versions cannot be opened with the keys of the supervisor", len(done.Unreadable))
	}
	return err
}

func (c Commands) configHistory(ctx *urfave.Context, api *opsclient.Client) error {
	id, err := c.tunnelOf(ctx.Context, ctx.Args().First())
	if err != nil {
		return err
	}
	all, err := api.Configurations(ctx.Context, id)
	if err != nil {
		return err
	}
	return c.showVersions(ctx, all, all.Versions)
}

// showVersions prints all, as text the given versions and what became of the newest.
func (c Commands) showVersions(ctx *urfave.Context, all opsclient.Configurations, versions []opsclient.Version) error {
	return c.table(ctx, all, "VERSION\tSOURCE\tPUSH\tAUTHOR\tCHANGED\tHASH\tIN FORCE AT\tRESTORED FROM", func(w *tabwriter.Writer) {
		for _, v := range versions {
			from := ""
			if v.RestoredFrom != 0 {
				from = strconv.FormatUint(v.RestoredFrom, 10)
			}
			source := string(v.Source)
			if v.AllTunnels {
				source += ", all tunnels"
			}
			_, _ = fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", v.Number, source, v.Push, v.Author, timeText(v.Changed), v.Hash,
				places(v.InForceAt), from)
		}
		for i, p := range all.Proxies {
			if i == 0 {
				_, _ = fmt.Fprintf(w, "\nPROXY\tHAS PUSH\tHAS VERSION\tTHE NEWEST IS\tERROR\n")
			}
			state := string(p.State)
			if state == "" {
				state = "none"
			}
			_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", p.Proxy, p.InForce.Push, p.InForce.Number, state, p.Error)
		}
	})
}

// places shows the names of a few proxies, and the number of many.
func places(proxies []string) string {
	if len(proxies) > 3 {
		return fmt.Sprintf("%d proxies", len(proxies))
	}
	return strings.Join(proxies, " ")
}

func (c Commands) configShow(ctx *urfave.Context, api *opsclient.Client) error {
	id, err := c.tunnelOf(ctx.Context, ctx.Args().First())
	if err != nil {
		return err
	}
	number := uint64(0)
	if text := ctx.Args().Get(1); text != "" {
		if number, err = versionNumber(text); err != nil {
			return err
		}
	}
	v, err := api.Configuration(ctx.Context, id, number)
	if err != nil {
		return err
	}
	if ctx.String("output") == "text" {
		var doc bytes.Buffer
		if err := json.Indent(&doc, v.Config, "", "  "); err != nil {
			return err
		}
		c.Println(doc.String())
		return nil
	}
	return c.table(ctx, v, "", func(*tabwriter.Writer) {})
}

func versionNumber(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("version %q is not the number of one: config history lists them", text)
	}
	return n, nil
}

// configDiff compares two documents. One argument that is a version is the former one of the newest version, a file the one after it.
func (c Commands) configDiff(ctx *urfave.Context, api *opsclient.Client) error {
	id, err := c.tunnelOf(ctx.Context, ctx.Args().First())
	if err != nil {
		return err
	}
	read := func(text string) ([]byte, error) {
		number := uint64(0)
		if text != "" {
			if number, err = versionNumber(text); err != nil {
				doc, err := readConfiguration(text)
				return doc.json, err
			}
		}
		v, err := api.Configuration(ctx.Context, id, number)
		return v.Config, err
	}
	from, to := ctx.Args().Get(1), ctx.Args().Get(2)
	if _, err := versionNumber(from); err != nil && to == "" {
		from, to = to, from
	}
	former, err := read(from)
	if err != nil {
		return err
	}
	latter, err := read(to)
	if err != nil {
		return err
	}
	text, err := opsclient.Diff(former, latter)
	if err != nil {
		return err
	}
	if text == "" {
		text = "The documents are the same.\n"
	}
	c.Println(text[:len(text)-1])
	return nil
}

func (c Commands) configApply(ctx *urfave.Context, api *opsclient.Client) error {
	doc, err := readConfiguration(ctx.Args().Get(1))
	if err != nil {
		return err
	}
	for _, w := range doc.warnings {
		c.Warn(w)
	}
	if doc.fault != nil {
		return doc.fault
	}
	return c.putVersion(ctx, api, opsclient.ConfigurationChange{Document: doc.json})
}

func (c Commands) configRollback(ctx *urfave.Context, api *opsclient.Client) error {
	number, err := versionNumber(ctx.Args().Get(1))
	if err != nil {
		return err
	}
	return c.putVersion(ctx, api, opsclient.ConfigurationChange{Restore: number})
}

var errNotInForce = errors.New("not every proxy has put the version in force")

// putVersion makes a version and waits for the proxies. When somebody else makes one at the same time, this one is made on top of theirs.
func (c Commands) putVersion(ctx *urfave.Context, api *opsclient.Client, change opsclient.ConfigurationChange) error {
	id, err := c.tunnelOf(ctx.Context, ctx.Args().First())
	if err != nil {
		return err
	}
	change.Author = c.authorOf(ctx)
	var now opsclient.Configurations
	for range changeTries {
		seen := ctx.Uint64("if-version")
		if !ctx.IsSet("if-version") {
			if now, err = api.Configurations(ctx.Context, id); err != nil {
				return err
			}
			seen = now.Newest().Number
		}
		change.Version = &seen
		if now, err = api.SetConfiguration(ctx.Context, id, change); !errors.Is(err, tunnel.ErrConflict) || ctx.IsSet("if-version") {
			break
		}
	}
	if err != nil {
		return err
	}
	made := now.Newest()
	if now, err = settledVersion(ctx, api, id, now); err != nil {
		return err
	}
	for _, v := range now.Versions {
		if v.Number == made.Number {
			made = v // with the proxies that serve it now
		}
	}
	if err := c.showVersions(ctx, now, []opsclient.Version{made}); err != nil {
		return err
	}
	if !now.InForce() {
		return errNotInForce
	}
	return nil
}

// settledVersion waits until all proxies have said what became of the newest version, somebody made another, or the time is over.
func settledVersion(
	ctx *urfave.Context, api *opsclient.Client, id tunnel.ID, now opsclient.Configurations,
) (opsclient.Configurations, error) {
	made := now.Newest()
	deadline := time.NewTimer(ctx.Duration("wait"))
	defer deadline.Stop()
	tick := time.NewTicker(resultEvery)
	defer tick.Stop()
	for now.Pending() && now.Newest().Number == made.Number {
		select {
		case <-ctx.Done():
			return now, nil
		case <-deadline.C:
			return now, nil
		case <-tick.C:
		}
		var err error
		if now, err = api.Configurations(ctx.Context, id); err != nil {
			return now, err
		}
	}
	return now, nil
}
