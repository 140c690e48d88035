package document

import (
	"fmt"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// maxName bounds the name of a tunnel, in bytes.
const maxName = 128

// Tunnel is one tunnel that exists.
type Tunnel struct {
	ID         tunnel.ID
	Name       string
	AccountTag string
	Secret     tunnel.Secret
	// Previous is the secret before the last rotation, which is accepted until PreviousUntil; nil = none.
	Previous      tunnel.Secret
	PreviousUntil time.Time
	CreatedAt     time.Time
	// Configuration is nil when the tunnel manages itself.
	Configuration *Configuration
}

// Credentials are what a connector needs to register.
func (t Tunnel) Credentials() tunnel.Credentials {
	return tunnel.Credentials{AccountTag: t.AccountTag, Secret: t.Secret, TunnelID: t.ID}
}

func (e tunnelEntry) public() Tunnel {
	t := Tunnel{
		ID: e.ID, Name: e.Name, AccountTag: e.AccountTag, Secret: tunnel.Secret(e.Secret), CreatedAt: e.CreatedAt, Configuration: e.Configuration,
	}
	if e.PreviousUntil != nil {
		t.Previous, t.PreviousUntil = tunnel.Secret(e.PreviousSecret), *e.PreviousUntil
	}
	return t
}

// CreateTunnel adds a tunnel. A name that is taken is tunnel.ErrConflict, one that is not acceptable ErrInvalid.
func (d *Document) CreateTunnel(name string, id tunnel.ID, secret []byte, now time.Time) (Tunnel, error) {
	if err := CheckName(name); err != nil {
		return Tunnel{}, err
	}
	if d.find(func(e tunnelEntry) bool { return e.Name == name }) >= 0 {
		return Tunnel{}, fmt.Errorf("tunnel name %q is taken: %w", name, tunnel.ErrConflict)
	}
	e := tunnelEntry{ID: id, Name: name, AccountTag: d.AccountTag, Secret: secret, CreatedAt: now.UTC()}
	d.Tunnels = append(d.Tunnels, e)
	return e.public(), nil
}

// DeleteTunnel removes a tunnel, its routes and its ports. The entry stays without its secrets, so that the id and the time of
// its end are known; that of a quick tunnel does not.
func (d *Document) DeleteTunnel(id tunnel.ID, now time.Time) error {
	e, err := d.byID(id)
	if err != nil {
		return err
	}
	if e.Quick {
		d.RemoveQuick([]tunnel.ID{id})
		return nil
	}
	at := now.UTC()
	e.DeletedAt, e.Secret, e.PreviousSecret, e.PreviousUntil = &at, nil, nil, nil
	d.Routes = slices.DeleteFunc(d.Routes, func(r routeEntry) bool { return r.Tunnel == id })
	d.Ports = slices.DeleteFunc(d.Ports, func(p portEntry) bool { return p.Tunnel == id })
	return nil
}

// RotateSecret gives a tunnel a new secret. The old one is accepted for the grace period; one that an earlier rotation left is
// not accepted any more.
func (d *Document) RotateSecret(id tunnel.ID, secret []byte, now time.Time, grace time.Duration) (Tunnel, error) {
	e, err := d.byID(id)
	if err != nil {
		return Tunnel{}, err
	}
	if grace < 0 {
		return Tunnel{}, fmt.Errorf("grace period %v: %w: it is negative", grace, ErrInvalid)
	}
	e.PreviousSecret, e.PreviousUntil = nil, nil
	if grace > 0 {
		until := now.UTC().Add(grace)
		e.PreviousSecret, e.PreviousUntil = e.Secret, &until
	}
	e.Secret = secret
	return e.public(), nil
}

// ForgetExpired removes previous secrets that are no longer accepted.
func (d *Document) ForgetExpired(now time.Time) {
	for i := range d.Tunnels {
		if e := &d.Tunnels[i]; e.PreviousUntil != nil && !now.Before(*e.PreviousUntil) {
			e.PreviousSecret, e.PreviousUntil = nil, nil
		}
	}
}

// CheckName accepts names of letters, digits, '-', '_' and '.' that begin with a letter or digit: they differ from ids, and can
// stand in paths, terminals and logs without changing what is around them.
func CheckName(name string) error {
	first, _ := utf8.DecodeRuneInString(name)
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("tunnel name: %w: it must have 1 to %d bytes", ErrInvalid, maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("tunnel name: %w: it is not UTF-8", ErrInvalid)
	case !unicode.IsLetter(first) && !unicode.IsDigit(first):
		return fmt.Errorf("tunnel name %q: %w: it must begin with a letter or digit", name, ErrInvalid)
	}
	for _, r := range name {
		if !unicode.In(r, unicode.L, unicode.M, unicode.Nd) && r != '-' && r != '_' && r != '.' {
			return fmt.Errorf("tunnel name %q: %w: %q is not a letter, digit, '-', '_' or '.'", name, ErrInvalid, r)
		}
	}
	if _, err := tunnel.ParseID(name); err == nil {
		return fmt.Errorf("tunnel name %q: %w: it has the form of a tunnel id", name, ErrInvalid)
	}
	return nil
}
