package proxy

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/live"
)

// status is the proxy as its packages see it.
type status struct {
	ID        string   `json:"proxy_id"`
	State     string   `json:"state"`
	InFlight  int      `json:"in_flight"`
	Endpoints []string `json:"endpoints"`
	live.Status
}

// Routes adds the proxy's own endpoints: GET /proxy shows its state, GET /proxy/tunnels/ID the rules of one tunnel, and GET /config
// every effective value, for the tunnel that the query names or for tunnels without rules of their own.
func (s *Service) Routes(g *echo.Group) {
	g.GET("/config", func(c echo.Context) error {
		var id tunnel.ID
		if text := c.QueryParam("tunnel"); text != "" {
			var err error
			if id, err = tunnel.ParseID(text); err != nil {
				return echo.NewHTTPError(http.StatusBadRequest, err.Error())
			}
		}
		b, err := s.ConfigJSON(id)
		if err != nil {
			return err
		}
		return c.JSONBlob(http.StatusOK, b)
	})
	g.GET("/proxy", func(c echo.Context) error { return c.JSON(http.StatusOK, s.status()) })
	g.GET("/proxy/tunnels/:id", func(c echo.Context) error {
		id, err := tunnel.ParseID(c.Param("id"))
		if err != nil {
			return echo.NewHTTPError(http.StatusBadRequest, err.Error())
		}
		return c.JSON(http.StatusOK, s.live.TunnelStatus(id))
	})
}

func (s *Service) status() status {
	st := status{ID: s.cfg.ID, State: "serving", InFlight: s.flows.InFlight(), Endpoints: []string{}, Status: s.live.Status()}
	if err := s.Ready(); err != nil {
		st.State = err.Error()
	}
	for _, e := range s.Endpoints() {
		st.Endpoints = append(st.Endpoints, e.String())
	}
	return st
}
