package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/live"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/management"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/private"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/registration"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/sources"
)

// Store is what a proxy needs of the store; *redisstore.Store is one.
type Store interface {
	registration.Store
	management.Store
}

// Deps are what a proxy is given.
type Deps struct {
	// Store may be nil: then the proxy does not register where it listens.
	Store  Store
	Logger *slog.Logger
	// Files reads the certificates of the link again when they change; nil reads them once.
	Files *filewatch.Watcher
	// Registerer may be nil: then the figures go nowhere.
	Registerer prometheus.Registerer
	// Rules, when not nil, are served instead of what the configuration names. FromFile says that they come from a file.
	Rules    *ingress.Set
	FromFile bool
	// Versions has the configurations that operators put into the store, and RuleKey opens them; without both the proxy follows none.
	Versions live.Versions
	RuleKey  *process.RuleKey
	// Shares, when not nil, is where the proxies share the limits of private-network flows.
	Shares private.Shares
	// Private are listeners of this process that nobody may reach through a tunnel, such as the one of the ops API.
	Private []net.Addr
	// Version is part of the registration in the store.
	Version string
}

// tails is the store as log streams use it, or nil.
func (d Deps) tails() management.Store {
	if d.Store == nil {
		return nil
	}
	return d.Store
}

// state is where a proxy is in its life.
type state int32

const (
	stateNew state = iota
	stateServing
	stateDraining
)

// Errors of Ready.
var (
	errNotServing = errors.New("not serving yet")
	errDraining   = errors.New("draining")
)

// Service is one proxy.
type Service struct {
	cfg       Config
	log       *slog.Logger
	flows     *flow.Handler
	private   *private.Networks
	live      *live.State
	sources   *sources.Sources
	manage    *management.Service
	follow    func(ctx context.Context) // nil without a key
	listeners []net.Listener
	register  *registration.Registration // nil without a store
	closeKeys func()
	state     atomic.Int32
}

// New reads the ingress rules and opens the link listeners. The caller runs the service, which closes them.
func New(cfg Config, deps Deps) (s *Service, err error) {
	if err = cfg.Validate(); err != nil {
		return nil, err
	}
	tags, err := cfg.tags()
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	if cfg.ID == "" {
		cfg.ID = host + "-" + suffix()
	}
	log := deps.Logger
	if len(cfg.Listen) > 0 {
		log = log.With(slog.String(logkey.ProxyID, cfg.ID))
	}
	point, err := cfg.Opener.Point(deps.Private)
	if err != nil {
		return nil, err
	}
	open, err := cfg.Opener.Opener(point, log, deps.Registerer)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			open.Close()
		}
	}()
	s = &Service{cfg: cfg, log: log, closeKeys: open.Close}
	s.manage = management.New(cfg.Management, log, deps.Registerer, deps.tails())
	if err := s.openRules(deps, live.Config{
		Opener: open, ManagementHosts: cfg.Management.Hosts(),
		MaxActiveFlows: cfg.MaxActiveFlows, StateDir: cfg.StateDir, Logger: log, Registerer: deps.Registerer,
	}); err != nil {
		return nil, err
	}
	if deps.Versions != nil && deps.RuleKey != nil {
		s.follow = func(ctx context.Context) { s.live.Follow(ctx, cfg.ID, deps.Versions, deps.RuleKey) }
	}
	table := s.live.Table()
	if s.private, err = private.New(cfg.Private, private.Deps{
		Table: table, Point: point, Shares: deps.Shares, Process: cfg.ID + "/" + suffix(), Logger: log, Registerer: deps.Registerer,
	}); err != nil {
		return nil, err
	}
	requests, streams := management.FlowLoggers(log)
	s.flows = flow.New(flow.Config{
		Tags: tags, SpoolLimit: cfg.SpoolLimit, Streams: cfg.Streams, Limits: cfg.Limits,
		Dialer: s.private.Dialer(), Flows: s.private.Limit(), Management: s.manage.Serve, Logs: flow.Loggers{HTTP: requests, TCP: streams},
	}, table, log, deps.Registerer)
	if err := s.listen(deps.Files); err != nil {
		return nil, err
	}
	if deps.Store != nil && len(s.listeners) > 0 {
		s.register = registration.New(deps.Store, registration.Config{
			ID: cfg.ID, Host: host, Version: deps.Version, Instance: suffix(),
			Advertise: cfg.Advertise, Listen: link.EndpointOf(s.listeners[0]),
		}, log)
	}
	return s, nil
}

// openRules puts the local rules in force and watches their files.
func (s *Service) openRules(deps Deps, cfg live.Config) (err error) {
	s.sources, err = sources.Open(s.cfg.Config, given(deps.Rules, deps.FromFile), deps.Files, s.log, func(local live.Rules) (err error) {
		if s.live != nil {
			return s.live.ReplaceLocal(local)
		}
		cfg.Rules = local
		s.live, err = live.New(cfg)
		return err
	})
	return err
}

// ReplaceRules replaces the rules that Deps had by others of the same file: for tunnels without a pushed configuration. On an error the
// former rules stay in force.
func (s *Service) ReplaceRules(set *ingress.Set) error { return s.sources.Replace(given(set, true)) }

func given(set *ingress.Set, fromFile bool) sources.Given {
	if fromFile {
		return sources.Given{Set: set, From: live.SourceFile}
	}
	return sources.Given{Set: set, From: live.SourceFlags}
}

