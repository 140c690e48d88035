package operator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

// settleEvery is the interval of polls until all connections have responded to a new configuration.
const settleEvery = 100 * time.Millisecond

// configuration is the tree of culvert tunnel config.
func (c Commands) configuration() *urfave.Command {
	return &urfave.Command{
		Name: "config", Usage: "manage the configuration that the edge pushes to a tunnel's connectors", Action: console.Fallback,
		OnUsageError: console.UsageError,
		Subcommands: []*urfave.Command{
			c.adminCommand("set", "push a configuration file (YAML as for tunnel run, or the pushed JSON) to all connectors of a tunnel",
				"TUNNEL FILE", 2,
				c.setConfiguration, outputFlag(), &urfave.BoolFlag{Name: "unchecked", Usage: "also what this version's connector would refuse"}),
			c.adminCommand("get", "show the pushed configuration, and which connection has applied which version", "TUNNEL", 1,
				c.getConfiguration, outputFlag()),
		},
	}
}

// readDocument is a configuration file as it will be pushed.
type readDocument struct {
	json json.RawMessage
	// warnings are those of `tunnel run` for the same file.
	warnings []string
	// fault is why a connector of this version would refuse the document, or nil.
	fault error
}

// readConfiguration reads a file in YAML or JSON. The same code judges it as when `tunnel run` reads it or the edge pushes it.
func readConfiguration(path string) (readDocument, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return readDocument{}, err
	}
	var doc readDocument
	if text := bytes.TrimSpace(b); len(text) > 0 && text[0] == '{' {
		if !json.Valid(text) {
			return doc, fmt.Errorf("%s: not valid JSON", path)
		}
		doc.json = text
	} else if err := doc.fromYAML(path, b); err != nil {
		return doc, fmt.Errorf("%s: %w", path, err)
	}
	d, err := ingress.ParseJSON(doc.json)
	if err == nil {
		var set *ingress.Set
		if set, err = ingress.CompileRemote(d); err == nil {
			doc.warnings = append(doc.warnings, set.Warnings()...)
		}
	}
	if err != nil {
		doc.fault = fmt.Errorf("%s: %w", path, err)
	}
	return doc, nil
}

// fromYAML translates a YAML file. Keys that have no effect are a warning, as in `tunnel run`.
func (d *readDocument) fromYAML(path string, b []byte) error {
	file, err := cfdfile.Parse(path, b)
	if err != nil {
		return err
	}
	for _, key := range file.UnusedKeys {
		d.warnings = append(d.warnings, path+": "+key)
	}
	if len(file.Document.Ingress) == 0 {
		d.fault = fmt.Errorf("%s: %w, so that every response would be a 503; --unchecked pushes it", path, ingress.ErrNoIngress)
	}
	d.json, err = file.Document.JSON()
	return err
}

var errNotApplied = errors.New("not every connection has applied the configuration")

// setConfiguration stores a document at the edge and waits until every connection has responded to it.
func (c Commands) setConfiguration(ctx *urfave.Context, api *adminclient.Client) error {
	ref, path := ctx.Args().Get(0), ctx.Args().Get(1)
	doc, err := readConfiguration(path)
	if err != nil {
		return err
	}
	for _, w := range doc.warnings {
		c.Warn(w)
	}
	if doc.fault != nil && !ctx.Bool("unchecked") {
		return doc.fault
	}
	set, err := api.SetConfiguration(ctx.Context, ref, doc.json)
	if err != nil {
		return fmt.Errorf("set configuration of tunnel %q: %w", ref, err)
	}
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	now := set
	for !settled(now, set.Version) {
		select {
		case <-ctx.Done():
			return errors.Join(c.showConfiguration(ctx, now), errNotApplied)
		case <-tick.C:
		}
		if now, err = api.Configuration(ctx.Context, ref); err != nil {
			return fmt.Errorf("configuration of tunnel %q: %w", ref, err)
		}
	}
	if err := c.showConfiguration(ctx, now); err != nil {
		return err
	}
	if !applied(now, set.Version) {
		return errNotApplied
	}
	return nil
}

// applied reports whether every connection has the version, or a newer one, in force. One that reports an error has not: the
// version that it names may be that of another tunnel.
func applied(now adminclient.Configuration, version int32) bool {
	for _, conn := range now.Connections {
		if conn.Applied < version || conn.Error != "" {
			return false
		}
	}
	return true
}

// settled reports whether all connections have responded to the push of the version.
func settled(now adminclient.Configuration, version int32) bool {
	for _, conn := range now.Connections {
		if conn.Pushed < version {
			return false
		}
	}
	return true
}

func (c Commands) getConfiguration(ctx *urfave.Context, api *adminclient.Client) error {
	ref := ctx.Args().First()
	config, err := api.Configuration(ctx.Context, ref)
	if err != nil {
		return fmt.Errorf("configuration of tunnel %q: %w", ref, err)
	}
	if ctx.String("output") == "text" {
		var doc bytes.Buffer
		if err := json.Indent(&doc, config.Config, "", "  "); err != nil {
			return err
		}
		c.Println(doc.String())
	}
	return c.showConfiguration(ctx, config)
}

func (c Commands) showConfiguration(ctx *urfave.Context, config adminclient.Configuration) error {
	if ctx.String("output") == "text" {
		c.Println(fmt.Sprintf("Version %d of %s", config.Version, config.UpdatedAt.UTC().Format(time.RFC3339)))
	}
	return c.table(ctx, config, "CONNECTOR\tINDEX\tPROTOCOL\tAPPLIED\tERROR", func(w *tabwriter.Writer) {
		for _, conn := range config.Connections {
			_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%s\n", conn.ConnectorID, conn.ConnIndex, conn.Protocol, conn.Applied, conn.Error)
		}
	})
}
