package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/connector"
	"github.com/culvert-tunnel/culvert/cli/internal/diagnose"
	"github.com/culvert-tunnel/culvert/cli/internal/monitor"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/cli/internal/stack"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
)

const logFileMode = 0o644

// runTunnel runs all parts of a connector in this process, against any edge, as cloudflared tunnel run does.
func (c *commands) runTunnel(ctx *urfave.Context) error { return c.runConnector(ctx, false) }

// runConnector runs the tunnel that the command line names, or with quick a new one of the quick service.
func (c *commands) runConnector(ctx *urfave.Context, quick bool) error {
	s, file, err := c.connectorSettings()
	if err != nil {
		return err
	}
	logger, closeLog, err := c.openLog(s)
	if err != nil {
		return err
	}
	defer closeLog()
	logger = telemetry.Tapped(logger)
	defer startTrace(ctx.Context, c.ExpandHome(s.Text("trace-output")), logger)()
	source := &connector.Source{Settings: s, File: file, Args: ctx.Args().Slice(), Home: c.Home(), Resolve: c.operator().TunnelID}
	quickHost := ""
	if quick {
		if quickHost, err = source.AskQuick(ctx.Context, logger, process.Version()); err != nil {
			return err
		}
	}
	c.logStart(ctx.Context, logger, source.Settings, file)
	cfg, err := c.connectorConfig(ctx, source, logger)
	if err != nil {
		return err
	}
	server, err := monitor.Open(ctx.Context, monitor.Choose(s.Text("metrics"), c.inContainer()), logger)
	if err != nil {
		return err
	}
	server.QuickHost = quickHost
	reload := process.NewReloader(logger)
	st, err := stack.New(ctx.Context, cfg, stack.Deps{
		Logger: logger, Registry: server.Registry, Ops: server.Ops, Version: process.Version(), Reload: reload,
	})
	if err == nil {
		err = source.Watch(reload.Files, st.ReplaceCredentials)
	}
	if err != nil {
		return errors.Join(err, server.Ops.Close())
	}
	server.Mount(shown(st, source.Settings.Configuration(filepath.Abs)))
	pid := c.ExpandHome(s.Text("pidfile"))
	st.Add("announcement", announcement{stack: st, pidfile: pid, notify: c.Env("NOTIFY_SOCKET"), logger: logger})
	if !source.Settings.Bool("no-prechecks") {
		st.Add("prechecks", diagnose.NewStartup(edgeOf(cfg), logger))
	}
	logger.InfoContext(ctx.Context, "connector started", slog.String(logkey.TunnelID, cfg.Credentials.TunnelID.String()),
		slog.String(logkey.Version, process.Version()), slog.String(logkey.Metrics, server.Ops.Addr().String()))
	if err := st.Run(ctx.Context); err != nil {
		return err
	}
	logger.InfoContext(ctx.Context, "connector stopped")
	return nil
}

// inContainer reports whether this process runs in an image of ours, which says so by a variable.
func (c *commands) inContainer() bool { return c.Env("CULVERT_CONTAINER") != "" }

// openLog makes the logger that the flags describe. Lines go to standard error, and to the log file when it can be written.
func (c *commands) openLog(s *settings.Settings) (*slog.Logger, func(), error) {
	cfg := telemetry.Config{Level: s.Text("loglevel"), Format: telemetry.FormatText}
	switch out := s.Text("output"); out {
	case "json":
		cfg.Format = telemetry.FormatJSON
	case "default", "":
	default:
		return nil, nil, fmt.Errorf("--output %q is none of default, json", out)
	}
	path := s.Text("logfile")
	if dir := s.Text("log-directory"); path == "" && dir != "" {
		path = filepath.Join(dir, "culvert.log")
	}
	if path == "" {
		return telemetry.NewLogger(cfg, c.Host.Stderr), func() {}, nil
	}
	path = c.ExpandHome(path)
	f, err := openLogFile(path)
	if err != nil {
		logger := telemetry.NewLogger(cfg, c.Host.Stderr)
		logger.Warn("log file cannot be written, logging to standard error only", slog.String(logkey.File, path), slog.Any(logkey.Err, err))
		return logger, func() {}, nil
	}
	closer := func() { _ = f.Close() } // lines are not buffered
	return telemetry.NewLogger(cfg, io.MultiWriter(c.Host.Stderr, f)), closer, nil
}

func openLogFile(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o744); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, logFileMode)
}

// logStart logs the settings in force, and warns about odd ones.
func (c *commands) logStart(ctx context.Context, logger *slog.Logger, s *settings.Settings, file *cfdfile.File) {
	logger.InfoContext(ctx, "settings", slog.Any(logkey.Given, s.Shown()))
	if _, err := telemetry.ParseLevel(s.Text("loglevel")); err != nil {
		logger.ErrorContext(ctx, "unknown log level, using info", slog.Any(logkey.Err, err))
	}
	if s.IsSet("logfile") && s.IsSet("log-directory") {
		logger.ErrorContext(ctx, "logfile and log-directory are both given, using logfile")
	}
	switch {
	case file == nil && s.Text("token") == "":
		logger.InfoContext(ctx, "no configuration file found")
	case file != nil && file.Empty:
		logger.ErrorContext(ctx, "configuration file is empty", slog.String(logkey.File, file.Path))
	case file != nil:
		logger.InfoContext(ctx, "configuration file read", slog.String(logkey.File, file.Path))
		if len(file.UnusedKeys) > 0 {
			logger.WarnContext(ctx, "configuration file has unused keys", slog.Any(logkey.Keys, file.UnusedKeys))
		}
	}
	for _, name := range []string{"token", "credentials-contents"} {
		if s.Source(name) == settings.FromCommandLine {
			logger.WarnContext(ctx, "secret on the command line, where every user of this host can read it; use a file or the environment",
				slog.String(logkey.Flag, name))
		}
	}
	if later := s.GivenWith(settings.Later); len(later) > 0 {
		logger.WarnContext(ctx, "flags without effect in this release", slog.Any(logkey.Flags, later))
	}
	if ignored := s.GivenWith(settings.Ignored); len(ignored) > 0 {
		logger.DebugContext(ctx, "flags without effect", slog.Any(logkey.Flags, ignored))
	}
}

// connectorConfig turns what was given into the configuration of the parts.
func (c *commands) connectorConfig(ctx *urfave.Context, source *connector.Source, logger *slog.Logger) (stack.Config, error) {
	s, file := source.Settings, source.File
	creds, err := source.Credentials(ctx.Context)
	if err != nil {
		return stack.Config{}, err
	}
	rules, warning, err := connector.Rules(s, file, ctx.Args().Present())
	if err != nil {
		return stack.Config{}, err
	}
	if warning != nil && s.Text("token") == "" {
		logger.WarnContext(ctx.Context, "no ingress rules, every response is a 503", slog.Any(logkey.Err, warning))
	}
	for _, w := range rules.Warnings() {
		logger.WarnContext(ctx.Context, "ingress rule to look at", slog.String(logkey.Warning, w))
	}
	rulesFile := ""
	if file != nil && len(file.Document.Ingress) > 0 {
		rulesFile = file.Path
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
	report, err := rules.ReportJSON(s.Reported())
	if err != nil {
		return stack.Config{}, fmt.Errorf("configuration report: %w", err)
	}
	cfg.Rules, cfg.LocalConfig = rules, func() []byte { return report }
	return cfg, nil
}
