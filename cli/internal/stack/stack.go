package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	connworker "github.com/culvert-tunnel/culvert/services/conn-worker"
	"github.com/culvert-tunnel/culvert/services/discovery"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/proxy"
	"github.com/culvert-tunnel/culvert/services/supervisor"
)

// Config is the configuration of every part.
type Config struct {
	// Redis is a shared store; without a URL the store is inside the process.
	Redis redisstore.Config
	// Edge is the own edge; nil means that the connector dials an edge elsewhere.
	Edge       *edge.Config
	Discovery  discovery.Config
	Supervisor supervisor.Config
	Proxy      proxy.Config
	Worker     connworker.Config

	// Credentials are those of the tunnel that the worker serves. An own edge replaces them by those of its bootstrap tunnel.
	// FromToken says that they came as a run token.
	Credentials tunnel.Credentials
	FromToken   bool
	// Rules are the local rules; RulesFromFile says that they come from a file.
	Rules         *ingress.Set
	RulesFromFile bool
	LocalConfig   func() []byte
}

// Deps is what a stack gets from its process.
type Deps struct {
	Logger   *slog.Logger
	Registry prometheus.Registerer
	Ops      *ops.Server
	Version  string
	// Reload reads the files that the configuration names again when they change.
	Reload process.Reloader
}

// Stack is a system in one process.
type Stack struct {
	cfg  Config
	deps Deps

	store  *redisstore.Store
	edge   *edge.Service
	proxy  *proxy.Service
	worker *connworker.Service
	rows   []process.Row
	// ruleKey seals configurations in the store; nil keeps none.
	ruleKey *process.RuleKey
	// socketDir holds the Unix socket of the proxy, when there is one of our making.
	socketDir string

	stopping atomic.Bool
}

// awaitStore bounds how long a part that needs the store may delay the start of the next ones: the proxy must serve while the
// store is unavailable.
const awaitStore = 250 * time.Millisecond

// part is a service as the stack sees it.
type part interface {
	process.Runner
	ops.Readier
	ops.Mounter
}

// New builds all parts. ctx bounds only the building.
func New(ctx context.Context, cfg Config, deps Deps) (*Stack, error) {
	s := &Stack{cfg: cfg, deps: deps}
	if err := s.shareProxy(); err != nil {
		return nil, err
	}
	if err := s.openStore(ctx); err != nil {
		return nil, errors.Join(err, s.unshareProxy())
	}
	// The order says what needs what: the edge must listen before its addresses can be published, and nothing may reach
	// the worker before the proxy serves.
	table := []struct {
		name  string
		build func() (part, error)
		await time.Duration
		skip  bool
	}{
		{name: "edge", build: s.buildEdge, skip: cfg.Edge == nil},
		{name: "discovery", build: s.buildDiscovery, await: awaitStore},
		{name: "supervisor", build: s.buildSupervisor, await: awaitStore},
		{name: "proxy", build: s.buildProxy},
		{name: "conn-worker", build: s.buildWorker},
	}
	s.rows = append(s.rows,
		process.Row{Name: "reload", Runner: deps.Reload},
		process.Row{Name: "ops", Runner: deps.Ops})
	if cfg.Redis.URL != "" {
		s.rows = append(s.rows, process.Row{Name: "log relay", Runner: process.LogRelay(s.store, deps.Logger)},
			process.Row{Name: "store advisor", Runner: redisstore.Advisor{Store: s.store, Logger: deps.Logger}})
	}
	for _, row := range table {
		if row.skip {
			continue
		}
		p, err := row.build()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", row.name, err), s.store.Close(), s.unshareProxy())
		}
		deps.Ops.Add(row.name, p)
		s.rows = append(s.rows, process.Row{Name: row.name, Runner: p, Ready: p.Ready, Await: row.await})
	}
	last := &s.rows[len(s.rows)-1]
	last.Ready = nil // nothing waits for the worker; it may take long to reach the edge
	return s, nil
}

// Run runs all parts until ctx ends.
func (s *Stack) Run(ctx context.Context) error {
	unhook := context.AfterFunc(ctx, func() { // say "not ready" before anything stops
		s.stopping.Store(true)
		s.proxy.CloseStreams() // the worker would wait for them
		s.deps.Ops.SetStopping()
	})
	defer unhook()
	err := process.NewGroup(s.deps.Logger, s.rows...).Run(ctx)
	return errors.Join(err, s.store.Close(), s.unshareProxy())
}

// Add appends a runner that starts last and stops first.
func (s *Stack) Add(name string, r process.Runner) {
	s.rows = append(s.rows, process.Row{Name: name, Runner: r})
}

// WorkerReady says why there is no connection to the edge, or nil.
func (s *Stack) WorkerReady() error { return s.worker.Ready() }

// ReplaceCredentials uses the secret of c for the registrations to come.
func (s *Stack) ReplaceCredentials(c tunnel.Credentials) error { return s.worker.ReplaceCredentials(c) }

// ReplaceRules replaces the local rules, which count while the edge has pushed none. On an error the former ones stay in force.
func (s *Stack) ReplaceRules(set *ingress.Set) error { return s.proxy.ReplaceRules(set) }

