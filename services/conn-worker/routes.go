package connworker

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/keeper"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/metrics"
)

// Routes adds the worker's own endpoints.
func (s *Service) Routes(g *echo.Group) { g.GET("/connections", s.connections) }

func (s *Service) connections(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]any{
		"worker_id": s.id, "control_plane_up": s.control.Up(), "draining": s.draining.Load(), "connections": s.keepers.Connections(),
	})
}

// Connection is one slot that a worker holds.
type Connection = keeper.Connection

// Registered lists the registered connections that this worker holds for the tunnel id, by index, and returns its connector id, which
// is zero while it is not known. It does not need the store.
func (s *Service) Registered(id tunnel.ID) (connector tunnel.ConnectorID, list []Connection) {
	for _, c := range s.keepers.Connections() {
		if c.Tunnel == id && c.Registered() {
			list = append(list, c)
		}
	}
	return s.keepers.Connector(id), list
}

// places lists where the registered connections of all tunnels are.
func (s *Service) places() []metrics.Place {
	var list []metrics.Place
	for _, c := range s.keepers.Connections() {
		if c.Registered() {
			list = append(list, metrics.Place{Tunnel: c.Tunnel, Index: c.Index, Location: c.Status.Location})
		}
	}
	return list
}
