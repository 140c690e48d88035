package ops

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/redact"
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

// Readiness is the state of every part, and of the process as a whole.
func (s *Server) Readiness() Readiness {
	r := Readiness{Status: StatusReady, Parts: make([]PartStatus, 0, len(s.parts))}
	for _, p := range s.parts {
		st := PartStatus{Name: p.name, Ready: true}
		if err := p.ready(); err != nil {
			st.Ready, st.Reason = false, redact.Text(err.Error())
			r.Status = StatusNotReady
		}
		r.Parts = append(r.Parts, st)
	}
	if s.stopping.Load() {
		r.Status = StatusStopping
	}
	return r
}
