package connworker

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Routes adds the worker's own endpoints.
func (s *Service) Routes(g *echo.Group) { g.GET("/connections", s.connections) }

func (s *Service) connections(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]any{
		"worker_id": s.id, "control_plane_up": s.control.Up(), "draining": s.draining.Load(), "connections": s.keepers.Connections(),
	})
}

// Connected counts the registered connections that this worker holds for the tunnel id, and returns its connector id, which is
// zero while it is not known. It does not need the store.
func (s *Service) Connected(id tunnel.ID) (n int, connector tunnel.ConnectorID) {
	for _, c := range s.keepers.Connections() {
		if c.Tunnel != id {
			continue
		}
		connector = c.Connector
		if c.Registered() {
			n++
		}
	}
	return n, connector
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
