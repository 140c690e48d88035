package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Ready returns why the supervisor cannot work, or nil. A supervisor on standby is ready.
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Routes adds the supervisor's own endpoints.
func (s *Service) Routes(g *echo.Group) { g.GET("/slots", s.slots) }

// connectorView is one connector as the ops API shows it.
type connectorView struct {
	Tunnel      tunnel.ID          `json:"tunnel_id"`
	Connector   tunnel.ConnectorID `json:"connector_id"`
	Connections int                `json:"connections"`
	Slots       []lease.Record     `json:"slots"`
}

func (s *Service) slots(c echo.Context) error {
	s.mu.Lock()
	world, lead, state := s.seen, s.lead, s.state
	s.mu.Unlock()
	connectors := make([]connectorView, len(world.Connectors))
	for i, v := range world.Connectors {
		connectors[i] = connectorView{Tunnel: v.Tunnel, Connector: v.ID, Connections: v.Connections, Slots: v.Records}
	}
	return c.JSON(http.StatusOK, map[string]any{"leading": lead, "fresh": lead && state == nil, "connectors": connectors})
}

func (s *Service) leading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lead
}

func (s *Service) setLead(ctx context.Context, lead bool) {
	s.mu.Lock()
	changed := s.lead != lead
	s.lead = lead
	s.mu.Unlock()
	if !changed {
		return
	}
	value := 0.0
	if lead {
		value = 1
	}
	s.metrics.leading.Set(value)
	s.log.InfoContext(ctx, "lead changed", slog.Bool(logkey.Leading, lead))
}

// report logs once that the store is unavailable, and once that it is available again.
func (s *Service) report(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	next := err
	if errors.Is(err, tunnel.ErrUnavailable) {
		next = errDown
	}
	s.mu.Lock()
	before := s.state
	s.state = next
	s.mu.Unlock()
	switch {
	case next == nil:
		s.metrics.up.Set(1)
		if before != nil && !errors.Is(before, errStarting) {
			s.log.InfoContext(ctx, "control plane is available again")
		}
	case before == nil || before.Error() != next.Error():
		s.metrics.up.Set(0)
		s.log.WarnContext(ctx, "control plane is unavailable, nothing is granted", slog.Any(logkey.Err, err))
	}
}

// logShortages logs once for each tunnel that it gets fewer connections than desired.
func (s *Service) logShortages(ctx context.Context, list []plan.Shortage) {
	now := make(map[tunnel.ID]plan.Shortage, len(list))
	for _, sh := range list {
		now[sh.Tunnel] = sh
		if s.board.shortages[sh.Tunnel] == sh {
			continue
		}
		s.log.WarnContext(ctx, "fewer connections than desired: one edge address is kept spare",
			slog.String(logkey.TunnelID, sh.Tunnel.String()), slog.Int(logkey.Desired, sh.Desired),
			slog.Int(logkey.Possible, sh.Possible), slog.Int(logkey.Addresses, sh.Addresses))
	}
	s.board.shortages = now
}
