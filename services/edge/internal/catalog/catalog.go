package catalog

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/atomicfile"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog/document"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

const (
	fileName = "tunnels.json"
	lockName = "lock"
	fileMode = 0o600
	dirMode  = 0o700

	secretSize  = 32
	accountSize = 16
)

// Errors of changes.
var (
	// ErrInvalid means that a name, a host, a port or a configuration is not acceptable.
	ErrInvalid = document.ErrInvalid
	// ErrFull means that there are as many quick tunnels as are allowed.
	ErrFull = document.ErrFull
)

// What the catalog holds; package document describes each.
type (
	// Tunnel is a named tunnel with its secrets.
	Tunnel = document.Tunnel
	// Route sends the requests for a host to a tunnel.
	Route = document.Route
	// Port is a public port of a tunnel.
	Port = document.Port
	// Configuration is the document that the edge pushes to the connectors of a tunnel.
	Configuration = document.Configuration
)

// PortState is a port with the state of its listener, for operators.
type PortState struct {
	Port
	// Bound is where it listens, or the zero value.
	Bound netip.AddrPort
	// Fault says why it does not listen.
	Fault string
}

// Catalog is the list of tunnels and routes of one edge.
type Catalog struct {
	path  string
	lock  *lock
	guard guard

	// mu protects doc and serialises writers.
	mu  sync.Mutex
	doc document.Document

	current atomic.Pointer[snapshot]
}

// snapshot is what readers share; it is never changed.
type snapshot struct {
	*document.View
	// changed is closed when another snapshot has replaced this one.
	changed chan struct{}
}

// Open reads the catalog of a data directory, which it creates when it is missing. A directory that another edge uses is an
// error.
func Open(dir string) (*Catalog, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	l, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	c := &Catalog{path: filepath.Join(dir, fileName), lock: l, guard: newGuard()}
	if err := c.load(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return c, nil
}

func (c *Catalog) load() error {
	d := document.Empty()
	b, err := os.ReadFile(c.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("tunnel file: %w", err)
	default:
		if d, err = document.Parse(b); err != nil {
			return fmt.Errorf("tunnel file %s: %w", c.path, err)
		}
	}
	if d.AccountTag == "" {
		d.AccountTag = hex.EncodeToString(randomBytes(accountSize))
		if err := c.write(d); err != nil {
			return err
		}
	}
	v, err := d.View()
	if err != nil {
		return fmt.Errorf("tunnel file %s: %w", c.path, err)
	}
	c.doc = d
	c.current.Store(&snapshot{View: v, changed: make(chan struct{})})
	return nil
}

func (c *Catalog) write(d document.Document) error {
	b, err := d.Marshal()
	if err != nil {
		return fmt.Errorf("tunnel file: %w", err)
	}
	return atomicfile.Write(c.path, b, fileMode)
}

// Close releases the data directory.
func (c *Catalog) Close() error { return c.lock.Close() }

// change applies f to a copy of the document, writes it, and only then shows it to readers.
func (c *Catalog) change(now time.Time, f func(*document.Document) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.doc.Clone()
	next.ForgetExpired(now)
	if err := f(&next); err != nil {
		return err
	}
	v, err := next.View()
	if err != nil {
		return err
	}
	if err := c.write(next); err != nil {
		return err
	}
	c.doc = next
	close(c.current.Swap(&snapshot{View: v, changed: make(chan struct{})}).changed)
	return nil
}

// Validity says whether credentials are valid, and until when.
type Validity struct {
	Valid bool
	// Until is the zero value when the credentials stay valid until a change.
	Until time.Time
	// Changed is closed when anything in the catalog has changed since.
	Changed <-chan struct{}
}

// Validity checks the credentials of a connector: the tunnel's secret, or the previous one during the grace period of a rotation.
// The time that it takes does not depend on whether the tunnel exists or on how much of the secret is right.
func (c *Catalog) Validity(got tunnel.Credentials, now time.Time) Validity {
	s := c.current.Load()
	out := Validity{Changed: s.changed}
	t, known := s.ByID[got.TunnelID]
	want := t.Credentials()
	if !known {
		want = c.guard.decoy
	}
	previous := t.Previous
	graceful := now.Before(t.PreviousUntil) && len(previous) > 0
	if !graceful {
		previous = c.guard.decoy.Secret
	}
	account := c.guard.equal([]byte(want.AccountTag), []byte(got.AccountTag))
	current, old := c.guard.equal(want.Secret, got.Secret), c.guard.equal(previous, got.Secret)
	switch {
	case !known || account != 1:
	case current == 1:
		out.Valid = true
	case old == 1 && graceful:
		out.Valid, out.Until = true, t.PreviousUntil
	}
	return out
}

// Lookup finds the tunnel of a canonical host.
func (c *Catalog) Lookup(host string) (route.Entry, bool) { return c.current.Load().Hosts.Lookup(host) }

// Pattern returns the pattern of the route that a server name falls under.
func (c *Catalog) Pattern(name string) (string, bool) {
	host, err := route.Canonical(name)
	if err != nil {
		return "", false
	}
	e, ok := c.Lookup(host)
	return e.Pattern, ok
}

// Tunnel finds a tunnel by id or by name.
func (c *Catalog) Tunnel(ref string) (Tunnel, error) { return c.current.Load().Tunnel(ref) }

// Name is the name of a tunnel, or "".
func (c *Catalog) Name(id tunnel.ID) string { return c.current.Load().ByID[id].Name }

// Tunnels lists all tunnels by name.
func (c *Catalog) Tunnels() []Tunnel { return c.current.Load().Tunnels() }

// CreateTunnel makes a tunnel with a new id and secret; a taken name is tunnel.ErrConflict.
func (c *Catalog) CreateTunnel(name string, now time.Time) (t Tunnel, err error) {
	id, err := tunnel.NewID(rand.Reader)
	if err != nil {
		return Tunnel{}, fmt.Errorf("tunnel id: %w", err)
	}
	secret := randomBytes(secretSize)
	err = c.change(now, func(d *document.Document) (err error) {
		t, err = d.CreateTunnel(name, id, secret, now)
		return err
	})
	return t, err
}

// CreateQuick makes a tunnel without an owner and its route, as document.CreateQuick describes.
func (c *Catalog) CreateQuick(name, host string, limit int, now time.Time) (t Tunnel, err error) {
	id, err := tunnel.NewID(rand.Reader)
	if err != nil {
		return Tunnel{}, fmt.Errorf("tunnel id: %w", err)
	}
	secret := randomBytes(secretSize)
	err = c.change(now, func(d *document.Document) (err error) {
		t, err = d.CreateQuick(name, host, limit, id, secret, now)
		return err
	})
	return t, err
}

// Quick lists the quick tunnels.
func (c *Catalog) Quick() []tunnel.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.doc.Quick()
}

