package zone

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Config is the small authoritative name server.
type Config struct {
	Listen      netip.AddrPort `yaml:"listen" usage:"UDP and TCP address of the name server; unset = none"`
	Domain      string         `yaml:"domain" usage:"the domain of the name server"`
	TTL         time.Duration  `yaml:"ttl" usage:"time to live of the responses"`
	Regions     []Region       `yaml:"regions" usage:"advertised regions; none = derived from the connector listeners"`
	ProtocolTXT string         `yaml:"protocol_txt" usage:"content of the TXT record protocol-v2"`
	FeatureTXT  string         `yaml:"feature_txt" usage:"content of the TXT record cfd-features"`
}

// Default holds the default values.
func Default() Config {
	return Config{
		Domain:      "tunnel.internal",
		TTL:         30 * time.Second,
		ProtocolTXT: `[{"protocol":"quic","percentage":100}]`,
		FeatureTXT:  `{}`,
	}
}

// Validate reports every problem, each with its path.
func (c *Config) Validate() error {
	if !c.Listen.IsValid() {
		return nil
	}
	var errs []error
	if strings.Trim(c.Domain, ".") == "" {
		errs = append(errs, errors.New("dns: domain: empty"))
	}
	if c.TTL < 0 {
		errs = append(errs, errors.New("dns: ttl: negative"))
	}
	for i, r := range c.Regions {
		if r.Name == "" {
			errs = append(errs, fmt.Errorf("dns: regions[%d]: name: empty", i))
		}
		if len(r.Addresses) == 0 {
			errs = append(errs, fmt.Errorf("dns: regions[%d]: addresses: empty", i))
		}
	}
	return errors.Join(errs...)
}

// Content makes the content of the zone: the configured regions, or two that are derived from the listeners for connectors. local
// lists the addresses of this host, as net.InterfaceAddrs does.
func (c *Config) Content(listeners []netip.AddrPort, local func() ([]net.Addr, error)) (Content, error) {
	out := Content{
		Domain: c.Domain, TTL: c.TTL, Regions: slices.Clone(c.Regions), ProtocolTXT: c.ProtocolTXT, FeatureTXT: c.FeatureTXT,
		Serial: uint32(time.Now().Unix()), // serial numbers wrap
	}
	hosts, err := hostAddrs(local)
	if err != nil {
		return Content{}, err
	}
	if len(out.Regions) == 0 {
		out.Regions = deriveRegions(listeners, hosts)
	}
	if len(out.Regions) == 0 {
		return Content{}, fmt.Errorf("dns: regions: empty, and this host has no address that connectors could dial")
	}
	if out.Self = c.Listen.Addr().Unmap(); out.Self.IsUnspecified() {
		out.Self = netip.Addr{}
		if len(hosts) > 0 {
			out.Self = hosts[0]
		}
	}
	return out, nil
}

// deriveRegions assigns the listeners to two regions in turn, or the addresses of the listener if there is only one. A single
// address is in both regions: connectors need two to start (docs/spec/wire.md 2.1).
func deriveRegions(listeners []netip.AddrPort, hosts []netip.Addr) []Region {
	var parts [2][]netip.AddrPort
	var all []netip.AddrPort
	for i, l := range listeners {
		addrs := reachable(l, hosts)
		all = append(all, addrs...)
		parts[i%2] = append(parts[i%2], addrs...)
	}
	if len(all) == 0 {
		return nil
	}
	if len(listeners) == 1 {
		parts = [2][]netip.AddrPort{}
		for i, a := range all {
			parts[i%2] = append(parts[i%2], a)
		}
	}
	if len(parts[1]) == 0 {
		parts[1] = parts[0]
	}
	return []Region{{Name: "region1", Addresses: parts[0]}, {Name: "region2", Addresses: parts[1]}}
}

// reachable are the addresses on which others reach a listener.
func reachable(l netip.AddrPort, hosts []netip.Addr) []netip.AddrPort {
	if !l.Addr().IsUnspecified() {
		return []netip.AddrPort{l}
	}
	var out []netip.AddrPort
	for _, h := range hosts {
		if h.Is4() || l.Addr().Is6() {
			out = append(out, netip.AddrPortFrom(h, l.Port()))
		}
	}
	return out
}

// hostAddrs are this host's addresses that others can use, or its loopback addresses when there are none.
func hostAddrs(local func() ([]net.Addr, error)) ([]netip.Addr, error) {
	addrs, err := local()
	if err != nil {
		return nil, fmt.Errorf("addresses of this host: %w", err)
	}
	var global, loopback []netip.Addr
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		switch ip := p.Addr().Unmap(); {
		case ip.IsLoopback():
			loopback = append(loopback, ip)
		case ip.IsGlobalUnicast():
			global = append(global, ip)
		}
	}
	if len(global) == 0 {
		global = loopback
	}
	slices.SortStableFunc(global, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return global, nil
}
