package monitor

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/culvert-tunnel/culvert/pkg/ops"
)

const (
	hostDefault      = "localhost:0"
	containerDefault = "0.0.0.0:0"
)

// knownPorts are tried in order when no address was asked for; tools look for a connector there (docs/spec/lifecycle.md 10.2).
func knownPorts() []int { return []int{20241, 20242, 20243, 20244, 20245} }

// Address is where the listener may be.
type Address struct {
	// Candidates are tried in order; the first free one is used.
	Candidates []string
	// Asked says that the user named the address. Only then is it an error that no candidate is free.
	Asked bool
}

// Choose gives the address of the listener for the value of --metrics, which may be empty. container says that the process runs in an
// image of ours: the listener is open to other hosts there, since only they can ask it.
//
// As in the reference, the default address given as a value is the default: known ports, and then any free one.
func Choose(given string, container bool) Address {
	standard, host := hostDefault, "127.0.0.1"
	if container {
		standard, host = containerDefault, "0.0.0.0"
	}
	if given != "" && given != standard {
		return Address{Candidates: []string{given}, Asked: true}
	}
	var a Address
	for _, port := range append(knownPorts(), 0) {
		a.Candidates = append(a.Candidates, net.JoinHostPort(host, strconv.Itoa(port)))
	}
	return a
}

// hosts gives the names that requests to the listener on addr may use. A listener that is open to other hosts, such as
// 0.0.0.0:2000 in a container, is scraped by names that are not known here, as with stock cloudflared, so it allows all.
func hosts(addr string) []string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return []string{ops.AnyHost}
}
