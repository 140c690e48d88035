package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/redact"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/crashmark"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/lastgood"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/localrules"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

var errClosed = errors.New("cloudflared already shutdown") // the reference's text

// Config is what a State needs.
type Config struct {
	// Rules are the local rules at the start.
	Rules localrules.Rules
	// Opener makes the origins of all rules.
	Opener router.Opener
	// ManagementHosts are the hosts whose requests match no rule.
	ManagementHosts []string
	// MaxActiveFlows is the text of the local flag that beats the pushed limit; empty when it is not given.
	MaxActiveFlows string
	// StateDir is where a mark is kept while a document is applied, so that one that ends the process is given up, and where the last
	// document in force of each tunnel is kept; empty keeps neither.
	StateDir string
	Logger   *slog.Logger
	// Registerer may be nil.
	Registerer prometheus.Registerer
}

// State is the configuration in force of each tunnel.
type State struct {
	cfg     Config
	table   *router.Table
	marks   *crashmark.Marks
	copies  *lastgood.Copies
	metrics *metrics

	// applying makes pushes come one after another, whatever their tunnel: their memory does not add up, and a document that ends
	// the process leaves no mark of another one.
	applying sync.Mutex

	// mu guards what follows. It is never held while a document is applied.
	mu      sync.Mutex
	closed  bool
	tunnels map[tunnel.ID]*pushed
	// local are the tunnels with local rules of their own, and documents those of the local rules; the zero tunnel has the ones for all
	// others.
	local     map[tunnel.ID]bool
	documents map[tunnel.ID]*Document
	// unnoted says which local rules could not be written as a document, and why.
	unnoted map[tunnel.ID]string
	// changed receives when what is in force for a tunnel changed.
	changed chan struct{}
}

// pushed is what the edge, or an operator through the store, gave to one tunnel.
type pushed struct {
	at rules.Position // in force
	// last is the error of the last one that was rejected, until one is applied, and tried where that one stands.
	last  string
	tried rules.Position
	// document is what is in force; nil for an operator's version, which the store has.
	document *Document
}

// Document is a configuration that did not come through the store.
type Document struct {
	Source rules.Source
	Push   int32
	Text   []byte
}

// Rules are local rules.
type Rules = localrules.Rules

// Update is a configuration that the edge pushed.
type Update = remoteconfig.Update

// New makes a state with the local rules in force.
func New(cfg Config) (*State, error) {
	local, err := cfg.Rules.Limited(cfg.MaxActiveFlows)
	if err != nil {
		return nil, err
	}
	table, err := router.New(local.General, cfg.Opener, cfg.ManagementHosts...)
	if err != nil {
		return nil, err
	}
	if err := table.SwapAll(router.Changes{Tunnels: local.Tunnels}); err != nil {
		return nil, err
	}
	s := &State{
		cfg: cfg, table: table, marks: crashmark.New(cfg.StateDir), copies: lastgood.New(cfg.StateDir), metrics: newMetrics(),
		tunnels: make(map[tunnel.ID]*pushed), local: keys(local.Tunnels), changed: make(chan struct{}, 1),
	}
	s.documents = s.documentsOf(local)
	if cfg.Registerer != nil {
		if err := s.metrics.register(cfg.Registerer); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return s, nil
}

// Table holds the rules in force.
func (s *State) Table() *router.Table { return s.table }

// of gives a copy of what the edge pushed for a tunnel, and whether further pushes are refused.
func (s *State) of(id tunnel.ID) (now pushed, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.tunnels[id]; p != nil {
		return *p, s.closed
	}
	return pushed{at: rules.Local()}, s.closed
}

func (s *State) set(id tunnel.ID, now pushed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tunnels[id] = &now
	s.tell()
}

func (s *State) tell() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Changed receives after what is in force for a tunnel changed, or was rejected. Changes before the channel is read count as one.
func (s *State) Changed() <-chan struct{} { return s.changed }

// Positions says what is in force for each tunnel to which the edge or an operator gave a configuration, also a rejected one.
func (s *State) Positions() map[tunnel.ID]rules.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[tunnel.ID]rules.Position, len(s.tunnels))
	for id, p := range s.tunnels {
		out[id] = p.at
	}
	return out
}

// Apply puts a pushed configuration in force for its tunnel, and returns the version in force afterwards. Every error is a
// *remoteconfig.RejectedError. A version that is not newer changes nothing and is no error.
func (s *State) Apply(ctx context.Context, u remoteconfig.Update) (int32, error) {
	at, err := s.put(ctx, lastgood.Copy{Update: u})
	return at.Push, remoteconfig.Reject(err)
}

// ApplyVersion puts an operator's version of a configuration in force for a tunnel, and returns what is in force afterwards. One
// that is not newer changes nothing and is no error.
func (s *State) ApplyVersion(ctx context.Context, id tunnel.ID, at rules.Position, document []byte) (rules.Position, error) {
	return s.put(ctx, lastgood.Copy{Update: remoteconfig.Update{Tunnel: id, Version: at.Push, Document: document}, Number: at.Number})
}

