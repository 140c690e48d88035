package admin

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

func (a *API) listRoutes(c echo.Context) error {
	out := []adminclient.Route{}
	for _, r := range a.deps.Catalog.Routes() {
		out = append(out, a.routeDocument(r))
	}
	for _, p := range a.deps.Ports.List() {
		out = append(out, a.portDocument(p))
	}
	return c.JSON(http.StatusOK, out)
}

func (a *API) addRoute(c echo.Context) error {
	var in adminclient.AddRouteRequest
	if err := c.Bind(&in); err != nil {
		return err
	}
	t, err := a.deps.Catalog.Tunnel(in.Tunnel)
	if err != nil {
		return err
	}
	if route.IsPort(in.Host) {
		return a.addPort(c, in, t)
	}
	if in.PortTarget != (adminclient.PortTarget{}) {
		return fmt.Errorf("route %s: %w: a target is for ports (tcp://:PORT, udp://:PORT); a host goes to the tunnel's ingress rules",
			in.Host, catalog.ErrInvalid)
	}
	r, err := a.deps.Catalog.AddRoute(in.Host, t.ID, time.Now())
	if err != nil {
		return err
	}
	a.deps.Logger.InfoContext(c.Request().Context(), "route added", slog.String(logkey.Host, r.Host),
		slog.String(logkey.TunnelID, t.ID.String()))
	return c.JSON(http.StatusCreated, a.routeDocument(r))
}

// addPort opens a port. The response is sent when the port accepts visitors.
func (a *API) addPort(c echo.Context, in adminclient.AddRouteRequest, t catalog.Tunnel) error {
	p, err := portOf(in)
	if err != nil {
		return fmt.Errorf("route: %w: %w", catalog.ErrInvalid, err)
	}
	st, err := a.deps.Ports.Add(c.Request().Context(), p, t.ID)
	if err != nil {
		return err
	}
	a.deps.Logger.InfoContext(c.Request().Context(), "route added", slog.String(logkey.Port, st.Name()),
		slog.String(logkey.TunnelID, t.ID.String()))
	return c.JSON(http.StatusCreated, a.portDocument(st))
}

// portOf reads the port of a request.
func portOf(in adminclient.AddRouteRequest) (route.Port, error) {
	p, err := route.ParsePort(in.Host)
	if err != nil {
		return p, err
	}
	p.Target = route.Target{Host: in.HostName, ProxyProtocol: route.ProxyProtocol(in.ProxyProtocol)}
	if in.To != "" {
		if p.Target.To, err = netip.ParseAddrPort(in.To); err != nil {
			return p, fmt.Errorf("%w: %s: --to %q is not IP:PORT", route.ErrPort, in.Host, in.To)
		}
	}
	if in.Idle != "" {
		if p.Target.Idle, err = time.ParseDuration(in.Idle); err != nil {
			return p, fmt.Errorf("%w: %s: --idle %q is not a duration such as 10m", route.ErrPort, in.Host, in.Idle)
		}
	}
	return p, p.Validate()
}

func (a *API) deleteRoute(c echo.Context) error {
	host, err := param(c, "host")
	if err != nil {
		return err
	}
	if !route.IsPort(host) {
		err = a.deps.Catalog.DeleteRoute(host)
	} else if p, perr := route.ParsePort(host); perr != nil {
		err = fmt.Errorf("route: %w: %w", catalog.ErrInvalid, perr)
	} else {
		err = a.deps.Ports.Delete(c.Request().Context(), p)
	}
	if err != nil {
		return err
	}
	a.deps.Logger.InfoContext(c.Request().Context(), "route deleted", slog.String(logkey.Host, host))
	return c.NoContent(http.StatusNoContent)
}

func (a *API) routeDocument(r catalog.Route) adminclient.Route {
	return adminclient.Route{Host: r.Host, TunnelID: r.Tunnel, TunnelName: a.deps.Catalog.Name(r.Tunnel), CreatedAt: r.CreatedAt}
}

func (a *API) portDocument(p catalog.PortState) adminclient.Route {
	out := adminclient.Route{
		Host: p.Name(), TunnelID: p.Tunnel, TunnelName: a.deps.Catalog.Name(p.Tunnel), CreatedAt: p.CreatedAt, Fault: p.Fault,
		PortTarget: adminclient.PortTarget{HostName: p.Target.Host, ProxyProtocol: string(p.Target.ProxyProtocol)},
	}
	if p.Target.To.IsValid() {
		out.To = p.Target.To.String()
	}
	if p.Target.Idle > 0 {
		out.Idle = p.Target.Idle.String()
	}
	if p.Bound.IsValid() {
		out.Bound = p.Bound.String()
	}
	return out
}
