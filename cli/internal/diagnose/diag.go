package diagnose

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"strconv"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/cli/internal/diag"
	"github.com/culvert-tunnel/culvert/cli/internal/precheck/probe"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// checkBudget bounds the connectivity checks of a bundle.
const checkBudget = 15 * time.Second

// knownAddresses are those where a metrics listener is looked for (docs/spec/lifecycle.md 10.2).
func knownAddresses() []string {
	var all []string
	for port := 20241; port <= 20245; port++ {
		all = append(all, net.JoinHostPort("localhost", strconv.Itoa(port)))
	}
	return all
}

// Diag is the command culvert tunnel diag.
func (c Commands) Diag() *urfave.Command {
	toggle := func(name, usage string) urfave.Flag { return &urfave.BoolFlag{Name: name, Usage: usage} }
	return &urfave.Command{
		Name: "diag", Usage: "write a zip file that helps to find out why a connector on this host does not work",
		Description: "It asks the connector at --metrics, or the only one on ports 20241 to 20245: state, flags, rules, metrics, profiles, " +
			"logs; and it traces the route to the edge and checks whether the edge can be reached. Secrets are masked.",
		Flags: append(c.Flags(),
			&urfave.StringFlag{Name: "diag-container-id", Usage: "`CONTAINER` whose logs to read, by docker; with --diag-pod-id by kubectl"},
			&urfave.StringFlag{Name: "diag-pod-id", Usage: "`POD` whose logs to read, by kubectl"},
			toggle("no-diag-logs", "no logs"), toggle("no-diag-metrics", "no metrics"), toggle("no-diag-system", "no data of the system"),
			toggle("no-diag-runtime", "no profiles"), toggle("no-diag-network", "no routes and no connectivity checks"),
		),
		OnUsageError: console.UsageError, Action: c.diag,
	}
}

// diag exits with 0 when there is nothing to examine or when only a part could be collected, as the reference does; unlike there, a
// bundle that cannot be written is an error.
func (c Commands) diag(ctx *urfave.Context) error {
	s, err := c.Settings()
	if err != nil {
		return err
	}
	logger, closeLog := c.Logger(s)
	defer closeLog()
	address := s.Text("metrics")
	if address == "" {
		if address = findOne(ctx.Context, logger, knownAddresses()); address == "" {
			return nil
		}
	}
	result, err := diag.Run(ctx.Context, diag.Options{
		Address: address, Container: ctx.String("diag-container-id"), Pod: ctx.String("diag-pod-id"),
		NoLogs: ctx.Bool("no-diag-logs"), NoMetrics: ctx.Bool("no-diag-metrics"), NoSystem: ctx.Bool("no-diag-system"),
		NoRuntime: ctx.Bool("no-diag-runtime"), NoNetwork: ctx.Bool("no-diag-network"),
		Secrets: secrets(s), Dir: ".",
		Checks: func(ctx context.Context, flags map[string]string) ([]byte, error) { return c.checkFor(ctx, s, flags) },
	}, logger)
	switch {
	case err != nil:
		return err
	case errors.Is(result.Failed, diag.ErrNoLogs):
		logger.InfoContext(ctx.Context, "logs of the connector not found")
		fallthrough
	case result.Failed != nil:
		logger.WarnContext(ctx.Context, "diagnostic completed with errors")
	default:
		logger.InfoContext(ctx.Context, "diagnostic completed")
	}
	return nil
}

// findOne gives the address of the only connector on this host. It says so when there is none, or more than one.
func findOne(ctx context.Context, logger *slog.Logger, addresses []string) string {
	logger.InfoContext(ctx, "looking for a connector on this host")
	found := diag.Find(ctx, addresses)
	switch len(found) {
	case 0:
		logger.WarnContext(ctx, "no connector found")
		return ""
	case 1:
		return found[0].URL
	}
	logger.InfoContext(ctx, "several connectors found")
	for _, in := range found {
		logger.InfoContext(ctx, "connector found", slog.String(logkey.TunnelID, in.TunnelID), slog.String(logkey.ConnectorID, in.ConnectorID),
			slog.String(logkey.URL, in.URL))
	}
	logger.InfoContext(ctx, "use --metrics to select one of the connectors")
	return ""
}

// secrets lists what this process knows of the secrets of a connector: a log may have them in a form that nothing recognizes.
func secrets(s *settings.Settings) []string {
	all := []string{s.Text("token"), s.Text("credentials-contents"), s.Text("api-key"), s.Text("api-ca-key")}
	if cred, err := credential.ParseToken(s.Text("token")); err == nil {
		all = append(all, base64.StdEncoding.EncodeToString(cred.Secret))
	}
	return all
}

// checkFor makes the connectivity checks for a connector that was started with the given flags: for its edge, which need not be the
// one that the settings of this command mean.
func (c Commands) checkFor(ctx context.Context, s *settings.Settings, flags map[string]string) ([]byte, error) {
	edge, err := c.Edge(s)
	if err != nil {
		return nil, err
	}
	given := maps.Clone(flags)
	maps.DeleteFunc(given, func(name, _ string) bool { return s.Known(name) && s.IsSet(name) })
	cfg := edge.of(given).probes()
	cfg.Budget = checkBudget
	report, _ := probe.Run(ctx, cfg)
	b, err := report.DiagJSON()
	if _, statErr := os.Stat(cfg.CACert); cfg.CACert != "" && statErr != nil { // its path is one of the connector's own directory
		err = errors.Join(err, fmt.Errorf("%w: name the roots that the connector trusts by --cacert", statErr))
	}
	return b, err
}

// of is e where the flags of a connector, as /diag/configuration shows them, say nothing else.
func (e Edge) of(flags map[string]string) Edge {
	if list := diag.ListOf(flags["edge"]); len(list) > 0 {
		e.Discovery.Static = list
	}
	for name, to := range map[string]*string{
		"cacert": &e.CACert, "edge-bind-address": &e.BindAddress, "edge-ip-version": &e.IPVersion, "protocol": &e.Protocol,
		"region": &e.Discovery.SRV.Region, "edge-dns-domain": &e.Discovery.SRV.Domain, "edge-dns-resolver": &e.Discovery.Resolver,
		"edge-private-addresses": &e.Discovery.PrivateAddresses,
	} {
		if value := flags[name]; value != "" {
			*to = value
		}
	}
	e.PostQuantum = e.PostQuantum || flags["post-quantum"] == "true"
	return e
}
