package command

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/connector"
	"github.com/culvert-tunnel/culvert/cli/internal/diagnose"
	"github.com/culvert-tunnel/culvert/cli/internal/monitor"
	"github.com/culvert-tunnel/culvert/cli/internal/runlog"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/cli/internal/stack"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

// runTunnel runs all parts of a connector in this process, against any edge, as cloudflared tunnel run does.
func (c *commands) runTunnel(ctx *urfave.Context) error { return c.runConnector(ctx, false) }

// runConnector runs the tunnel that the command line names, or with quick a new one of the quick service.
func (c *commands) runConnector(ctx *urfave.Context, quick bool) error {
	s, file, err := c.connectorSettings()
	if err != nil {
		return err
	}
	log := runlog.Open(s, c.Host.Stderr, c.Home())
	defer log.Close()
	logger := log.Logger
	defer startTrace(ctx.Context, c.ExpandHome(s.Text("trace-output")), logger)()
	source := &connector.Source{Settings: s, File: file, Args: ctx.Args().Slice(), Home: c.Home(), Resolve: c.operator().TunnelID}
	quickHost := ""
	if quick {
		if quickHost, err = source.AskQuick(ctx.Context, logger, process.Version()); err != nil {
			return err
		}
	}
	cfg, err := c.connectorConfig(ctx, source, log)
	if err != nil {
		return err
	}
	server, err := monitor.Open(ctx.Context, monitor.Choose(s.Text("metrics"), c.inContainer()), logger)
	if err != nil {
		return err
	}
	server.QuickHost = quickHost
	reload := process.NewReloader(logger)
	announcement := c.announcement(s, logger)
	reload.Around = announcement.Reloading
	st, err := stack.New(ctx.Context, cfg, stack.Deps{
		Logger: logger, Registry: server.Registry, Ops: server.Ops, Version: process.Version(), Reload: reload,
	})
	if err == nil {
		err = errors.Join(source.Watch(reload.Files, st.ReplaceCredentials),
			connector.WatchRules(reload.Files, file, st.Tunnel(), func(file *cfdfile.File) error { return c.replaceRules(st, s, file, ctx) }))
	}
	if err != nil {
		return errors.Join(err, server.Ops.Close())
	}
	server.Mount(shown(st, source.Settings.Configuration(filepath.Abs)))
	c.addHost(st, announcement, s.Bool("stdin-control"), server.Ops.Addr())
	if !source.Settings.Bool("no-prechecks") {
		st.Add("prechecks", diagnose.NewStartup(edgeOf(cfg), func() bool { return st.WorkerReady() == nil }, logger))
	}
	stop := log.Signal(ctx.Context)
	if addr := server.Ops.Addr(); addr.IsValid() {
		logger.InfoContext(ctx.Context, "metrics listener opened", slog.String(logkey.Addr, addr.String()))
	}
	err = st.Run(ctx.Context)
	stop()
	log.End(ctx.Context, err)
	return err
}

// replaceRules puts the rules of a changed configuration file in force.
func (c *commands) replaceRules(st *stack.Stack, s *settings.Settings, file *cfdfile.File, ctx *urfave.Context) error {
	set, _, err := connector.Rules(s, file, ctx.Args().Present())
	if err != nil {
		return err
	}
	report, err := set.ReportJSON(s.Reported())
	if err != nil {
		return fmt.Errorf("configuration report: %w", err)
	}
	if err := st.ReplaceRules(set); err != nil {
		return err
	}
	c.report.Store(&report)
	return nil
}

// inContainer reports whether this process runs in an image of ours, which says so by a variable.
func (c *commands) inContainer() bool { return c.Env("CULVERT_CONTAINER") != "" }

// connectorConfig turns what was given into the configuration of the parts.
func (c *commands) connectorConfig(ctx *urfave.Context, source *connector.Source, log *runlog.Log) (stack.Config, error) {
	s, file, logger := source.Settings, source.File, log.Logger
	creds, err := source.Credentials(ctx.Context)
	if err != nil {
		return stack.Config{}, err
	}
	log.Start(ctx.Context, creds.TunnelID, s, file, c.Host.Environ)
	own := file
	if file != nil {
		if own = file.For(creds.TunnelID.String()); file.OthersFault != nil {
			logger.WarnContext(ctx.Context, "ingress rule to look at", slog.Any(logkey.Warning, fmt.Errorf(
				"all documents of the file but the first are ignored: %w", file.OthersFault)))
		}
	}
	rules, warning, err := connector.Rules(s, own, ctx.Args().Present())
	if err != nil {
		return stack.Config{}, err
	}
	if warning != nil && s.Text("token") == "" && s.Text("docker-endpoint") == "" {
		logger.WarnContext(ctx.Context, "no ingress rules, every response is a 503", slog.Any(logkey.Err, warning))
	}
	for _, w := range rules.Warnings() {
		logger.WarnContext(ctx.Context, "ingress rule to look at", slog.String(logkey.Warning, w))
	}
	rulesFile := ""
	if own != nil && len(own.Document.Ingress) > 0 {
		rulesFile = own.Path
	}
	for _, w := range stack.Warnings(s, rulesFile) {
		logger.WarnContext(ctx.Context, "flag to look at", slog.String(logkey.Flag, w.Flag), slog.String(logkey.Reason, w.Text))
	}
	if len(creds.Secret) == 0 { // the reference starts as well, and its edge refuses the registration
		logger.WarnContext(ctx.Context, "credentials have no TunnelSecret, so the edge will refuse them; fetch the credentials file or token "+
			"again")
	}
	cfg, err := stack.Plan(s, creds)
	if err != nil {
		return stack.Config{}, err
	}
	cfg.Discovery.StateDir = connector.StateDir(s, c.Home(), c.Env("XDG_STATE_HOME"))
	report, err := rules.ReportJSON(s.Reported())
	if err != nil {
		return stack.Config{}, fmt.Errorf("configuration report: %w", err)
	}
	c.report.Store(&report)
	cfg.RulesFromFile = rulesFile != ""
	cfg.Rules, cfg.LocalConfig = rules, func() []byte { return *c.report.Load() }
	return cfg, nil
}
