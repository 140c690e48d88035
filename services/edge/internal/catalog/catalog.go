package catalog

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

const (
	secretSize  = 32
	maxName     = 128
	accountSize = 16
)

// ErrInvalid says that a name or a host is not acceptable.
var ErrInvalid = errors.New("invalid")

// Tunnel is one tunnel that exists.
type Tunnel struct {
	ID         tunnel.ID
	Name       string
	AccountTag string
	Secret     tunnel.Secret
	CreatedAt  time.Time
	// Configuration is nil when the tunnel manages itself.
	Configuration *Configuration
}

// Credentials are what a connector needs to register.
func (t Tunnel) Credentials() tunnel.Credentials {
	return tunnel.Credentials{AccountTag: t.AccountTag, Secret: t.Secret, TunnelID: t.ID}
}

// Route sends a host to a tunnel.
type Route struct {
	Host      string
	Tunnel    tunnel.ID
	CreatedAt time.Time
}

// Catalog is the list of tunnels and routes of one edge.
type Catalog struct {
	path  string
	lock  *os.File
	guard guard

	// mu protects doc and serialises writers.
	mu  sync.Mutex
	doc document

	view atomic.Pointer[view]
}

// view is what readers share; it is never changed.
type view struct {
	// changed is closed when another view has taken this one's place.
	changed chan struct{}
	tunnels map[tunnel.ID]Tunnel
	names   map[string]tunnel.ID
	routes  *route.Table
	ports   []Port
}