// RemoveQuick removes quick tunnels, as document.RemoveQuick describes. Without ids it does nothing.
func (c *Catalog) RemoveQuick(ids []tunnel.ID) error {
	if len(ids) == 0 {
		return nil
	}
	return c.change(time.Now(), func(d *document.Document) error {
		d.RemoveQuick(ids)
		return nil
	})
}

// DeleteTunnel removes a tunnel, its routes and its ports.
func (c *Catalog) DeleteTunnel(id tunnel.ID, now time.Time) error {
	return c.change(now, func(d *document.Document) error { return d.DeleteTunnel(id, now) })
}

// RotateSecret gives a tunnel a new secret; the old one is accepted for the grace period.
func (c *Catalog) RotateSecret(id tunnel.ID, now time.Time, grace time.Duration) (t Tunnel, err error) {
	secret := randomBytes(secretSize)
	err = c.change(now, func(d *document.Document) (err error) {
		t, err = d.RotateSecret(id, secret, now, grace)
		return err
	})
	return t, err
}

// Configuration is that of a tunnel, or nil when the tunnel manages itself. The channel is closed when anything in the
// catalog has changed since.
func (c *Catalog) Configuration(id tunnel.ID) (*Configuration, <-chan struct{}) {
	s := c.current.Load()
	return s.ByID[id].Configuration, s.changed
}

// SetConfiguration gives a tunnel a new configuration, as document.SetConfiguration describes.
func (c *Catalog) SetConfiguration(id tunnel.ID, doc []byte, above int32, now time.Time) (out *Configuration, err error) {
	err = c.change(now, func(d *document.Document) (err error) {
		out, err = d.SetConfiguration(id, doc, above, now)
		return err
	})
	return out, err
}

// Routes lists all routes of hosts, by host.
func (c *Catalog) Routes() []Route { return slices.Clone(c.current.Load().Routes) }

// AddRoute sends a host pattern to a tunnel, as document.AddRoute describes.
func (c *Catalog) AddRoute(pattern string, id tunnel.ID, now time.Time) (r Route, err error) {
	err = c.change(now, func(d *document.Document) (err error) {
		r, err = d.AddRoute(pattern, id, now)
		return err
	})
	return r, err
}

// DeleteRoute removes the route of a host pattern.
func (c *Catalog) DeleteRoute(pattern string) error {
	return c.change(time.Now(), func(d *document.Document) error { return d.DeleteRoute(pattern) })
}

// Ports lists all public ports by name.
func (c *Catalog) Ports() []Port { return slices.Clone(c.current.Load().Ports) }

// Port finds a port by what it listens on.
func (c *Catalog) Port(p route.Port) (Port, bool) { return c.current.Load().Port(p) }

// CheckPort says whether AddPort would add the port, without adding it; document.CheckPort describes the result.
func (c *Catalog) CheckPort(p route.Port, id tunnel.ID) (exists bool, err error) {
	return c.current.Load().CheckPort(p, id)
}

// AddPort gives a port to a tunnel, as document.AddPort describes.
func (c *Catalog) AddPort(p route.Port, id tunnel.ID, now time.Time) (out Port, err error) {
	err = c.change(now, func(d *document.Document) (err error) {
		out, err = d.AddPort(p, id, now)
		return err
	})
	return out, err
}

// DeletePort removes a port.
func (c *Catalog) DeletePort(p route.Port) error {
	return c.change(time.Now(), func(d *document.Document) error { return d.DeletePort(p) })
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand ends the process rather than fail
	return b
}
