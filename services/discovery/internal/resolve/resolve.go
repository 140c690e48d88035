package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// target is one host of the SRV records with all of its ports.
type target struct {
	host  string
	ports []uint16
	// guarded says that only public addresses of the host count.
	guarded bool
}

// Regions looks the SRV record name up and resolves its targets. Each target is a region; several records of one target
// are several ports of that region. The first two targets that have addresses count, by priority, weight and name: a
// random order would make a new pool with each lookup. Source says whether any response came over TLS.
func (c *Client) Regions(ctx context.Context, name string) ([]edgepool.RegionPool, edgepool.Source, error) {
	source := edgepool.SourceSRV
	var targets []target
	err := c.eitherWay(ctx, &source, func(w way) error {
		records, err := c.query(ctx, w, name, dns.TypeSRV)
		targets = grouped(records)
		return err
	})
	if err != nil {
		return nil, source, err
	}
	var regions []edgepool.RegionPool
	var errs []error
	for _, t := range targets {
		t.guarded = c.guards(name) || c.guards(t.host)
		addrs, err := c.target(ctx, t, &source)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		regions = append(regions, sortedRegion(tunnel.Region(strings.TrimSuffix(t.host, ".")), addrs))
		if len(regions) == edgepool.MinRegions {
			break
		}
	}
	regions = edgepool.Distinct(regions)
	pool := edgepool.Pool{Source: source, Regions: regions}
	if err := pool.Validate(); err != nil {
		return nil, source, errors.Join(append([]error{fmt.Errorf("records of %s: %w", name, err)}, errs...)...)
	}
	return regions, source, nil
}

// Static resolves a list of host:port, each to its first address, and alternates them between two regions
// (docs/spec/lifecycle.md 6.2). Entries that do not resolve keep the address that they had before, and are reported beside the others; that
// none resolves is an error.
func (c *Client) Static(ctx context.Context, entries []string) (regions []edgepool.RegionPool, skipped, err error) {
	var addrs []netip.AddrPort
	var errs []error
	resolved := 0
	for _, entry := range entries {
		a, err := c.staticEntry(ctx, entry)
		if err != nil {
			errs = append(errs, fmt.Errorf("static address %s: %w", entry, err))
			if a = c.last[entry]; !a.IsValid() {
				continue
			}
		} else {
			resolved++
		}
		c.last[entry] = a
		addrs = append(addrs, a)
	}
	regions = edgepool.Static(addrs)
	pool := edgepool.Pool{Source: edgepool.SourceStatic, Regions: regions}
	err = pool.Validate()
	if resolved == 0 && err == nil {
		err = tunnel.ErrNoAddress
	}
	if err != nil {
		return nil, nil, errors.Join(append([]error{fmt.Errorf("static addresses: %w", err)}, errs...)...)
	}
	return regions, errors.Join(errs...), nil
}

func (c *Client) staticEntry(ctx context.Context, entry string) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(entry)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port: %w", err)
	}
	var source edgepool.Source
	found, err := c.target(ctx, target{host: host, ports: []uint16{uint16(port)}, guarded: c.guards(host)}, &source)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return found[0], nil
}

// Text returns the first TXT record of a name, its pieces joined.
func (c *Client) Text(ctx context.Context, name string) (string, error) {
	var text string
	var source edgepool.Source
	err := c.eitherWay(ctx, &source, func(w way) error {
		records, err := c.query(ctx, w, name, dns.TypeTXT)
		if err != nil {
			return err
		}
		if txt, ok := records[0].(*dns.TXT); ok {
			text = unescape(strings.Join(txt.Txt, ""))
		}
		return nil
	})
	return text, err
}

// target resolves a host, either way, and combines its addresses with its ports.
func (c *Client) target(ctx context.Context, t target, source *edgepool.Source) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	err := c.eitherWay(ctx, source, func(w way) error {
		found, err := c.addresses(ctx, w, t.host)
		if err == nil && t.guarded {
			found, err = c.public(t.host, found)
		}
		if err != nil {
			return err
		}
		for _, a := range found {
			for _, port := range t.ports {
				all = append(all, netip.AddrPortFrom(a, port))
			}
		}
		return nil
	})
	return all, err
}

// eitherWay does a lookup, and when it fails does it over TLS. If that fails too, the error of the first way describes the
// fault of this network, so it comes first.
func (c *Client) eitherWay(ctx context.Context, source *edgepool.Source, lookup func(way) error) error {
	err := lookup(plain)
	if err == nil || c.cfg.DoTAddr == "" || ctx.Err() != nil {
		return err
	}
	if second := lookup(overTLS); second != nil {
		return errors.Join(err, fmt.Errorf("over TLS: %w", second))
	}
	*source = edgepool.SourceDoT
	return nil
}

// grouped turns SRV records into targets in the order in which they are to be used.
func grouped(records []dns.RR) []target {
	var all []*dns.SRV
	for _, rr := range records {
		// A target "." says that the service is not there (RFC 2782).
		if srv, ok := rr.(*dns.SRV); ok && srv.Target != "." && srv.Port != 0 {
			all = append(all, srv)
		}
	}
	slices.SortStableFunc(all, func(a, b *dns.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Weight, a.Weight),
			strings.Compare(strings.ToLower(a.Target), strings.ToLower(b.Target)), cmp.Compare(a.Port, b.Port))
	})
	var targets []target
	for _, srv := range all {
		host := strings.ToLower(srv.Target)
		i := slices.IndexFunc(targets, func(t target) bool { return t.host == host })
		if i < 0 {
			targets = append(targets, target{host: host})
			i = len(targets) - 1
		}
		if !slices.Contains(targets[i].ports, srv.Port) {
			targets[i].ports = append(targets[i].ports, srv.Port)
		}
	}
	return targets
}

// sortedRegion keeps which family came first, and sorts the rest: resolvers rotate the order of records, and a rotation is no
// new pool.
func sortedRegion(name tunnel.Region, addrs []netip.AddrPort) edgepool.RegionPool {
	r := edgepool.NewRegion(name, addrs)
	slices.SortFunc(r.V4, netip.AddrPort.Compare)
	slices.SortFunc(r.V6, netip.AddrPort.Compare)
	return r
}

// unescape undoes the library's presentation form of a TXT string: \" and \\ and \DDD.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 10, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}
