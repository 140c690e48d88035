package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/culvert-tunnel/culvert/cli/internal/stockmetrics"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
)

// Listener is the metrics listener of one process, with the registry that it shows.
type Listener struct {
	Registry *telemetry.Registry
	Ops      *ops.Server
	// QuickHost is the public host name of a quick tunnel, "" for other tunnels. It is set before the listener runs.
	QuickHost string

	logger *slog.Logger
}

// Open binds the first free address of a. It fails only for an address that the user asked for: without any other the process
// serves without a listener, and a warning says so.
func Open(ctx context.Context, a Address, logger *slog.Logger) (*Listener, error) {
	l := &Listener{Registry: telemetry.NewRegistry(process.Version()), logger: logger}
	deps := ops.Deps{Logger: logger, Metrics: stockmetrics.Handler(l.Registry.Registry), Version: process.Version(), LocalProfiles: true}
	var errs []error
	for _, addr := range a.Candidates {
		server, err := listen(ctx, addr, deps)
		if err == nil {
			l.Ops = server
			return l, nil
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if a.Asked {
		logger.ErrorContext(ctx, "metrics listener not opened", slog.Any(logkey.Err, err))
		return nil, fmt.Errorf("metrics: %w", err)
	}
	logger.WarnContext(ctx, "no metrics listener: no address is free, use --metrics to name one", slog.Any(logkey.Err, err))
	l.Ops, err = ops.New(ctx, ops.Config{}, deps)
	return l, err
}

func listen(ctx context.Context, addr string, deps ops.Deps) (*ops.Server, error) {
	cfg := ops.Config{Listen: addr, Hosts: hosts(addr)}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return ops.New(ctx, cfg, deps)
}
