package document

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// ErrFull means that there are as many quick tunnels as are allowed.
var ErrFull = errors.New("too many quick tunnels")

// CreateQuick adds a tunnel without an owner together with its route. A name or host that is taken is tunnel.ErrConflict; ErrFull says
// that limit quick tunnels exist.
func (d *Document) CreateQuick(name, host string, limit int, id tunnel.ID, secret []byte, now time.Time) (Tunnel, error) {
	if n := len(d.Quick()); n >= limit {
		return Tunnel{}, fmt.Errorf("%w: %d exist", ErrFull, n)
	}
	t, err := d.CreateTunnel(name, id, secret, now)
	if err != nil {
		return Tunnel{}, err
	}
	d.Tunnels[len(d.Tunnels)-1].Quick = true
	_, err = d.AddRoute(host, id, now)
	return t, err
}

// Quick lists the quick tunnels.
func (d *Document) Quick() []tunnel.ID {
	var out []tunnel.ID
	for _, e := range d.Tunnels {
		if e.Quick && e.DeletedAt == nil {
			out = append(out, e.ID)
		}
	}
	return out
}

// RemoveQuick removes those of ids that are quick tunnels, with their routes and ports. No entry stays: strangers can make any number
// in the course of time.
func (d *Document) RemoveQuick(ids []tunnel.ID) {
	removed := make(map[tunnel.ID]bool)
	gone := func(id tunnel.ID) bool { return removed[id] }
	d.Tunnels = slices.DeleteFunc(d.Tunnels, func(e tunnelEntry) bool {
		if e.Quick && slices.Contains(ids, e.ID) {
			removed[e.ID] = true
		}
		return removed[e.ID]
	})
	d.Routes = slices.DeleteFunc(d.Routes, func(r routeEntry) bool { return gone(r.Tunnel) })
	d.Ports = slices.DeleteFunc(d.Ports, func(p portEntry) bool { return gone(p.Tunnel) })
}
