package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/config"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/redact"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
)

// Exit codes of every program of this project.
const (
	ExitOK      = 0
	ExitFailure = 1
)

// Env is what a process gives to its parts.
type Env struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Version    string
	// Private are the addresses of the private listener.
	Private []net.Addr
	// Files reads the files of settings, and reads them again when they change and on SIGHUP.
	Files *filewatch.Watcher
	// Beside adds a part that runs beside the service, from before its start until after its end. It may be nil.
	Beside func(name string, r Runner)
	// Defer keeps a function that runs after the part has ended, the last one first: closing the store, for example.
	Defer func(func() error)
}

// Builder makes the part of a service from its configuration. It opens what may fail and starts nothing.
type Builder[C any] func(ctx context.Context, env Env, cfg C) (Runner, error)

// Option changes how Main runs a service.
type Option func(*options)

type options struct {
	opsListen string
	halfCores bool
}

// OpsListen is the default of ops.listen; without it the private listener takes a free port of the loopback.
func OpsListen(addr string) Option { return func(o *options) { o.opsListen = addr } }

// HalfCores makes the program use half of the cores, at least one, unless the environment sets GOMAXPROCS: for the
// services of the data path, of which two usually share a host.
func HalfCores() Option { return func(o *options) { o.halfCores = true } }

// Host has the arguments, the environment and the outputs of a program.
type Host struct {
	Args    []string // without the program's name
	Program string   // the name or path that the program was called by; "" is culvert
	Environ []string
	Stdin   io.Reader // nil is no input
	Stdout  io.Writer
	Stderr  io.Writer
}

// Name is the name that the program goes by: cloudflared when it was called so, since wrappers read it in the output; else culvert.
func (h Host) Name() string {
	if filepath.Base(h.Program) == "cloudflared" {
		return "cloudflared"
	}
	return "culvert"
}

// Errorln prints a line for the user on standard error, without the secrets in it: an error may quote a URL with a password.
func (h Host) Errorln(args ...any) {
	_, _ = io.WriteString(h.Stderr, redact.Text(fmt.Sprintln(args...))) // nothing is left to do when standard error is closed
}

// Main runs the service called name as this program and exits.
func Main[C any](name string, defaults C, build Builder[C], opts ...Option) {
	ctx, stop := Signals(context.Background(), os.Exit)
	host := Host{Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr}
	code := Exec(ctx, host, name, defaults, build, opts...)
	stop()
	os.Exit(code)
}

// Exec is Main for a caller that is not a process: it runs until ctx ends and returns the exit code.
func Exec[C any](ctx context.Context, host Host, name string, defaults C, build Builder[C], opts ...Option) int {
	o := options{opsListen: "127.0.0.1:0"}
	for _, opt := range opts {
		opt(&o)
	}
	cmd, args := "", host.Args
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		cmd, args = args[0], args[1:]
	}
	cfg := settings[C]{Service: defaults, Ops: ops.Config{Listen: o.opsListen}, Log: telemetry.Default()}
	if cmd == "version" {
		_, _ = fmt.Fprintln(host.Stdout, name, Version()) // nothing is left to do when stdout is closed
		return ExitOK
	}
	if err := load(host, name, args, &cfg); err != nil {
		if errors.Is(err, config.ErrHelp) {
			return ExitOK
		}
		return fail(host, name, err)
	}
	switch cmd {
	case "":
		if o.halfCores {
			limitCores(host.Environ)
		}
		return serve(ctx, host, name, cfg, build)
	case "config":
		if err := config.Dump(host.Stdout, &cfg); err != nil {
			return fail(host, name, err)
		}
		return ExitOK
	case "healthcheck":
		if err := healthcheck(ctx, cfg.Ops.Listen); err != nil {
			return fail(host, name, err)
		}
		return ExitOK
	default:
		return fail(host, name, fmt.Errorf("unknown command %q (known: config, healthcheck, version)", cmd))
	}
}

func load[C any](host Host, name string, args []string, cfg *settings[C]) error {
	defaults := *cfg
	rest, err := config.Load(args, host.Environ, cfg)
	if errors.Is(err, config.ErrHelp) {
		usage(host, name, &defaults)
		return err
	}
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("unexpected argument %q", rest[0])
	}
	return err
}

func usage(host Host, name string, cfg any) {
	_, _ = fmt.Fprintf(host.Stdout, "Usage: %s [config|healthcheck|version] [flags]\n\nFlags:\n", name)
	_ = config.Usage(host.Stdout, cfg) // nothing is left to do when stdout is closed
}

func fail(host Host, name string, err error) int {
	for _, line := range lines(err) {
		host.Errorln(name + ": " + line)
	}
	return ExitFailure
}

// limitCores halves the number of processors that Go code uses, unless the environment sets GOMAXPROCS.
func limitCores(environ []string) {
	for _, kv := range environ {
		if len(kv) > len("GOMAXPROCS=") && kv[:len("GOMAXPROCS=")] == "GOMAXPROCS=" {
			return
		}
	}
	runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
}

// serve builds the service and runs it with its private listener, which starts first and stops last.
func serve[C any](ctx context.Context, host Host, name string, cfg settings[C], build Builder[C]) int {
	logger := telemetry.Tapped(telemetry.NewLogger(cfg.Log, host.Stderr))
	if err := run(ctx, logger, name, cfg, build); err != nil {
		for _, line := range lines(err) {
			logger.ErrorContext(ctx, "process failed", slog.String(logkey.Err, line))
		}
		return ExitFailure
	}
	logger.InfoContext(ctx, "process stopped")
	return ExitOK
}

func run[C any](ctx context.Context, logger *slog.Logger, name string, cfg settings[C], build Builder[C]) (err error) {
	registry := telemetry.NewRegistry(Version())
	server, err := ops.New(ctx, cfg.Ops, ops.Deps{Logger: logger, Metrics: registry.Handler(), Version: Version()})
	if err != nil {
		return err
	}
	var deferred []func() error
	defer func() {
		for i := len(deferred) - 1; i >= 0; i-- {
			err = errors.Join(err, deferred[i]())
		}
	}()
	reload := NewReloader(logger)
	rows := []Row{{Name: "reload", Runner: reload}, {Name: "ops", Runner: server}}
	part, err := build(ctx, Env{
		Beside: func(name string, r Runner) { rows = append(rows, Row{Name: name, Runner: r}) },
		Logger: logger, Registerer: registry, Version: Version(), Files: reload.Files, Private: server.Listeners(),
		Defer: func(f func() error) { deferred = append(deferred, f) },
	}, cfg.Service)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	server.Add(name, part)
	logger.InfoContext(ctx, "process started", slog.String(logkey.Version, Version()), slog.String(logkey.Ops, server.Addr().String()))
	rows = append(rows, Row{Name: name, Runner: stopping{part: part, server: server}})
	return NewGroup(logger, rows...).Run(ctx)
}

// stopping runs a part and makes the process not ready before it stops the part.
type stopping struct {
	part   Runner
	server *ops.Server
}

// Run runs the part.
func (s stopping) Run(ctx context.Context) error {
	partCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	unhook := context.AfterFunc(ctx, func() {
		s.server.SetStopping()
		cancel(context.Cause(ctx))
	})
	defer unhook()
	return s.part.Run(partCtx)
}