// Tunnel is the tunnel that the connector serves.
func (s *Stack) Tunnel() tunnel.ID { return s.cfg.Credentials.TunnelID }

// Edge is the own edge, or nil.
func (s *Stack) Edge() *edge.Service { return s.edge }

func (s *Stack) log(name string) *slog.Logger {
	return s.deps.Logger.With(slog.String(logkey.Part, name))
}

func (s *Stack) openStore(ctx context.Context) (err error) {
	if s.cfg.Redis.URL != "" {
		s.store, err = redisstore.OpenWatched(ctx, s.cfg.Redis, s.deps.Reload.Files)
	} else {
		s.store, err = redisstore.OpenEmbedded(ctx, s.log("store"))
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if s.cfg.Redis.URL == "" { // the versions end with the process, as the store does
		s.ruleKey, err = process.NewRuleKey()
		return err
	}
	s.ruleKey, err = process.ReadRuleKey(s.cfg.Supervisor.ConfigKeyFile, s.deps.Reload.Files)
	return err
}

// errAlone says that no other process could use the link.
var errAlone = errors.New("--link-listen needs --redis: without it no other process can join")

// shareProxy lets workers in other processes reach the proxy of this one: as the operator said, or else over a Unix
// socket, for the processes of this host and user.
func (s *Stack) shareProxy() (err error) {
	switch given := len(s.cfg.Proxy.Listen) > 0; {
	case s.cfg.Redis.URL == "" && given:
		return errAlone
	case s.cfg.Redis.URL == "" || given:
		return nil
	}
	dir, err := link.MakeSocketDir() // where workers look by default
	if err != nil {
		return err
	}
	if s.socketDir, err = os.MkdirTemp(dir, "proxy-"); err != nil {
		return fmt.Errorf("link socket: %w", err)
	}
	s.cfg.Proxy.Listen = []string{"unix:" + filepath.Join(s.socketDir, "proxy.sock")}
	return nil
}

func (s *Stack) unshareProxy() error {
	if s.socketDir == "" {
		return nil
	}
	return os.RemoveAll(s.socketDir)
}

func (s *Stack) buildEdge() (part, error) {
	e, err := edge.New(*s.cfg.Edge, edge.Deps{Logger: s.log("edge"), Registerer: s.deps.Registry, Files: s.deps.Reload.Files})
	if err != nil {
		return nil, err
	}
	s.edge = e
	return e, s.useOwnEdge()
}

// useOwnEdge points the connector's parts to the edge of this process.
func (s *Stack) useOwnEdge() error {
	c, ok := s.edge.BootstrapCredentials()
	if !ok {
		return errors.New("no bootstrap tunnel")
	}
	s.cfg.Credentials = c
	s.cfg.Worker.Edge.CACert = s.edge.CACertPath()
	for _, addr := range s.edge.ConnectorAddrs() {
		s.cfg.Discovery.Static = append(s.cfg.Discovery.Static, addr.String())
	}
	return nil
}

func (s *Stack) buildDiscovery() (part, error) {
	return discovery.New(s.cfg.Discovery, discovery.Deps{
		Store: s.store, Logger: s.log("discovery"), Registerer: s.deps.Registry,
		Files: s.deps.Reload.Files, Network: process.WatchNetwork,
	})
}

func (s *Stack) buildSupervisor() (part, error) {
	return supervisor.New(s.cfg.Supervisor, supervisor.Deps{
		Store: s.store, Logger: s.log("supervisor"), Registerer: s.deps.Registry, Configurations: s.store, RuleKey: s.ruleKey,
		Records: s.store,
	})
}

func (s *Stack) buildProxy() (part, error) {
	deps := proxy.Deps{
		Store: s.store, Logger: s.log("proxy"), Registerer: s.deps.Registry, Rules: s.cfg.Rules, Version: s.deps.Version,
		FromFile: s.cfg.RulesFromFile, Files: s.deps.Reload.Files, Versions: s.store, RuleKey: s.ruleKey, Private: s.private(),
	}
	if s.cfg.Redis.URL != "" { // else there is no other proxy
		deps.Shares = s.store
	}
	p, err := proxy.New(s.cfg.Proxy, deps)
	s.proxy = p
	return p, err
}

// private are the listeners of this process that nobody may reach through the tunnel.
func (s *Stack) private() []net.Addr {
	all := s.deps.Ops.Listeners()
	if s.edge != nil {
		all = append(all, s.edge.AdminListeners()...)
	}
	return all
}

func (s *Stack) buildWorker() (part, error) {
	w, err := connworker.New(s.cfg.Worker, connworker.Deps{
		Store: s.store, Carrier: link.NewDirect(s.proxy.Handler()), Applier: s.proxy, Logger: s.log("conn-worker"), Registerer: s.deps.Registry,
		Version: s.deps.Version, Credentials: []tunnel.Credentials{s.cfg.Credentials}, FromToken: s.cfg.FromToken, LocalConfig: s.cfg.LocalConfig,
		Files: s.deps.Reload.Files, Alone: s.cfg.Redis.URL == "",
		Network: process.WatchNetwork,
	})
	s.worker = w
	return w, err
}
