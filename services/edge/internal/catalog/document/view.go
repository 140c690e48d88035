package document

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

// View is a document indexed for readers. It is never changed.
type View struct {
	// ByID has all tunnels that exist.
	ByID map[tunnel.ID]Tunnel
	// Hosts finds the tunnel of a host.
	Hosts *route.Table
	// Routes and Ports are sorted by name.
	Routes []Route
	Ports  []Port

	names map[string]tunnel.ID
}

// View indexes a document. A malformed port is an error.
func (d *Document) View() (*View, error) {
	ports, err := d.listPorts()
	if err != nil {
		return nil, err
	}
	v := &View{ByID: make(map[tunnel.ID]Tunnel), names: make(map[string]tunnel.ID), Routes: d.ListRoutes(), Ports: ports}
	for _, e := range d.Tunnels {
		if e.DeletedAt == nil {
			v.ByID[e.ID], v.names[e.Name] = e.public(), e.ID
		}
	}
	entries := make([]route.Entry, 0, len(d.Routes))
	for _, r := range d.Routes {
		entries = append(entries, route.Entry{Pattern: r.Host, Tunnel: r.Tunnel})
	}
	v.Hosts = route.NewTable(entries)
	return v, nil
}

// Tunnel finds a tunnel by name or id.
func (v *View) Tunnel(ref string) (Tunnel, error) {
	id, ok := v.names[ref]
	if !ok {
		parsed, err := tunnel.ParseID(ref)
		if err != nil {
			return Tunnel{}, fmt.Errorf("tunnel %q: %w", ref, tunnel.ErrNotFound)
		}
		id = parsed
	}
	t, ok := v.ByID[id]
	if !ok {
		return Tunnel{}, fmt.Errorf("tunnel %q: %w", ref, tunnel.ErrNotFound)
	}
	return t, nil
}

// Tunnels lists all tunnels by name.
func (v *View) Tunnels() []Tunnel {
	return slices.SortedFunc(maps.Values(v.ByID), func(a, b Tunnel) int { return cmp.Compare(a.Name, b.Name) })
}

// Port finds a port by what it listens on.
func (v *View) Port(p route.Port) (Port, bool) {
	i := slices.IndexFunc(v.Ports, func(o Port) bool { return o.Name() == p.Name() })
	if i < 0 {
		return Port{}, false
	}
	return v.Ports[i], true
}
