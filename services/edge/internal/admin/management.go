package admin

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
)

// defaultActor is who a token is for when the caller does not say.
const defaultActor = "admin"

// Tokens makes access tokens of the management service.
type Tokens interface {
	Token(id tunnel.ID, account, actor, resource string) (text string, expires time.Time, err error)
	// Hosts are the hosts of the service; the first one is that of ordinary tunnels.
	Hosts() []string
}

// managementToken makes a token for one resource of a tunnel's connectors: logs, host_details or admin, as in the vendor's API.
func (a *API) managementToken(c echo.Context) error {
	var in adminclient.ManagementTokenRequest
	if err := c.Bind(&in); err != nil {
		return err
	}
	t, err := a.byRef(c)
	if err != nil {
		return err
	}
	resource := c.Param("resource")
	switch resource {
	case "logs", "host_details", "admin":
	default:
		return fmt.Errorf("resource %q: %w: it is none of logs, host_details, admin", resource, catalog.ErrInvalid)
	}
	if in.Actor == "" {
		in.Actor = defaultActor
	}
	text, expires, err := a.deps.Tokens.Token(t.ID, t.AccountTag, in.Actor, resource)
	if err != nil {
		return err
	}
	a.deps.Logger.InfoContext(c.Request().Context(), "management token made", slog.String(logkey.TunnelID, t.ID.String()),
		slog.String(logkey.Name, in.Actor), slog.String(logkey.Kind, resource))
	return c.JSON(http.StatusCreated, adminclient.ManagementToken{
		Token: text, ExpiresAt: expires.UTC(), Host: a.deps.Tokens.Hosts()[0], URLs: a.deps.PublicURLs(),
	})
}