// put puts a configuration in force, unless it is not newer than the one that is.
func (s *State) put(ctx context.Context, u lastgood.Copy) (rules.Position, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	at := rules.Position{Push: u.Version, Number: u.Number}
	log := s.cfg.Logger.With(slog.String(logkey.TunnelID, u.Tunnel.String()), slog.Int(logkey.Version, int(u.Version)))
	if u.Number > 0 {
		log = log.With(slog.Uint64(logkey.Number, u.Number))
	}
	now, closed := s.of(u.Tunnel)
	switch {
	case !at.Replaces(now.at):
		log.DebugContext(ctx, "configuration is not newer", slog.Int(logkey.Applied, int(now.at.Push)))
		return now.at, nil
	case closed:
		return now.at, errClosed
	}
	set, err := s.applyMarked(ctx, log, u.Update)
	if err != nil {
		tell := log.DebugContext // every connection pushes the same document: one line at the error level is enough
		if now.last != err.Error() || now.tried != at {
			tell = log.ErrorContext
		}
		now.last, now.tried = err.Error(), at
		s.set(u.Tunnel, now)
		tell(ctx, "configuration rejected", slog.Int(logkey.Applied, int(now.at.Push)), slog.Any(logkey.Err, err),
			slog.String(logkey.Document, string(u.Document)))
		return now.at, err
	}
	if err := s.copies.Save(u); err != nil {
		log.WarnContext(ctx, "state directory unusable", slog.Any(logkey.Err, err)) // it is in force all the same
	}
	now = pushed{at: at}
	if u.Number == 0 {
		now.document = &Document{Source: rules.SourcePush, Push: u.Version, Text: u.Document}
	}
	s.set(u.Tunnel, now)
	if at.Push > remoteconfig.LocalVersion {
		s.metrics.applied(u.Tunnel, at.Push)
	}
	log.InfoContext(ctx, "configuration applied", slog.Int(logkey.Rules, len(set.Rules)), slog.Int(logkey.Bytes, len(u.Document)),
		slog.String(logkey.Document, string(u.Document)))
	for _, text := range set.Warnings() {
		log.WarnContext(ctx, "ingress rules accepted with a warning", slog.String(logkey.Warning, text))
	}
	return at, nil
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
	if set, err = localrules.Limited(set, s.cfg.MaxActiveFlows); err != nil {
		return nil, err
	}
	if err := s.table.Swap(u.Tunnel, set); err != nil {
		var start *router.StartError
		if errors.As(err, &start) {
			err = start.Err // the edge knows the rules by their services
		}
		return nil, fmt.Errorf("failed to start origin: %w", err)
	}
	return set, nil
}

// Restore puts the configurations in force that the state directory has from a former run. One that cannot be used leaves the local
// rules in force until the edge pushes.
func (s *State) Restore(ctx context.Context) {
	updates, err := s.copies.Load()
	if err != nil {
		s.cfg.Logger.WarnContext(ctx, "saved configuration not used", slog.Any(logkey.Err, err))
	}
	for _, u := range updates {
		if _, err := s.put(ctx, u); err != nil {
			s.cfg.Logger.WarnContext(ctx, "saved configuration not used", slog.String(logkey.TunnelID, u.Tunnel.String()), slog.Any(logkey.Err, err))
		}
	}
}

// ReplaceLocal puts new local rules in force: for tunnels without a pushed configuration at once, and for none of the others. It is
// all or nothing: on an error the former rules stay in force.
func (s *State) ReplaceLocal(local localrules.Rules) error {
	local, err := local.Limited(s.cfg.MaxActiveFlows)
	if err != nil {
		return err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	changes := router.Changes{Default: local.General, Tunnels: make(map[tunnel.ID]*ingress.Set)}
	s.mu.Lock()
	for id := range s.local {
		changes.Tunnels[id] = nil
	}
	s.mu.Unlock()
	maps.Copy(changes.Tunnels, local.Tunnels)
	maps.DeleteFunc(changes.Tunnels, func(id tunnel.ID, _ *ingress.Set) bool {
		now, _ := s.of(id)
		return now.at != rules.Local()
	})
	if err := s.table.SwapAll(changes); err != nil {
		return err
	}
	documents := s.documentsOf(local)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.local, s.documents = keys(local.Tunnels), documents
	s.tell()
	return nil
}

func keys(tunnels map[tunnel.ID]*ingress.Set) map[tunnel.ID]bool {
	out := make(map[tunnel.ID]bool, len(tunnels))
	for id := range tunnels {
		out[id] = true
	}
	return out
}

// Version is the version in force for a tunnel, and the error of its last push if that was rejected, without passwords.
func (s *State) Version(id tunnel.ID) (version int32, rejected string) {
	now, _ := s.of(id)
	return now.at.Push, redact.URL(now.last)
}

// Tunnels lists the tunnels with local rules of their own and those for which the edge has pushed a configuration, also a rejected
// one, in the order of their ids.
func (s *State) Tunnels() []tunnel.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.local)
	for id := range s.tunnels {
		all[id] = true
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b tunnel.ID) int { return bytes.Compare(a[:], b[:]) })
}

// ConfigJSON is the response of the /config endpoint for a tunnel (docs/spec/ingress.md 12.5).
func (s *State) ConfigJSON(id tunnel.ID) ([]byte, error) {
	s.applying.Lock() // so that version and rules belong together
	defer s.applying.Unlock()
	now, _ := s.of(id)
	return s.table.For(id).Set.ConfigJSON(now.at.Push)
}

// Close refuses further pushes.
func (s *State) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}
