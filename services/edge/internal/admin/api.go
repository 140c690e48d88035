package admin

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
	"github.com/culvert-tunnel/culvert/services/edge/internal/udp"
)

// Ports opens and closes the public ports of the edge. A port is open while the catalog has it.
type Ports interface {
	List() []catalog.PortState
	// Add opens a port for a tunnel and records it.
	Add(ctx context.Context, p route.Port, id tunnel.ID) (catalog.PortState, error)
	Delete(ctx context.Context, p route.Port) error
	// Sync closes the ports that the catalog no longer has.
	Sync(ctx context.Context) error
}

// Deps are what the API shows and changes.
type Deps struct {
	Catalog *catalog.Catalog
	Ports   Ports
	Table   *registry.Table
	Pings   Pinger
	Tokens  Tokens
	// PublicURLs are the addresses of the public listeners.
	PublicURLs func() []string
	Logger     *slog.Logger
}

// API holds the handlers.
type API struct{ deps Deps }

// NewAPI makes the handlers; they need no listener.
func NewAPI(deps Deps) *API { return &API{deps} }

// Read mounts the handlers that show state and no secret.
func (a *API) Read(g *echo.Group) {
	g.GET("/tunnels", a.listTunnels)
	g.GET("/tunnels/:ref", a.getTunnel)
	g.GET("/routes", a.listRoutes)
	g.GET("/connections", a.listConnections)
}

// Write mounts the handlers that only an administrator may call: they change state, or their responses hold a secret.
func (a *API) Write(g *echo.Group) {
	g.POST("/tunnels", a.createTunnel)
	g.DELETE("/tunnels/:ref", a.deleteTunnel)
	g.GET("/tunnels/:ref/credentials", a.credentials)
	g.POST("/tunnels/:ref/rotate", a.rotate)
	g.GET("/tunnels/:ref/configuration", a.getConfiguration)
	g.PUT("/tunnels/:ref/configuration", a.putConfiguration)
	g.POST("/tunnels/:ref/ping", a.ping)
	g.POST("/tunnels/:ref/management/:resource", a.managementToken)
	g.DELETE("/connections/:id", a.evictConnection)
	g.POST("/routes", a.addRoute)
	g.DELETE("/routes/:host", a.deleteRoute)
}

func (a *API) listTunnels(c echo.Context) error {
	out := []adminclient.Tunnel{}
	for _, t := range a.deps.Catalog.Tunnels() {
		out = append(out, a.document(t))
	}
	return c.JSON(http.StatusOK, out)
}

func (a *API) getTunnel(c echo.Context) error {
	t, err := a.byRef(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, a.document(t))
}

func (a *API) createTunnel(c echo.Context) error {
	var in adminclient.CreateTunnelRequest
	if err := c.Bind(&in); err != nil {
		return err
	}
	t, err := a.deps.Catalog.CreateTunnel(in.Name, time.Now())
	if err != nil {
		return err
	}
	a.deps.Logger.InfoContext(c.Request().Context(), "tunnel created", slog.String(logkey.TunnelID, t.ID.String()),
		slog.String(logkey.Name, t.Name))
	return c.JSON(http.StatusCreated, a.secretDocument(t))
}

func (a *API) deleteTunnel(c echo.Context) error {
	t, err := a.byRef(c)
	if err != nil {
		return err
	}
	if n := a.deps.Table.Count(t.ID); n > 0 && c.QueryParam("force") != "true" {
		return fmt.Errorf("tunnel %s has %d connections: %w", t.Name, n, tunnel.ErrConflict)
	}
	if err := a.deps.Catalog.DeleteTunnel(t.ID, time.Now()); err != nil {
		return err
	}
	a.deps.Table.Evict(t.ID)
	if err := a.deps.Ports.Sync(c.Request().Context()); err != nil {
		return err
	}
	a.deps.Logger.InfoContext(c.Request().Context(), "tunnel deleted", slog.String(logkey.TunnelID, t.ID.String()),
		slog.String(logkey.Name, t.Name))
	return c.NoContent(http.StatusNoContent)
}

func (a *API) credentials(c echo.Context) error {
	t, err := a.byRef(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, a.secretDocument(t))
}

