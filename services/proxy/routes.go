package proxy

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// status is the proxy as its packages see it.
type status struct {
	ID        string   `json:"proxy_id"`
	State     string   `json:"state"`
	InFlight  int      `json:"in_flight"`
	Endpoints []string `json:"endpoints"`
	// ConfigVersion is the version of the configuration in force, -1 for the local one; ConfigError is why the last push
	// was rejected.
	ConfigVersion int32         `json:"config_version"`
	ConfigError   string        `json:"config_error,omitempty"`
	Rules         []router.Rule `json:"rules"`
}

// Routes adds the proxy's own endpoints: GET /proxy shows its state and its rules, GET /config every effective value.
func (s *Service) Routes(g *echo.Group) {
	g.GET("/config", func(c echo.Context) error {
		b, err := s.ConfigJSON()
		if err != nil {
			return err
		}
		return c.JSONBlob(http.StatusOK, b)
	})
	g.GET("/proxy", func(c echo.Context) error { return c.JSON(http.StatusOK, s.status()) })
}

func (s *Service) status() status {
	st := status{ID: s.cfg.ID, State: "serving", InFlight: s.flows.InFlight(), Endpoints: []string{}}
	if err := s.Ready(); err != nil {
		st.State = err.Error()
	}
	st.ConfigVersion, st.ConfigError = s.live.Version()
	for _, e := range s.Endpoints() {
		st.Endpoints = append(st.Endpoints, e.String())
	}
	st.Rules = s.table.Current().Rules()
	return st
}
