package docker

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/discovered"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/docker/label"
)

const (
	// quiet is how long no event must come until the list is read, and patience how long events may put that off.
	quiet    = 50 * time.Millisecond
	patience = 300 * time.Millisecond
	// again is when the list is read once more after a change: an engine may send an event a moment before its list shows the change.
	again = 400 * time.Millisecond
	// listEvery is the longest time between two lists: a stream of events may be dead without an error.
	listEvery = 30 * time.Second
	// openWithin is how long a stream may take to say that it stands, until the list is read all the same.
	openWithin = time.Second
)

// api is what the provider asks of an engine.
type api interface {
	list(ctx context.Context) ([]label.Container, error)
	watch(ctx context.Context, opened, changed func()) error
	close()
}

// Provider finds the routes that the labels of containers ask for.
type Provider struct {
	api     api
	options label.Options
	log     *slog.Logger
	// problems are those of the last list, which were logged.
	problems []label.Problem
	wait     backoff.Policy
	down     bool
}

// New makes a provider, which connects once it runs.
func New(cfg Config, log *slog.Logger) (*Provider, error) {
	e, err := newEngine(cfg)
	if err != nil {
		return nil, err
	}
	return newProvider(e, cfg, log), nil
}

func newProvider(a api, cfg Config, log *slog.Logger) *Provider {
	return &Provider{
		api: a, log: log, wait: backoff.Policy{Base: 250 * time.Millisecond, Retries: 6}, // below 16 s
		options: label.Options{
			Network: cfg.Network, Published: cfg.Published, HostAddress: cfg.HostAddress, Hostnames: cfg.Hostnames, Self: self(),
		},
	}
}

// self is the beginning of the id of the container in which this process runs, which is its host name unless somebody gave it another one.
func self() string {
	name, err := os.Hostname()
	if err != nil || len(name) != 12 {
		return ""
	}
	for _, c := range name {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return name
}

// Name is docker.
func (p *Provider) Name() string { return "docker" }

// Run passes on what was found, whenever it may have changed, until ctx ends.
func (p *Provider) Run(ctx context.Context, use func([]discovered.Route)) {
	defer p.api.close()
	for failures := 0; ; {
		listed, err := p.session(ctx, use)
		if ctx.Err() != nil {
			return
		}
		if failures++; listed {
			failures = 1
		}
		wait := p.wait.Wait(failures, rand.Int64N)
		if !p.down {
			p.log.WarnContext(ctx, "containers not read, their rules stay", slog.Any(logkey.Err, err))
		}
		p.down = true
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// session watches until the stream of events ends. The stream is opened before the list is read, so that what changes in between is seen
// as an event. listed says that a list was read.
func (p *Provider) session(ctx context.Context, use func([]discovered.Route)) (listed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan struct{}, 1)
	ended := make(chan error, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ended <- p.api.watch(ctx, tell, tell)
	}()
	defer func() {
		cancel()
		<-stopped
	}()
	next := time.NewTimer(openWithin)
	defer next.Stop()
	for {
		soon := listEvery
		select {
		case <-ctx.Done():
			return listed, ctx.Err()
		case err := <-ended:
			return listed, err
		case <-changed:
			settle(ctx, changed)
			soon = again
		case <-next.C:
		}
		all, err := p.api.list(ctx)
		if err != nil {
			return listed, err
		}
		listed = true
		p.pass(ctx, all, use)
		next.Reset(soon)
	}
}

// settle waits until no event has come for a moment: the start of a container makes several.
func settle(ctx context.Context, changed <-chan struct{}) {
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-time.After(quiet):
			return
		case <-changed:
		}
	}
}

// pass makes routes of a list, and logs what is new among the mistakes.
func (p *Provider) pass(ctx context.Context, all []label.Container, use func([]discovered.Route)) {
	if p.down {
		p.log.InfoContext(ctx, "containers read again")
		p.down = false
	}
	routes, problems := label.Routes(all, p.options)
	for _, x := range problems {
		if !slices.Contains(p.problems, x) {
			p.log.WarnContext(ctx, "label of a container not used", slog.String(logkey.Name, x.Container), slog.String(logkey.Key, x.Label),
				slog.String(logkey.Reason, x.Text))
		}
	}
	p.problems = problems
	out := make([]discovered.Route, len(routes))
	for i, r := range routes {
		out[i] = discovered.Route{Tunnel: r.Tunnel, From: "container " + r.Container, Key: r.Label, Priority: r.Priority, Spec: r.Spec}
	}
	use(out)
}