// rotate gives a tunnel a new secret. Connections with the old one are evicted, after the grace period in the query if there is
// one. During that time new connections may use the old secret as well.
func (a *API) rotate(c echo.Context) error {
	t, err := a.byRef(c)
	if err != nil {
		return err
	}
	var grace time.Duration
	if text := c.QueryParam("grace"); text != "" {
		if grace, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("grace period %q: %w: it is not a duration such as 10m", text, catalog.ErrInvalid)
		}
	}
	if t, err = a.deps.Catalog.RotateSecret(t.ID, time.Now(), grace); err != nil {
		return err
	}
	a.deps.Logger.InfoContext(c.Request().Context(), "tunnel secret rotated", slog.String(logkey.TunnelID, t.ID.String()),
		slog.Duration(logkey.GracePeriod, grace))
	return c.JSON(http.StatusOK, a.secretDocument(t))
}

func (a *API) listConnections(c echo.Context) error {
	out := []adminclient.Connection{}
	for _, k := range a.deps.Table.List() {
		out = append(out, adminclient.Connection{
			ID:          hex.EncodeToString(k.ID[:]),
			TunnelID:    k.Slot.Tunnel,
			ConnectorID: k.Slot.Connector,
			ConnIndex:   k.Slot.Index,
			Epoch:       k.Epoch,
			Protocol:    k.Protocol,
			State:       string(k.State),
			Version:     k.Version,
			Arch:        k.Arch,
			Features:    k.Features,
			EdgeAddr:    k.Local.String(),
			RemoteAddr:  k.Remote.String(),
			Since:       k.Since.UTC(),
			InFlight:    k.InFlight(),
			LocalConfig: k.LocalConfig(),
		})
	}
	return c.JSON(http.StatusOK, out)
}

// evictConnection gives a connection no new requests, and closes it when the running ones have ended or have used up their time.
func (a *API) evictConnection(c echo.Context) error {
	id, err := param(c, "id")
	if err != nil {
		return err
	}
	for _, k := range a.deps.Table.List() {
		if hex.EncodeToString(k.ID[:]) != id {
			continue
		}
		a.deps.Table.Retire(k.Conn, registry.Evicted)
		a.deps.Logger.InfoContext(c.Request().Context(), "connection evicted", slog.String(logkey.ConnectionID, id),
			slog.String(logkey.TunnelID, k.Slot.Tunnel.String()), slog.String(logkey.ConnectorID, k.Slot.Connector.String()),
			slog.Int(logkey.ConnIndex, int(k.Slot.Index)))
		return c.NoContent(http.StatusNoContent)
	}
	return fmt.Errorf("connection %q: %w", id, tunnel.ErrNotFound)
}

func (a *API) byRef(c echo.Context) (catalog.Tunnel, error) {
	ref, err := param(c, "ref")
	if err != nil {
		return catalog.Tunnel{}, err
	}
	return a.deps.Catalog.Tunnel(ref)
}

// param decodes a path parameter, which the router leaves escaped when the path needed escaping.
func param(c echo.Context, name string) (string, error) {
	v := c.Param(name)
	if c.Request().URL.RawPath == "" {
		return v, nil
	}
	v, err := url.PathUnescape(v)
	if err != nil {
		return "", echo.NewHTTPError(http.StatusBadRequest, "malformed path")
	}
	return v, nil
}

func (a *API) document(t catalog.Tunnel) adminclient.Tunnel {
	return adminclient.Tunnel{ID: t.ID, Name: t.Name, AccountTag: t.AccountTag, CreatedAt: t.CreatedAt, Connections: a.deps.Table.Count(t.ID)}
}

func (a *API) secretDocument(t catalog.Tunnel) adminclient.TunnelCredentials {
	creds := t.Credentials()
	return adminclient.TunnelCredentials{Tunnel: a.document(t), Credentials: credential.File(creds), Token: credential.Token(creds)}
}

// statusRules gives the errors of the edge their status codes, in addition to those that all services share.
func statusRules() []ops.StatusRule {
	return []ops.StatusRule{
		{Err: catalog.ErrInvalid, Status: http.StatusUnprocessableEntity},
		{Err: udp.ErrPing, Status: http.StatusUnprocessableEntity},
		{Err: udp.ErrNoConnection, Status: http.StatusServiceUnavailable},
		{Err: udp.ErrSilent, Status: http.StatusGatewayTimeout},
	}
}
