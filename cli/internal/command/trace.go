package command

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/trace"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// startTrace writes an execution trace to the file path until stop is called. The file appears under its name when it is complete. A
// trace that cannot be written is a warning: the tunnel is served without it.
func startTrace(ctx context.Context, path string, logger *slog.Logger) (stop func()) {
	if path == "" {
		return func() {}
	}
	failed := func(err error) {
		logger.WarnContext(ctx, "execution trace cannot be written", slog.String(logkey.File, path), slog.Any(logkey.Err, err))
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		failed(err)
		return func() {}
	}
	if err := trace.Start(f); err != nil {
		failed(errors.Join(err, f.Close(), os.Remove(f.Name())))
		return func() {}
	}
	return func() {
		trace.Stop()
		if err := f.Close(); err != nil {
			failed(errors.Join(err, os.Remove(f.Name())))
			return
		}
		if err := os.Rename(f.Name(), path); err != nil {
			failed(errors.Join(err, os.Remove(f.Name())))
		}
	}
}