// suffix tells two proxies on one host apart.
func suffix() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// listen opens all link endpoints or none.
func (s *Service) listen(files *filewatch.Watcher) error {
	var conf *tls.Config
	if hasTCP(s.cfg.Listen) {
		server, _, err := link.LoadTLS(s.cfg.TLSDir, files)
		if err != nil {
			return fmt.Errorf("tls_dir: %w", err)
		}
		conf = server
	}
	for _, text := range s.cfg.Listen {
		l, err := listenOn(text, conf)
		if err != nil {
			s.closeListeners()
			return fmt.Errorf("listen on %s: %w", text, err)
		}
		s.listeners = append(s.listeners, l)
	}
	return nil
}

func listenOn(text string, conf *tls.Config) (net.Listener, error) {
	e, err := link.ParseEndpoint(text)
	if err != nil {
		return nil, err
	}
	return e.Listen(conf)
}

func (s *Service) closeListeners() {
	for _, l := range s.listeners {
		_ = l.Close() // it has accepted no connection
	}
}

// Handler serves flows directly, for workers in the same process.
func (s *Service) Handler() link.Handler { return link.HandlerFunc(s.serveStream) }

// serveStream hands a flow to what serves its kind.
func (s *Service) serveStream(ctx context.Context, m link.Meta, st link.Stream) {
	switch m.Kind {
	case link.KindConfig:
		s.live.ServeStream(ctx, m, st)
	case link.KindDatagrams:
		s.private.ServeStream(ctx, m, st)
	default:
		s.flows.ServeStream(ctx, m, st)
	}
}

// Apply puts a configuration in force that the edge pushed to a worker in the same process.
func (s *Service) Apply(ctx context.Context, u live.Update) (int32, error) {
	return s.live.Apply(ctx, u)
}

// ConfigJSON is the configuration in force for a tunnel as the /config endpoint shows it.
func (s *Service) ConfigJSON(id tunnel.ID) ([]byte, error) { return s.live.ConfigJSON(id) }

// ICMPSources are the addresses from which this host sends ICMP errors.
func (s *Service) ICMPSources() (v4, v6 netip.Addr) { return s.private.ICMPSources() }

// Endpoints says where the link listeners are, with the ports that were given for port 0.
func (s *Service) Endpoints() []link.Endpoint {
	out := make([]link.Endpoint, 0, len(s.listeners))
	for _, l := range s.listeners {
		out = append(out, link.EndpointOf(l))
	}
	return out
}

// Ready says why the proxy should get no flows, or nil.
func (s *Service) Ready() error {
	switch state(s.state.Load()) {
	case stateServing:
		return nil
	case stateDraining:
		return errDraining
	case stateNew:
	}
	return errNotServing
}

// CloseStreams ends the log streams of the management service, which would otherwise last as long as a drain may take.
func (s *Service) CloseStreams() { s.manage.Close() }

// Run serves until ctx ends, then drains. First Ready reports an error, workers get GOAWAY and the registration is marked. Running flows
// may finish within the drain timeout. At last the registration is removed and idle connections to origins are closed.
func (s *Service) Run(ctx context.Context) error {
	defer s.closeKeys()
	defer s.live.Table().Close()
	defer s.private.Close()
	s.live.Restore(ctx) // before any flow
	defer s.findRules(ctx)()
	served, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	g, served := errgroup.WithContext(served)
	for _, l := range s.listeners {
		server := link.NewServer(link.ServerConfig{
			Handler: s.Handler(), Logger: s.log, Instance: s.cfg.ID, DrainTimeout: s.cfg.DrainTimeout, SafeRepeats: true,
		})
		g.Go(func() error { return server.Serve(served, l) })
	}
	g.Go(func() error { return s.private.Run(served) })
	if s.follow != nil {
		follow, stop := context.WithCancel(ctx)
		defer context.AfterFunc(served, stop)() // a listener may fail
		defer stop()
		g.Go(func() error {
			s.follow(follow)
			return nil
		})
	}
	s.state.Store(int32(stateServing))
	s.log.InfoContext(ctx, "proxy serving", slog.Int(logkey.Rules, len(s.live.Table().Default().Routes())),
		slog.Any(logkey.Endpoints, s.Endpoints()))
	g.Go(func() error {
		defer stopServing()
		s.attend(ctx, served)
		return nil
	})
	err := g.Wait()
	if s.register != nil {
		s.register.Remove(ctx)
	}
	return err
}

// findRules lets providers find rules until stop is called, and returns once they have found the first ones: before any flow.
func (s *Service) findRules(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	first, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		s.sources.Run(ctx, first)
	}()
	<-first
	return func() {
		cancel()
		<-done
	}
}

// attend keeps the registration alive until ctx ends or a listener fails, and announces the drain.
func (s *Service) attend(ctx, served context.Context) {
	if s.register == nil {
		select {
		case <-ctx.Done():
		case <-served.Done():
		}
	} else {
		s.register.Keep(ctx, served)
	}
	s.state.Store(int32(stateDraining))
	s.live.Close()
	s.manage.Close()
	s.log.InfoContext(ctx, "proxy draining", slog.Int(logkey.Flows, s.flows.InFlight()), slog.Int(logkey.UDPSessions, s.private.Sessions()))
	if s.register != nil {
		s.register.AnnounceDrain(ctx)
	}
	s.private.Drain() // sessions have no end of their own to wait for
}
