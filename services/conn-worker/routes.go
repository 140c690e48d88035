package connworker

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/keeper"
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

// registered counts the registered connections of all tunnels.
func (s *Service) registered() float64 {
	n := 0
	for _, c := range s.keepers.Connections() {
		if c.Registered() {
			n++
		}
	}
	return float64(n)
}
