package diagnose

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/cli/internal/precheck"
	"github.com/culvert-tunnel/culvert/cli/internal/precheck/probe"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/services/discovery"
)

// Commands are the commands of this package.
type Commands struct {
	console.Console
	// Flags makes one level of the connector's flags, Settings resolves what was given on all levels, and Edge says which edge they
	// mean.
	Flags    func() []urfave.Flag
	Settings func() (*settings.Settings, error)
	Edge     func(*settings.Settings) (Edge, error)
	// Logger makes the logger that the settings describe.
	Logger func(*settings.Settings) (logger *slog.Logger, closeLog func())
	// Exit sets the exit code of a command that reports its errors itself.
	Exit func(code int)
}

// Edge is what the settings of a connector say about its edge, checked.
type Edge struct {
	Discovery   discovery.Config
	CACert      string
	BindAddress string
	IPVersion   string
	Protocol    string
	PostQuantum bool
}

// Check is the command culvert check.
func (c Commands) Check() *urfave.Command {
	return &urfave.Command{
		Name: "check", Usage: "check whether this host can reach the edge: DNS, QUIC and TCP; exit code 1 if no tunnel can be expected",
		Description: "The flags are those of tunnel run; with --output json the result is one JSON object.",
		Flags:       c.Flags(), OnUsageError: console.UsageError, Action: c.check,
	}
}

func (c Commands) check(ctx *urfave.Context) error {
	if ctx.Args().Present() {
		return fmt.Errorf("check takes no argument, not %q", ctx.Args().First())
	}
	s, err := c.Settings()
	if err != nil {
		return err
	}
	edge, err := c.Edge(s)
	if err != nil {
		return err
	}
	cfg := edge.probes()
	cfg.Thorough = true
	report, _ := probe.Run(ctx.Context, cfg)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("check ended early: %w", err)
	}
	if s.Text("output") == "json" {
		b, err := report.JSON()
		if err != nil {
			return err
		}
		c.Println(string(b))
	} else {
		c.Println(strings.Join(report.Lines(), "\n"))
	}
	if report.HardFail() {
		c.Exit(1)
	}
	return nil
}

// probes says what to check for a connector of this edge.
func (e Edge) probes() probe.Config {
	choice, err := protocol.ParseChoice(e.Protocol)
	if err != nil {
		choice = protocol.Auto // such a connector does not start
	}
	cfg := probe.Config{Edge: e.Discovery, CACert: e.CACert, PostQuantum: e.PostQuantum, Asked: choice, API: vendorEdge(e.Discovery)}
	if ip, err := netip.ParseAddr(e.BindAddress); err == nil {
		cfg.LocalIP, cfg.Family = ip, edgepool.FamilyOf(ip)
	} else if cfg.Family, err = edgepool.ParseFamily(e.IPVersion); err != nil {
		cfg.Family = edgepool.Any // such a connector does not start
	}
	return cfg
}

// vendorPrefixes are the networks of the vendor's edge, which its firewall guide lists.
func vendorPrefixes() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("198.41.192.0/24"), netip.MustParsePrefix("198.41.200.0/24"),
		netip.MustParsePrefix("2606:4700:a0::/48"), netip.MustParsePrefix("2606:4700:a8::/48"),
	}
}

// vendorEdge reports whether the edge is the vendor's. A connector of another edge has no business with the vendor's API, and a
// warning that it cannot be reached would only mislead.
func vendorEdge(d discovery.Config) bool {
	if len(d.Static) == 0 {
		return d.SRV.Domain == discovery.Default().SRV.Domain
	}
	for _, entry := range d.Static {
		host, _, err := net.SplitHostPort(entry)
		if err != nil {
			return false
		}
		if ip, err := netip.ParseAddr(host); err == nil {
			known := false
			for _, p := range vendorPrefixes() {
				known = known || p.Contains(ip.Unmap())
			}
			if !known {
				return false
			}
			continue
		}
		if !strings.HasSuffix(strings.TrimSuffix(strings.ToLower(host), "."), "."+discovery.Default().SRV.Domain) {
			return false
		}
	}
	return true
}

// Startup makes the checks once beside a connector that starts, and logs their result. It neither delays the connector nor chooses
// its protocol.
type Startup struct {
	cfg       probe.Config
	connected func() bool
	logger    *slog.Logger
}

const (
	// headStart is how long the checks wait for the first connection: both need the processor for handshakes, and the connection goes
	// first. It is polled every headStartPoll.
	headStart     = time.Second
	headStartPoll = 50 * time.Millisecond
)

// NewStartup prepares the checks for a connector of edge. connected reports whether it has a connection.
func NewStartup(edge Edge, connected func() bool, logger *slog.Logger) Startup {
	cfg := edge.probes()
	cfg.Switchable = true
	return Startup{cfg: cfg, connected: connected, logger: logger}
}

// Run makes the checks and waits for the end of ctx.
func (s Startup) Run(ctx context.Context) error {
	s.wait(ctx)
	if report, ok := probe.Run(ctx, s.cfg); ok && ctx.Err() == nil {
		logReport(ctx, s.logger, report)
	}
	<-ctx.Done()
	return nil
}

// wait returns when the connector has a connection, or when its head start is over.
func (s Startup) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, headStart)
	defer cancel()
	tick := time.NewTicker(headStartPoll)
	defer tick.Stop()
	for !s.connected() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// logReport writes the table and then one line for each check (docs/spec/lifecycle.md 12.2).
func logReport(ctx context.Context, logger *slog.Logger, r precheck.Report) {
	for _, line := range r.Lines() {
		logger.InfoContext(ctx, "report line", slog.String(logkey.Line, line))
	}
	for _, res := range r.Results {
		logger.InfoContext(ctx, "precheck", slog.String(logkey.RunID, r.RunID), slog.String(logkey.Component, res.Kind.String()),
			slog.String(logkey.Target, res.Target), slog.String(logkey.Status, res.Status.LogString()),
			slog.String(logkey.Details, res.Details))
	}
	attrs := []slog.Attr{slog.String(logkey.RunID, r.RunID), slog.Bool(logkey.HardFail, r.HardFail())}
	if r.Suggested != "" {
		attrs = append(attrs, slog.String(logkey.SuggestedProtocol, string(r.Suggested)))
	}
	logger.LogAttrs(ctx, slog.LevelInfo, "precheck complete", attrs...)
}
