package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"syscall"

	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/services/supervisor"
)

// roleSupervisors makes the program run supervisors for another one of it.
const roleSupervisors = "supervisors"

// runSupervisors runs supervisors until ctx ends, each with a store of its own.
func runSupervisors(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet(roleSupervisors, flag.ContinueOnError)
	url := fs.String("url", "", "URL of the store")
	count := fs.Int("count", 1, "how many")
	dir := fs.String("profiles", "", "directory for a profile of each phase, which SIGUSR1 ends")
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	log := newLogger()
	var running sync.WaitGroup
	errs := make(chan error, *count)
	for n := range *count {
		store, err := redisstore.OpenURL(ctx, *url)
		if err != nil {
			return err
		}
		cfg := supervisor.Default()
		cfg.ID = fmt.Sprintf("supervisor-%d", n)
		s, err := supervisor.New(cfg, supervisor.Deps{Store: store, Logger: log})
		if err != nil {
			return err
		}
		running.Go(func() {
			errs <- s.Run(ctx)
			_ = store.Close()
		})
	}
	if *dir != "" {
		running.Go(func() { profileUntil(ctx, *dir) })
	}
	running.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

// profileUntil writes processor profiles until ctx ends, each until the next SIGUSR1.
func profileUntil(ctx context.Context, dir string) {
	next := make(chan os.Signal, 1)
	signal.Notify(next, syscall.SIGUSR1)
	defer signal.Stop(next)
	p := profiles{dir: dir, name: roleSupervisors}
	p.next()
	defer p.stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next:
			p.next()
		}
	}
}

// profiles are the processor profiles of this process, one per phase.
type profiles struct {
	dir, name string
	count     int
	file      *os.File
}

// next ends a profile and begins another one.
func (p *profiles) next() {
	p.stop()
	if p.dir == "" {
		return
	}
	p.count++
	f, err := os.Create(filepath.Join(p.dir, fmt.Sprintf("%s-%d.pprof", p.name, p.count)))
	if err == nil {
		p.file = f
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale: profile:", err)
	}
}

func (p *profiles) stop() {
	if p.file != nil {
		pprof.StopCPUProfile()
		_ = p.file.Close() // what was written of it is there
		p.file = nil
	}
}

// newLogger writes to standard error, which the parent drops unless it is verbose.
func newLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
