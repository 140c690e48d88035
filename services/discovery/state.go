package discovery

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Why a replica is not ready.
var (
	errStarting = errors.New("starting")
	errNoPool   = errors.New("no edge pool was ever published")
)

// state is the shared state as this replica last read it.
type state struct {
	leads  bool
	leader string
	pool   edgepool.Pool
	// seen is when the pool's version was first seen here: its age, without comparing two clocks.
	seen time.Time
	// problem is why the last round failed.
	problem error
	// looked is the time of this replica's last lookup, and failure how it failed.
	looked  time.Time
	failure error
}

// Ready returns why the replica cannot work, or nil. A failed lookup is no reason while there is a pool.
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state.problem != nil:
		return s.state.problem
	case s.state.pool.Version == 0 && s.state.failure != nil:
		return errors.Join(errNoPool, s.state.failure)
	case s.state.pool.Version == 0:
		return errNoPool
	default:
		return nil
	}
}

// Routes adds the replica's own endpoint.
func (s *Service) Routes(g *echo.Group) { g.GET("/pool", s.show) }

// view is the state as the ops API shows it.
type view struct {
	Name       string         `json:"name"`
	Leading    bool           `json:"leading"`
	Leader     string         `json:"leader"`
	Pool       *edgepool.Pool `json:"pool"`
	AgeSeconds float64        `json:"age_seconds"`
	// Stale says that this replica's last lookup failed; the pool is the last good one.
	Stale      bool       `json:"stale"`
	LastLookup *time.Time `json:"last_lookup,omitempty"`
	LastError  string     `json:"last_error,omitempty"`
}

func (s *Service) show(c echo.Context) error {
	s.mu.Lock()
	st := s.state
	s.mu.Unlock()
	v := view{Name: s.cfg.Name, Leading: st.leads, Leader: st.leader, Stale: st.failure != nil}
	if st.pool.Version != 0 {
		v.Pool, v.AgeSeconds = &st.pool, time.Since(st.seen).Seconds()
	}
	if !st.looked.IsZero() {
		v.LastLookup = &st.looked
	}
	if err := errors.Join(st.problem, st.failure); err != nil {
		v.LastError = err.Error()
	}
	return c.JSON(http.StatusOK, v)
}

// look reads the leader and the published pool. It is no error when there is none yet.
func (s *Service) look(ctx context.Context) error {
	leader, err := s.store.Leader(ctx, s.role())
	if err != nil {
		return err
	}
	pool, err := s.store.Pool(ctx, s.cfg.Name)
	if err != nil && !errors.Is(err, tunnel.ErrNotFound) {
		return err
	}
	s.metrics.addresses.Set(float64(pool.Count(edgepool.Any)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.leader = leader
	if s.state.pool.Version != pool.Version {
		s.state.pool, s.state.seen = pool, time.Now()
	}
	return nil
}

func (s *Service) setLead(ctx context.Context, leads bool) {
	s.mu.Lock()
	changed := s.state.leads != leads
	s.state.leads = leads
	s.mu.Unlock()
	if !changed {
		return
	}
	value := 0.0
	if leads {
		value = 1
	}
	s.metrics.leading.Set(value)
	s.log.InfoContext(ctx, "lead changed", slog.Bool(logkey.Leading, leads))
}

// setLookup stores the result of a lookup, and logs once that it failed and once that it works again.
func (s *Service) setLookup(ctx context.Context, now time.Time, err error) {
	s.mu.Lock()
	before := s.state.failure
	s.state.looked, s.state.failure = now, err
	s.mu.Unlock()
	switch {
	case err != nil && before == nil && ctx.Err() == nil:
		s.log.WarnContext(ctx, "edge addresses not found, the last pool stays", slog.Any(logkey.Err, err))
	case err == nil && before != nil:
		s.log.InfoContext(ctx, "edge addresses found again")
	}
}

// report stores the result of a round, and logs once that the store is unavailable and once that it is available again.
func (s *Service) report(ctx context.Context, err error) {
	s.mu.Lock()
	before := s.state.problem
	s.state.problem = err
	s.mu.Unlock()
	switch {
	case err == nil:
		s.metrics.up.Set(1)
		if before != nil && !errors.Is(before, errStarting) {
			s.log.InfoContext(ctx, "control plane is available again")
		}
	case ctx.Err() != nil:
	default:
		s.metrics.up.Set(0)
		if before == nil || errors.Is(before, errStarting) {
			s.log.WarnContext(ctx, "control plane is unavailable, nothing is published", slog.Any(logkey.Err, err))
		}
	}
}
