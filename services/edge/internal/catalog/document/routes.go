package document

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

// Route sends a host to a tunnel.
type Route struct {
	Host      string
	Tunnel    tunnel.ID
	CreatedAt time.Time
}

// AddRoute sends a host pattern to a tunnel. The same route again changes nothing; a host of another tunnel is
// tunnel.ErrConflict.
func (d *Document) AddRoute(pattern string, id tunnel.ID, now time.Time) (Route, error) {
	host, err := route.CanonicalPattern(pattern)
	if err != nil {
		return Route{}, fmt.Errorf("route: %w: %w", ErrInvalid, err)
	}
	if _, err := d.byID(id); err != nil {
		return Route{}, err
	}
	if i := d.findRoute(host); i >= 0 {
		if d.Routes[i].Tunnel != id {
			return Route{}, fmt.Errorf("route %s belongs to tunnel %s: %w", host, d.Routes[i].Tunnel, tunnel.ErrConflict)
		}
		return Route(d.Routes[i]), nil
	}
	e := routeEntry{Host: host, Tunnel: id, CreatedAt: now.UTC()}
	d.Routes = append(d.Routes, e)
	return Route(e), nil
}

// DeleteRoute removes the route of a host pattern.
func (d *Document) DeleteRoute(pattern string) error {
	host, err := route.CanonicalPattern(pattern)
	if err != nil {
		return fmt.Errorf("route: %w: %w", ErrInvalid, err)
	}
	i := d.findRoute(host)
	if i < 0 {
		return fmt.Errorf("route %s: %w", host, tunnel.ErrNotFound)
	}
	d.Routes = slices.Delete(d.Routes, i, i+1)
	return nil
}

func (d *Document) findRoute(host string) int {
	return slices.IndexFunc(d.Routes, func(r routeEntry) bool { return r.Host == host })
}

// ListRoutes lists the routes of hosts, by host.
func (d *Document) ListRoutes() []Route {
	out := make([]Route, 0, len(d.Routes))
	for _, r := range d.Routes {
		out = append(out, Route(r))
	}
	slices.SortFunc(out, func(a, b Route) int { return cmp.Compare(a.Host, b.Host) })
	return out
}
