package discovery

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/control/retain"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// errNoPool is why a replica is not ready that can read the store.
var errNoPool = errors.New("no edge pool was ever published")

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

// note keeps, counts and logs a fact. It reports whether a is one.
func (s *Service) note(ctx context.Context, a retain.Action) bool {
	switch a := a.(type) {
	case retain.LeadChanged:
		s.setLead(ctx, a.Leading)
	case retain.Published:
		s.published(ctx, a)
	case retain.LookedUp:
		s.lookedUp(ctx, a)
	case retain.Observed:
		s.metrics.addresses.Set(float64(a.Pool.Count(edgepool.Any)))
		s.change(func(st *state) { st.leader, st.pool, st.seen = a.Leader, a.Pool, a.Since })
	case retain.RoundEnded:
		s.change(func(st *state) { st.problem = a.Err })
	case retain.StoreUp:
		s.metrics.up.Set(1)
		if a.Again && !a.Quiet {
			s.log.InfoContext(ctx, "control plane is available again")
		}
	case retain.StoreDown:
		s.metrics.up.Set(0)
		if !a.Quiet {
			s.log.WarnContext(ctx, "control plane is unavailable, nothing is published", slog.Any(logkey.Err, a.Err))
		}
	case retain.LeadNotResigned:
		// The lead ends by itself a little later; that is no reason for this process to fail.
		s.log.DebugContext(ctx, "lead not resigned", slog.Any(logkey.Err, a.Err))
	default:
		return false
	}
	return true
}

func (s *Service) change(f func(st *state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.state)
}

func (s *Service) setLead(ctx context.Context, leads bool) {
	s.change(func(st *state) { st.leads = leads })
	value := 0.0
	if leads {
		value = 1
	}
	s.metrics.leading.Set(value)
	s.log.InfoContext(ctx, "lead changed", slog.Bool(logkey.Leading, leads))
}

// lookedUp stores the result of a lookup, and logs once that it failed and once that it works again.
func (s *Service) lookedUp(ctx context.Context, l retain.LookedUp) {
	s.change(func(st *state) { st.looked, st.failure = l.At, l.Err })
	result := "success"
	if l.Err != nil {
		result = "failure"
	}
	s.metrics.lookups.WithLabelValues(result).Inc()
	switch {
	case !l.News:
	case l.Err != nil:
		s.log.WarnContext(ctx, "edge addresses not found, the last pool stays", slog.Any(logkey.Err, l.Err))
	default:
		s.log.InfoContext(ctx, "edge addresses found again")
	}
}
