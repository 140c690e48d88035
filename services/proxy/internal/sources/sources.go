package sources

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/discovered"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/docker"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/localrules"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// Provider finds rules elsewhere than in files while the proxy runs.
type Provider interface {
	// Name is the kind of place, in one word.
	Name() string
	// Run passes on all that there is, first as soon as it is known and then whenever it may have changed, until ctx ends. While the place
	// cannot be reached it passes on nothing, so that what was found stays.
	Run(ctx context.Context, use func([]discovered.Route))
}

// firstWithin bounds how long the start waits for what providers find: requests for it should not fail after a restart.
const firstWithin = 2 * time.Second

// Sources are where the local rules of a proxy come from.
type Sources struct {
	log       *slog.Logger
	use       func(localrules.Rules) error
	providers []Provider

	// mu guards what follows and serializes changes.
	mu     sync.Mutex
	base   localrules.Rules
	found  [][]discovered.Route // of each provider
	faults []discovered.Fault   // that were logged
	fault  string               // of the last change of what was found that could not be used
}

// Given are rules that the caller has, and where it has them from.
type Given struct {
	Set  *ingress.Set
	From rules.Source
}

// Open reads the files that cfg names, unless given has rules, and passes the rules on to use: once before it returns, and whenever
// they change. On an error of use the former rules stay in force.
func Open(cfg Config, given Given, watcher *filewatch.Watcher, log *slog.Logger, use func(localrules.Rules) error) (*Sources, error) {
	s := &Sources{log: log, use: use}
	if cfg.Docker.Endpoint != "" {
		p, err := docker.New(cfg.Docker, log)
		if err != nil {
			return nil, err
		}
		s.providers = append(s.providers, p)
	}
	return s, s.open(cfg, given, watcher)
}

func (s *Sources) open(cfg Config, given Given, watcher *filewatch.Watcher) error {
	s.found = make([][]discovered.Route, len(s.providers))
	if given.Set != nil {
		return s.Replace(given)
	}
	files := localrules.Files{General: cfg.ConfigFile, Tunnels: cfg.ConfigFiles}
	return files.Watch(watcher, cfg.Origin, s.log, s.setBase)
}

// Replace takes other rules in the place of those that Open was given. On an error the former rules stay in force.
func (s *Sources) Replace(given Given) error {
	local := localrules.Rules{General: given.Set, Source: given.From}
	local.Log(s.log)
	return s.setBase(local)
}

// setBase replaces what is not from providers.
func (s *Sources) setBase(base localrules.Rules) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.apply(base, base.Source, slices.Concat(s.found...)); err != nil {
		return err
	}
	s.base = base
	return nil
}

// Run lets the providers find rules until ctx ends. It closes first once all have found what there is, or when that takes too long.
func (s *Sources) Run(ctx context.Context, first chan<- struct{}) {
	var done, running sync.WaitGroup
	for i, p := range s.providers {
		done.Add(1)
		var once sync.Once
		running.Go(func() {
			defer once.Do(done.Done)
			p.Run(ctx, func(routes []discovered.Route) {
				s.setFound(ctx, i, routes)
				once.Do(done.Done)
			})
		})
	}
	found := make(chan struct{})
	go func() {
		done.Wait()
		close(found)
	}()
	late := time.NewTimer(firstWithin)
	defer late.Stop()
	select {
	case <-found:
	case <-late.C:
	}
	close(first)
	running.Wait()
	<-found
}

// setFound replaces what a provider found. What cannot be used is left out.
func (s *Sources) setFound(ctx context.Context, i int, routes []discovered.Route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.EqualFunc(s.found[i], routes, discovered.Route.Same) {
		return
	}
	next := slices.Clone(s.found)
	next[i] = routes
	s.found = next // later changes of the files are tried with it, too
	name := s.providers[i].Name()
	err := s.apply(s.base, rules.Source(name), slices.Concat(next...))
	switch {
	case err == nil:
		s.fault = ""
		s.log.InfoContext(ctx, "rules of a provider changed", slog.String(logkey.Source, name), slog.Int(logkey.Rules, len(routes)))
	case err.Error() != s.fault:
		s.fault = err.Error()
		s.log.ErrorContext(ctx, "rules of a provider not used", slog.String(logkey.Source, name), slog.Any(logkey.Err, err))
	}
}

// apply puts base with the routes in force, because of a change at source. A route whose origin cannot be served is left out.
func (s *Sources) apply(base localrules.Rules, source rules.Source, routes []discovered.Route) error {
	use := slices.Clone(routes)
	var faults []discovered.Fault
	for {
		merged := discovered.Merge(discovered.Rules{General: base.General, Tunnels: base.Tunnels}, use)
		err := s.use(localrules.Rules{General: merged.General, Tunnels: merged.Tunnels, Source: source, Warnings: base.Warnings})
		if err == nil {
			s.logFaults(append(faults, merged.Faults...))
			return nil
		}
		kept, left := without(use, merged, err)
		if len(left) == 0 {
			return err
		}
		use, faults = kept, append(faults, left...)
	}
}

// without gives the routes without those because of which the rules could not be served, and says what is wrong with these.
func without(routes []discovered.Route, merged discovered.Merged, err error) (kept []discovered.Route, left []discovered.Fault) {
	start, is := errors.AsType[*router.StartError](err)
	if !is {
		return routes, nil
	}
	culprits := merged.Routes(start.Tunnel, start.Rule)
	for n, r := range routes {
		if slices.Contains(culprits, n) {
			left = append(left, discovered.Fault{From: r.From, Key: r.Key, Text: start.Err.Error()})
			continue
		}
		kept = append(kept, r)
	}
	return kept, left
}

// logFaults logs the faults that were not there before.
func (s *Sources) logFaults(faults []discovered.Fault) {
	for _, f := range faults {
		if slices.Contains(s.faults, f) {
			continue
		}
		attrs := []any{slog.String(logkey.Name, f.From), slog.String(logkey.Key, f.Key), slog.String(logkey.Reason, f.Text)}
		if f.Used {
			s.log.Warn("rule of a provider accepted with a warning", attrs...)
			continue
		}
		s.log.Warn("rule of a provider not used", attrs...)
	}
	s.faults = faults
}
