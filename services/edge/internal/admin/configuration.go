package admin

import (
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// putConfiguration stores a configuration. Package push then sends it to every connection of the tunnel.
func (a *API) putConfiguration(c echo.Context) error {
	t, err := a.byRef(c)
	if err != nil {
		return err
	}
	doc, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return err
	}
	above := int32(-1)
	for _, k := range a.deps.Table.List() {
		if k.Slot.Tunnel == t.ID {
			above = max(above, k.Pushed().Applied) // another edge may have pushed a later version
		}
	}
	config, err := a.deps.Catalog.SetConfiguration(t.ID, doc, above, time.Now())
	if err != nil {
		return err
	}
	a.deps.Logger.InfoContext(c.Request().Context(), "configuration set", slog.String(logkey.TunnelID, t.ID.String()),
		slog.Int(logkey.Version, int(config.Version)))
	return c.JSON(http.StatusOK, a.configurationDocument(t.ID, config))
}

func (a *API) getConfiguration(c echo.Context) error {
	t, err := a.byRef(c)
	if err != nil {
		return err
	}
	config, _ := a.deps.Catalog.Configuration(t.ID)
	if config == nil {
		return fmt.Errorf("tunnel %s has no configuration at this edge: %w", t.Name, tunnel.ErrNotFound)
	}
	return c.JSON(http.StatusOK, a.configurationDocument(t.ID, config))
}

func (a *API) configurationDocument(id tunnel.ID, config *catalog.Configuration) adminclient.Configuration {
	out := adminclient.Configuration{
		Version: config.Version, UpdatedAt: config.UpdatedAt, Config: config.Document, Connections: []adminclient.ConfigurationState{},
	}
	for _, k := range a.deps.Table.List() {
		if k.Slot.Tunnel != id || k.State != registry.Active {
			continue
		}
		p := k.Pushed()
		out.Connections = append(out.Connections, adminclient.ConfigurationState{
			ID: hex.EncodeToString(k.ID[:]), ConnectorID: k.Slot.Connector, ConnIndex: k.Slot.Index, Protocol: k.Protocol,
			Pushed: p.Version, Applied: p.Applied, Error: p.Error,
		})
	}
	return out
}
