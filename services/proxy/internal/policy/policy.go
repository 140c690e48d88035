package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
)

// ErrDenied says that the local policy does not allow something. Errors that wrap it name what and why.
var ErrDenied = errors.New("denied by the local policy")

// Policy is what a proxy may reach. A nil Policy allows everything.
type Policy struct {
	allowNets, denyNets   list[netip.Prefix]
	allowHosts, denyHosts list[string] // a leading dot stands for all names below
	unix, files           list[string] // a trailing slash stands for all below a directory
}

// LimitsNetwork reports whether any network or host name is out of reach. Connections must then be opened to the destination itself,
// not through an HTTP proxy, which would choose the address.
func (p *Policy) LimitsNetwork() bool {
	return p != nil && (p.allowNets.set || p.denyNets.set || p.allowHosts.set || p.denyHosts.set)
}

// Addr decides about the address of a connection, a datagram or a ping: the resolved one. An IPv4-mapped address counts as the
// IPv4 address.
func (p *Policy) Addr(addr netip.Addr) error {
	if p == nil {
		return nil
	}
	addr = addr.Unmap().WithZone("")
	contains := func(n netip.Prefix) bool { return n.Contains(addr) }
	switch {
	case p.denyNets.has(contains):
		return fmt.Errorf("%s: %w (deny_networks)", addr, ErrDenied)
	case p.allowNets.set && !p.allowNets.has(contains):
		return fmt.Errorf("%s: %w (allow_networks)", addr, ErrDenied)
	}
	return nil
}

// Host decides about the host of a destination before it is resolved. An IP address is no name: Addr decides about it.
func (p *Policy) Host(host string) error {
	if p == nil || !p.allowHosts.set && !p.denyHosts.set {
		return nil
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return nil
	}
	name := hostName(host)
	fits := func(item string) bool {
		return name == item || strings.HasPrefix(item, ".") && strings.HasSuffix(name, item)
	}
	switch {
	case p.denyHosts.has(fits):
		return fmt.Errorf("host %q: %w (deny_hosts)", host, ErrDenied)
	case p.allowHosts.set && !p.allowHosts.has(fits):
		return fmt.Errorf("host %q: %w (allow_hosts)", host, ErrDenied)
	}
	return nil
}

// Unix decides about the path of a Unix socket.
func (p *Policy) Unix(socket string) error {
	if p == nil || !p.unix.set || within(p.unix, socket) {
		return nil
	}
	return fmt.Errorf("unix socket %q: %w (allow_unix)", socket, ErrDenied)
}

// File decides about a file that a rule names.
func (p *Policy) File(file string) error {
	if p == nil || !p.files.set || within(p.files, file) {
		return nil
	}
	return fmt.Errorf("file %q: %w (allow_files)", file, ErrDenied)
}

// Serve decides about a directory, or a file, that a rule gives to visitors. A pushed configuration may name only what allow_files has:
// without that list, who may change the rules of the tunnel could read every file of the host.
func (p *Policy) Serve(name string, dir, pushed bool) error {
	limited := p != nil && p.files.set
	below := name
	if dir {
		below = path.Join(name, "x")
	}
	if !limited && !pushed || limited && within(p.files, below) {
		return nil
	}
	return fmt.Errorf("file %q: %w (allow_files)", name, ErrDenied)
}

// within reports whether a list has a path or a directory above it. A path that is not absolute is in no list.
func within(l list[string], name string) bool {
	if !path.IsAbs(name) || strings.ContainsRune(name, 0) {
		return false
	}
	clean := path.Clean(name)
	return l.has(func(item string) bool {
		return clean == item || strings.HasSuffix(item, "/") && strings.HasPrefix(clean, item)
	})
}
