package document

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

// Port is a public port that belongs to a tunnel.
type Port struct {
	route.Port
	Tunnel    tunnel.ID
	CreatedAt time.Time
}

// portEntry is a port in the file: its name, as operators write it, and its target.
type portEntry struct {
	Listen        string              `json:"listen"`
	Tunnel        tunnel.ID           `json:"tunnel_id"`
	To            *netip.AddrPort     `json:"to,omitempty"`
	Host          string              `json:"host,omitempty"`
	ProxyProtocol route.ProxyProtocol `json:"proxy_protocol,omitempty"`
	Idle          string              `json:"idle,omitempty"`
	CreatedAt     time.Time           `json:"created_at"`
}

func newPortEntry(p Port) portEntry {
	e := portEntry{Listen: p.Name(), Tunnel: p.Tunnel, Host: p.Target.Host, ProxyProtocol: p.Target.ProxyProtocol, CreatedAt: p.CreatedAt}
	if p.Target.To.IsValid() {
		e.To = &p.Target.To
	}
	if p.Target.Idle > 0 {
		e.Idle = p.Target.Idle.String()
	}
	return e
}

func (e portEntry) public() (Port, error) {
	p, err := route.ParsePort(e.Listen)
	if err != nil {
		return Port{}, err
	}
	p.Target = route.Target{Host: e.Host, ProxyProtocol: e.ProxyProtocol}
	if e.To != nil {
		p.Target.To = *e.To
	}
	if e.Idle != "" {
		if p.Target.Idle, err = time.ParseDuration(e.Idle); err != nil {
			return Port{}, fmt.Errorf("%s: idle: %w", e.Listen, err)
		}
	}
	return Port{Port: p, Tunnel: e.Tunnel, CreatedAt: e.CreatedAt}, p.Validate()
}

// CheckPort says whether AddPort would add the port: it is well formed, the tunnel exists, and the port does not belong to another
// tunnel or have another target. exists means that it is there with this tunnel and this target.
func (v *View) CheckPort(p route.Port, id tunnel.ID) (exists bool, err error) {
	if err := p.Validate(); err != nil {
		return false, fmt.Errorf("route: %w: %w", ErrInvalid, err)
	}
	if _, ok := v.ByID[id]; !ok {
		return false, fmt.Errorf("tunnel %s: %w", id, tunnel.ErrNotFound)
	}
	o, ok := v.Port(p)
	switch {
	case !ok:
		return false, nil
	case o.Tunnel != id:
		return false, fmt.Errorf("route %s belongs to tunnel %s: %w", p.Name(), o.Tunnel, tunnel.ErrConflict)
	case o.Port != p:
		return false, fmt.Errorf("route %s exists with another target; delete it first: %w", p.Name(), tunnel.ErrConflict)
	}
	return true, nil
}

// AddPort gives a port to a tunnel. The same port again changes nothing; the port of another tunnel, or with another target, is
// tunnel.ErrConflict.
func (d *Document) AddPort(p route.Port, id tunnel.ID, now time.Time) (Port, error) {
	v, err := d.View()
	if err != nil {
		return Port{}, err
	}
	exists, err := v.CheckPort(p, id)
	if err != nil {
		return Port{}, err
	}
	if exists {
		old, _ := v.Port(p)
		return old, nil
	}
	out := Port{Port: p, Tunnel: id, CreatedAt: now.UTC()}
	d.Ports = append(d.Ports, newPortEntry(out))
	return out, nil
}

// DeletePort removes a port.
func (d *Document) DeletePort(p route.Port) error {
	i := slices.IndexFunc(d.Ports, func(e portEntry) bool { return e.Listen == p.Name() })
	if i < 0 {
		return fmt.Errorf("route %s: %w", p.Name(), tunnel.ErrNotFound)
	}
	d.Ports = slices.Delete(d.Ports, i, i+1)
	return nil
}

// listPorts reads the ports, sorted by network, address and number.
func (d *Document) listPorts() ([]Port, error) {
	out := make([]Port, 0, len(d.Ports))
	for _, e := range d.Ports {
		p, err := e.public()
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), a.Addr.Compare(b.Addr), cmp.Compare(a.Number, b.Number))
	})
	return out, nil
}
