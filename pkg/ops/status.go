package ops

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// PartStatus is one part's line in /readyz.
type PartStatus struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	// Reason says why the part is not ready.
	Reason string `json:"reason,omitempty"`
}

// Readiness is the body of /readyz.
type Readiness struct {
	Status string       `json:"status"`
	Parts  []PartStatus `json:"parts"`
}

// Problem is the body of every error (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// statusOf is the one place where errors become HTTP status codes.
func statusOf(err error) int {
	table := []struct {
		err    error
		status int
	}{
		{tunnel.ErrNotFound, http.StatusNotFound},
		{tunnel.ErrConflict, http.StatusConflict},
		{tunnel.ErrFenced, http.StatusConflict},
		{tunnel.ErrNoAddress, http.StatusServiceUnavailable},
		{tunnel.ErrDraining, http.StatusServiceUnavailable},
		{tunnel.ErrUnavailable, http.StatusServiceUnavailable},
	}
	for _, row := range table {
		if errors.Is(err, row.err) {
			return row.status
		}
	}
	var he *echo.HTTPError
	if errors.As(err, &he) {
		return he.Code
	}
	return http.StatusInternalServerError
}

func detailOf(err error) string {
	var he *echo.HTTPError
	if errors.As(err, &he) {
		if text, ok := he.Message.(string); ok {
			return text
		}
		return http.StatusText(he.Code)
	}
	return err.Error()
}

func (s *Server) problem(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	status := statusOf(err)
	p := Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detailOf(err)}
	c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
	if err := c.JSON(status, p); err != nil {
		s.deps.Logger.Debug("problem not delivered", slog.Any(logkey.Err, err))
	}
}

func (s *Server) healthz(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "alive", "version": s.deps.Version})
}

func (s *Server) readyz(c echo.Context) error {
	r := s.Readiness()
	if r.Status == StatusReady {
		return c.JSON(http.StatusOK, r)
	}
	return c.JSON(http.StatusServiceUnavailable, r)
}

// The values of Readiness.Status.
const (
	StatusReady    = "ready"
	StatusNotReady = "not_ready"
	StatusStopping = "stopping"
)

// Readiness asks every part.
func (s *Server) Readiness() Readiness {
	r := Readiness{Status: StatusReady, Parts: make([]PartStatus, 0, len(s.parts))}
	for _, p := range s.parts {
		st := PartStatus{Name: p.name, Ready: true}
		if err := p.ready(); err != nil {
			st.Ready, st.Reason = false, err.Error()
			r.Status = StatusNotReady
		}
		r.Parts = append(r.Parts, st)
	}
	if s.stopping.Load() {
		r.Status = StatusStopping
	}
	return r
}
