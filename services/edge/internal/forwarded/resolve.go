package forwarded

import (
	"net/netip"
	"strings"
)

// Names of the fields that are read, in canonical form.
const (
	fieldFor          = "X-Forwarded-For"
	fieldProto        = "X-Forwarded-Proto"
	fieldHost         = "X-Forwarded-Host"
	fieldForwarded    = "Forwarded"
	fieldConnectingIP = "Cf-Connecting-Ip"
)

// maxHops bounds how many addresses of a list are read.
const maxHops = 64

// Visitor is what trusted proxies state about a visitor.
type Visitor struct {
	Addr netip.Addr
	// Scheme is "http", "https", or "" when no proxy states it.
	Scheme string
	// Host is the host that the visitor asked for, or "".
	Host string
}

// Resolve finds the visitor of a request whose connection comes from peer, which is a trusted proxy. header has canonical
// names. Of the fields that name addresses only the first one that is present counts: X-Forwarded-For, Forwarded,
// Cf-Connecting-Ip. When none has a usable address the visitor is peer.
func (p Proxies) Resolve(peer netip.Addr, header map[string][]string) Visitor {
	v := Visitor{Addr: peer}
	switch {
	case len(header[fieldFor]) > 0:
		addrs := items(header[fieldFor])
		at := p.walk(&v, len(addrs), func(i int) string { return addrs[i] })
		v.Scheme = scheme(alongside(items(header[fieldProto]), at, len(addrs)))
		v.Host = alongside(items(header[fieldHost]), at, len(addrs))
	case len(header[fieldForwarded]) > 0:
		hops := parseForwarded(header[fieldForwarded])
		at := p.walk(&v, len(hops), func(i int) string { return hops[i].addr })
		if at < len(hops) {
			v.Scheme, v.Host = scheme(hops[at].proto), hops[at].host
		}
	default:
		if ip := header[fieldConnectingIP]; len(ip) == 1 {
			if a, ok := parseAddr(ip[0]); ok {
				v.Addr = a
			}
		}
		v.Scheme = scheme(last(items(header[fieldProto])))
		v.Host = last(items(header[fieldHost]))
	}
	return v
}

// walk goes through n addresses from the right while they are trusted proxies. It sets the address of v, and returns the
// position of the item that the outermost trusted proxy wrote; n when no item is usable.
func (p Proxies) walk(v *Visitor, n int, item func(i int) string) int {
	at := n
	for i := n - 1; i >= 0 && n-i <= maxHops; i-- {
		a, ok := parseAddr(item(i))
		if !ok { // "unknown", an obfuscated name or nonsense: nothing left of it can be believed
			break
		}
		v.Addr, at = a, i
		if !p.Contain(a) {
			break
		}
	}
	return at
}

// alongside gives the item of a list that belongs to position at of a list with n addresses: proxies that append to both lists
// keep them in step. A list of another length holds what the nearest proxy wrote last.
func alongside(list []string, at, n int) string {
	if len(list) == n && at < n {
		return list[at]
	}
	return last(list)
}

func last(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

// items splits comma-separated lists; empty items are skipped.
func items(lines []string) []string {
	var out []string
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			if item = strings.Trim(item, " \t"); item != "" {
				out = append(out, item)
			}
		}
	}
	return out
}

func scheme(s string) string {
	switch {
	case strings.EqualFold(s, "https"), strings.EqualFold(s, "wss"):
		return "https"
	case strings.EqualFold(s, "http"), strings.EqualFold(s, "ws"):
		return "http"
	default:
		return ""
	}
}

// parseAddr reads an address as proxies write it: with or without a port, IPv6 with or without brackets.
func parseAddr(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}
