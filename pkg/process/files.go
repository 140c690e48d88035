package process

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// NewFiles makes the watcher of the files that a process was given, which logs one line for each change.
func NewFiles(logger *slog.Logger) *filewatch.Watcher {
	return filewatch.New(func(e filewatch.Event) {
		if e.Err != nil {
			logger.Warn("changed file not used, the former content stays in use", slog.Any(logkey.File, e.Paths), slog.Any(logkey.Err, e.Err))
			return
		}
		logger.Info("file read again", slog.String(logkey.Name, e.Name), slog.Any(logkey.File, e.Paths))
	})
}

// Reloader is the part of a process that reads changed files again: by itself, and at once on SIGHUP.
type Reloader struct {
	Files  *filewatch.Watcher
	Logger *slog.Logger
	// Around runs a reload that was requested, and tells others that it begins and ends; nil just runs it.
	Around func(ctx context.Context, reload func())
}

// NewReloader makes a Reloader with a watcher that logs each change.
func NewReloader(logger *slog.Logger) Reloader {
	return Reloader{Files: NewFiles(logger), Logger: logger}
}

// Run watches the files until ctx ends.
func (r Reloader) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.Files.Run(ctx) })
	g.Go(func() error {
		return Reloads(ctx, func() {
			r.Logger.InfoContext(ctx, "reload requested, reading changed files")
			if r.Around != nil {
				r.Around(ctx, r.Files.Check)
				return
			}
			r.Files.Check()
		})
	})
	return g.Wait()
}
