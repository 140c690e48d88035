package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/redact"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/crashmark"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

var (
	errClosed = errors.New("cloudflared already shutdown") // the reference's text
	// errOther says that the rules of this proxy belong to another tunnel: it has one table for all.
	errOther = errors.New("this proxy follows the configuration of another tunnel")
)

// Config is what a State needs.
type Config struct {
	Table *router.Table
	// MaxActiveFlows is the text of the local flag that beats the pushed limit; empty when it is not given.
	MaxActiveFlows string
	// StateDir is where a mark is kept while a document is applied, so that one that ends the process is given up; empty keeps none.
	StateDir string
	Logger   *slog.Logger
	// Registerer may be nil.
	Registerer prometheus.Registerer
}

// State is the configuration in force.
type State struct {
	cfg   Config
	marks *crashmark.Marks
	gauge prometheus.Gauge

	// mu makes pushes come one after another, and guards what follows.
	mu      sync.Mutex
	version int32
	closed  bool
	// last is the error of the last push that was rejected, until one is applied, and tried its version.
	last  string
	tried int32
}

// Update is a configuration that the edge pushed.
type Update = remoteconfig.Update

// New makes a state with the local configuration, which table serves already.
func New(cfg Config) (*State, error) {
	s := &State{cfg: cfg, marks: crashmark.New(cfg.StateDir), version: remoteconfig.LocalVersion}
	s.gauge = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "culvert_proxy_config_version", Help: "Version of the configuration in force; -1 is the local one.",
	})
	s.gauge.Set(float64(remoteconfig.LocalVersion))
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(s.gauge); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return s, nil
}

// Apply puts a pushed configuration in force and returns the version in force afterwards. Every error is a
// *remoteconfig.RejectedError. A version that is not newer changes nothing and is no error.
func (s *State) Apply(ctx context.Context, u remoteconfig.Update) (int32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.cfg.Logger.With(slog.String(logkey.TunnelID, u.Tunnel.String()), slog.Int(logkey.Version, int(u.Version)))
	switch {
	case !s.Serves(u.Tunnel):
		return remoteconfig.LocalVersion, remoteconfig.Reject(errOther) // s.version is not a version of this tunnel
	case u.Version <= s.version:
		log.DebugContext(ctx, "configuration is not newer", slog.Int(logkey.Applied, int(s.version)))
		return s.version, nil
	case s.closed:
		return s.version, remoteconfig.Reject(errClosed)
	}
	set, err := s.applyMarked(ctx, log, u)
	if err != nil {
		tell := log.DebugContext // every connection pushes the same document: one line at the error level is enough
		if s.last != err.Error() || s.tried != u.Version {
			tell = log.ErrorContext
		}
		s.last, s.tried = err.Error(), u.Version
		tell(ctx, "configuration rejected", slog.Int(logkey.Applied, int(s.version)), slog.Any(logkey.Err, err),
			slog.String(logkey.Document, string(u.Document)))
		return s.version, remoteconfig.Reject(err)
	}
	s.version, s.last = u.Version, ""
	s.gauge.Set(float64(u.Version))
	log.InfoContext(ctx, "configuration applied", slog.Int(logkey.Rules, len(set.Rules)), slog.Int(logkey.Bytes, len(u.Document)),
		slog.String(logkey.Document, string(u.Document)))
	for _, text := range set.Warnings() {
		log.WarnContext(ctx, "ingress rules accepted with a warning", slog.String(logkey.Warning, text))
	}
	return u.Version, nil
}

// Serves reports whether the rules in force apply to requests of a tunnel: local rules do to all, pushed ones to their own
// tunnel alone.
func (s *State) Serves(id tunnel.ID) bool {
	return s.cfg.Table.Current().Serves(id)
}

// applyMarked is apply with a mark on disk as long as it runs. Without a mark that can be written a document is applied all the same.
func (s *State) applyMarked(ctx context.Context, log *slog.Logger, u remoteconfig.Update) (*ingress.Set, error) {
	err := s.marks.Begin(u.Tunnel, u.Document)
	if errors.Is(err, crashmark.ErrCrashes) {
		return nil, err
	}
	if err != nil {
		log.WarnContext(ctx, "state directory unusable", slog.Any(logkey.Err, err))
	}
	set, err := s.apply(u)
	if merr := s.marks.End(u.Tunnel); merr != nil {
		log.WarnContext(ctx, "state directory unusable", slog.Any(logkey.Err, merr))
	}
	return set, err
}

// apply makes a document the live one, or changes nothing.
func (s *State) apply(u remoteconfig.Update) (*ingress.Set, error) {
	doc, err := ingress.ParseJSON(u.Document)
	if err != nil {
		return nil, err
	}
	set, err := ingress.CompileRemote(doc)
	if err != nil {
		return nil, err
	}
	if set, err = Local(set, s.cfg.MaxActiveFlows); err != nil {
		return nil, err
	}
	if err := s.cfg.Table.Swap(u.Tunnel, set); err != nil {
		var start *router.StartError
		if errors.As(err, &start) {
			err = start.Err // the edge knows the rules by their services
		}
		return nil, fmt.Errorf("failed to start origin: %w", err)
	}
	return set, nil
}

// Local puts the local limit of flows in place of the one in set; an empty text leaves set as it is.
func Local(set *ingress.Set, maxActiveFlows string) (*ingress.Set, error) {
	if maxActiveFlows == "" {
		return set, nil
	}
	return set.WithMaxActiveFlows(maxActiveFlows)
}

// Version is the version in force, and the error of the last push if that was rejected, without passwords.
func (s *State) Version() (version int32, rejected string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version, redact.URL(s.last)
}

// ConfigJSON is the response of the /config endpoint (docs/spec/ingress.md 12.5).
func (s *State) ConfigJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Table.Current().Set.ConfigJSON(s.version)
}

// Close refuses further pushes.
func (s *State) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}
