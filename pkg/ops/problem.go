package ops

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/redact"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Problem is the body of every error response (RFC 9457), and the error that clients make of it.
type Problem struct { //nolint:errname // RFC 9457 calls it a problem
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Error is the problem in one line.
func (p *Problem) Error() string { return cmp.Or(p.Detail, p.Title) }

// Is maps the status codes that stand for one error of package tunnel to that error.
func (p *Problem) Is(target error) bool {
	switch target {
	case tunnel.ErrNotFound:
		return p.Status == http.StatusNotFound
	case tunnel.ErrConflict:
		return p.Status == http.StatusConflict
	default:
		return false
	}
}

// StatusRule gives the errors that are Err the status code Status.
type StatusRule struct {
	Err    error
	Status int
}

// statusRules is the one map from errors to status codes. The first match counts.
func statusRules() []StatusRule {
	return []StatusRule{
		{tunnel.ErrNotFound, http.StatusNotFound},
		{tunnel.ErrDraining, http.StatusServiceUnavailable},
		{tunnel.ErrConflict, http.StatusConflict},
		{tunnel.ErrFenced, http.StatusConflict},
		{tunnel.ErrNoAddress, http.StatusServiceUnavailable},
		{tunnel.ErrUnavailable, http.StatusServiceUnavailable},
	}
}

// statusOf is the status code for err: of an HTTP error of the router, of own, or of the common rules, else 500.
func statusOf(err error, own []StatusRule) int {
	var he *echo.HTTPError
	if errors.As(err, &he) {
		return he.Code
	}
	for _, rule := range append(own[:len(own):len(own)], statusRules()...) {
		if errors.Is(err, rule.Err) {
			return rule.Status
		}
	}
	return http.StatusInternalServerError
}

func detailOf(err error) string {
	var he *echo.HTTPError
	if errors.As(err, &he) {
		return fmt.Sprint(he.Message)
	}
	return err.Error()
}

func newProblem(status int, detail string) Problem {
	return Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: redact.Text(detail)}
}

// ErrorHandler turns the errors of handlers into problem documents. The rules of own take precedence over the common ones.
func ErrorHandler(logger *slog.Logger, own ...StatusRule) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		if c.Response().Committed {
			return
		}
		ctx := c.Request().Context()
		p := newProblem(statusOf(err, own), detailOf(err))
		if p.Status == http.StatusInternalServerError {
			logger.ErrorContext(ctx, "request to the private listener failed", slog.Any(logkey.Err, err))
		}
		c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
		if err := c.JSON(p.Status, p); err != nil {
			logger.DebugContext(ctx, "problem not delivered", slog.Any(logkey.Err, err))
		}
	}
}

// WriteProblem responds with a problem document, for handlers without the router.
func WriteProblem(w http.ResponseWriter, status int, detail string) {
	b, err := json.Marshal(newProblem(status, detail))
	if err != nil {
		http.Error(w, http.StatusText(status), status)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client may be gone
}
