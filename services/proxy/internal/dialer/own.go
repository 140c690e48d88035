package dialer

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/policy"
)

// own are the private listeners of this process. Nobody reaches them through a tunnel: a Unix socket by no rule, a TCP listener not
// by a destination that a visitor chooses. A rule that names a TCP listener is the operator's own wish, for its metrics.
type own struct {
	tcp  []netip.AddrPort
	unix []string
	// interfaces lists the addresses of this host; tests replace it.
	interfaces func() ([]net.Addr, error)
}

func newOwn(listeners []net.Addr) own {
	o := own{interfaces: net.InterfaceAddrs}
	for _, a := range listeners {
		switch a := a.(type) {
		case *net.TCPAddr:
			if ap := plain(a.AddrPort()); ap.Port() != 0 {
				o.tcp = append(o.tcp, ap)
			}
		case *net.UnixAddr:
			o.unix = append(o.unix, a.Name)
		}
	}
	return o
}

func refusedOwn(what string) error {
	return fmt.Errorf("%s is a private listener of this process: %w", what, policy.ErrDenied)
}

// addr judges a resolved destination. A listener on all addresses is met by each address of this host, and the address of none (0.0.0.0)
// is this host, too.
func (o own) addr(dst netip.AddrPort) error {
	ip := dst.Addr().Unmap().WithZone("")
	for _, l := range o.tcp {
		if l.Port() != dst.Port() {
			continue
		}
		listens := l.Addr().WithZone("")
		if ip == listens || ip.IsUnspecified() || listens.IsUnspecified() && o.isThisHost(ip) {
			return refusedOwn(dst.String())
		}
	}
	return nil
}

func (o own) isThisHost(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	addrs, err := o.interfaces()
	if err != nil {
		return true // better one visitor too few than one too many
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if mine, ok := netip.AddrFromSlice(n.IP); ok && mine.Unmap() == ip {
			return true
		}
	}
	return false
}

// socket judges the path of a Unix socket: it may be another name of the same file.
func (o own) socket(path string) error {
	if len(o.unix) == 0 {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil //nolint:nilerr // to dial it says what is wrong
	}
	for _, name := range o.unix {
		if mine, err := os.Stat(name); err == nil && os.SameFile(info, mine) {
			return refusedOwn("unix socket " + path)
		}
	}
	return nil
}