// Open reads the catalog of a data directory, which it creates when it is missing.
func Open(dir string) (*Catalog, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockDir(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	c := &Catalog{path: filepath.Join(dir, fileName), lock: lock, guard: newGuard()}
	if err := c.load(); err != nil {
		_ = lock.Close() // the load's error says it all
		return nil, err
	}
	return c, nil
}

func (c *Catalog) load() error {
	d, err := readFile(c.path)
	if err != nil {
		return err
	}
	if d.AccountTag == "" {
		d.AccountTag = hex.EncodeToString(randomBytes(accountSize))
		if err := writeFile(c.path, d); err != nil {
			return err
		}
	}
	v, err := index(d)
	if err != nil {
		return fmt.Errorf("tunnel file %s: %w", c.path, err)
	}
	c.doc = d
	c.view.Store(v)
	return nil
}

// Close gives the data directory free.
func (c *Catalog) Close() error { return c.lock.Close() }

// Authenticate checks what a connector presents. Its time does not depend on whether the tunnel exists or on how much
// of the secret is right.
func (c *Catalog) Authenticate(got tunnel.Credentials) (Tunnel, bool) {
	t, known := c.view.Load().tunnels[got.TunnelID]
	want := t.Credentials()
	if !known {
		want = c.guard.decoy
	}
	same := c.guard.equal(want.Secret, got.Secret) & c.guard.equal([]byte(want.AccountTag), []byte(got.AccountTag))
	if same != 1 || !known {
		return Tunnel{}, false
	}
	return t, true
}

// Lookup finds the tunnel of a canonical host.
func (c *Catalog) Lookup(host string) (route.Entry, bool) { return c.view.Load().routes.Lookup(host) }

// Tunnel finds a tunnel by id or by name.
func (c *Catalog) Tunnel(ref string) (Tunnel, error) {
	v := c.view.Load()
	id, ok := v.names[ref]
	if !ok {
		parsed, err := tunnel.ParseID(ref)
		if err != nil {
			return Tunnel{}, fmt.Errorf("tunnel %q: %w", ref, tunnel.ErrNotFound)
		}
		id = parsed
	}
	t, ok := v.tunnels[id]
	if !ok {
		return Tunnel{}, fmt.Errorf("tunnel %q: %w", ref, tunnel.ErrNotFound)
	}
	return t, nil
}

// Name is the name of a tunnel, or "".
func (c *Catalog) Name(id tunnel.ID) string { return c.view.Load().tunnels[id].Name }

// Tunnels lists all tunnels by name.
func (c *Catalog) Tunnels() []Tunnel {
	v := c.view.Load()
	out := make([]Tunnel, 0, len(v.tunnels))
	for _, t := range v.tunnels {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Tunnel) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Routes lists all routes by host.
func (c *Catalog) Routes() []Route {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Route, 0, len(c.doc.Routes))
	for _, r := range c.doc.Routes {
		out = append(out, Route(r))
	}
	slices.SortFunc(out, func(a, b Route) int { return cmp.Compare(a.Host, b.Host) })
	return out
}

// CreateTunnel makes a tunnel with a new id and secret; a taken name is tunnel.ErrConflict.
func (c *Catalog) CreateTunnel(name string, now time.Time) (Tunnel, error) {
	if err := checkName(name); err != nil {
		return Tunnel{}, err
	}
	id, err := tunnel.NewID(rand.Reader)
	if err != nil {
		return Tunnel{}, fmt.Errorf("tunnel id: %w", err)
	}
	e := tunnelEntry{ID: id, Name: name, Secret: randomBytes(secretSize), CreatedAt: now.UTC()}
	err = c.change(func(d *document) error {
		e.AccountTag = d.AccountTag
		if findTunnel(d, func(o tunnelEntry) bool { return o.Name == name }) >= 0 {
			return fmt.Errorf("tunnel name %q is taken: %w", name, tunnel.ErrConflict)
		}
		d.Tunnels = append(d.Tunnels, e)
		return nil
	})
	if err != nil {
		return Tunnel{}, err
	}
	return e.public(), nil
}

// DeleteTunnel removes a tunnel, its routes and its ports. The entry stays in the file without its secret, so that the id and
// the time of its end are known.
func (c *Catalog) DeleteTunnel(id tunnel.ID, now time.Time) error {
	return c.change(func(d *document) error {
		i := findTunnel(d, func(o tunnelEntry) bool { return o.ID == id })
		if i < 0 {
			return fmt.Errorf("tunnel %s: %w", id, tunnel.ErrNotFound)
		}
		at := now.UTC()
		d.Tunnels[i].DeletedAt, d.Tunnels[i].Secret = &at, nil
		d.Routes = slices.DeleteFunc(d.Routes, func(r routeEntry) bool { return r.Tunnel == id })
		d.Ports = slices.DeleteFunc(d.Ports, func(p portEntry) bool { return p.Tunnel == id })
		return nil
	})
}

// RotateSecret gives a tunnel a new secret.
func (c *Catalog) RotateSecret(id tunnel.ID) (Tunnel, error) {
	var out Tunnel
	err := c.change(func(d *document) error {
		i := findTunnel(d, func(o tunnelEntry) bool { return o.ID == id })
		if i < 0 {
			return fmt.Errorf("tunnel %s: %w", id, tunnel.ErrNotFound)
		}
		d.Tunnels[i].Secret = randomBytes(secretSize)
		out = d.Tunnels[i].public()
		return nil
	})
	return out, err
}

// AddRoute sends a host pattern to a tunnel. The same route again changes nothing; a host of another tunnel is
// tunnel.ErrConflict.
func (c *Catalog) AddRoute(pattern string, id tunnel.ID, now time.Time) (Route, error) {
	host, err := route.CanonicalPattern(pattern)
	if err != nil {
		return Route{}, fmt.Errorf("route: %w: %w", ErrInvalid, err)
	}
	out := routeEntry{Host: host, Tunnel: id, CreatedAt: now.UTC()}
	err = c.change(func(d *document) error {
		if findTunnel(d, func(o tunnelEntry) bool { return o.ID == id }) < 0 {
			return fmt.Errorf("tunnel %s: %w", id, tunnel.ErrNotFound)
		}
		if i := slices.IndexFunc(d.Routes, func(r routeEntry) bool { return r.Host == host }); i >= 0 {
			if d.Routes[i].Tunnel != id {
				return fmt.Errorf("route %s belongs to tunnel %s: %w", host, d.Routes[i].Tunnel, tunnel.ErrConflict)
			}
			out = d.Routes[i]
			return nil
		}
		d.Routes = append(d.Routes, out)
		return nil
	})
	return Route(out), err
}

// DeleteRoute removes the route of a host pattern.
func (c *Catalog) DeleteRoute(pattern string) error {
	host, err := route.CanonicalPattern(pattern)
	if err != nil {
		return fmt.Errorf("route: %w: %w", ErrInvalid, err)
	}
	return c.change(func(d *document) error {
		i := slices.IndexFunc(d.Routes, func(r routeEntry) bool { return r.Host == host })
		if i < 0 {
			return fmt.Errorf("route %s: %w", host, tunnel.ErrNotFound)
		}
		d.Routes = slices.Delete(d.Routes, i, i+1)
		return nil
	})
}

// change applies f to a copy, writes it, and only then shows it to readers.
func (c *Catalog) change(f func(*document) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.doc
	next.Tunnels, next.Routes, next.Ports = slices.Clone(c.doc.Tunnels), slices.Clone(c.doc.Routes), slices.Clone(c.doc.Ports)
	if err := f(&next); err != nil {
		return err
	}
	v, err := index(next)
	if err != nil {
		return err
	}
	if err := writeFile(c.path, next); err != nil {
		return err
	}
	c.doc = next
	close(c.view.Swap(v).changed)
	return nil
}

func index(d document) (*view, error) {
	ports, err := indexPorts(d)
	if err != nil {
		return nil, err
	}
	v := &view{tunnels: make(map[tunnel.ID]Tunnel), names: make(map[string]tunnel.ID), changed: make(chan struct{}), ports: ports}
	for _, e := range d.Tunnels {
		if e.DeletedAt == nil {
			v.tunnels[e.ID], v.names[e.Name] = e.public(), e.ID
		}
	}
	entries := make([]route.Entry, 0, len(d.Routes))
	for _, r := range d.Routes {
		entries = append(entries, route.Entry{Pattern: r.Host, Tunnel: r.Tunnel})
	}
	v.routes = route.NewTable(entries)
	return v, nil
}

func (e tunnelEntry) public() Tunnel {
	return Tunnel{ID: e.ID, Name: e.Name, AccountTag: e.AccountTag, Secret: tunnel.Secret(e.Secret), CreatedAt: e.CreatedAt, Configuration: e.Configuration}
}

func findTunnel(d *document, match func(tunnelEntry) bool) int {
	return slices.IndexFunc(d.Tunnels, func(e tunnelEntry) bool { return e.DeletedAt == nil && match(e) })
}

// checkName keeps names apart from ids, and fit for paths and terminals.
func checkName(name string) error {
	switch {
	case strings.TrimSpace(name) == "" || strings.TrimSpace(name) != name || len(name) > maxName:
		return fmt.Errorf("tunnel name: %w: it must have 1 to %d characters and no space at its ends", ErrInvalid, maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' }):
		return fmt.Errorf("tunnel name: %w: it holds a slash or a control character", ErrInvalid)
	}
	if _, err := tunnel.ParseID(name); err == nil {
		return fmt.Errorf("tunnel name: %w: it looks like a tunnel id", ErrInvalid)
	}
	return nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand ends the process rather than fail
	return b
}
