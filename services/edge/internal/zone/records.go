package zone

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Region is one advertised region: the host <name>.<domain> with its addresses.
type Region struct {
	// Prefix puts the region under _<prefix>-v2-origintunneld instead of _v2-origintunneld.
	Prefix    string           `yaml:"prefix"`
	Name      string           `yaml:"name"`
	Addresses []netip.AddrPort `yaml:"addresses"`
}

// Content is the content of a zone.
type Content struct {
	Domain  string
	TTL     time.Duration
	Regions []Region
	// Self is the address of this name server, for the record of its own name; it may be the zero value.
	Self        netip.Addr
	ProtocolTXT string
	FeatureTXT  string
	Serial      uint32
}

const (
	srvService  = "v2-origintunneld"
	protocolTXT = "protocol-v2"
	featureTXT  = "cfd-features"
	nameServer  = "ns1"
	maxTXT      = 255
	weight      = 10

	soaRefresh = 3600
	soaRetry   = 600
	soaExpire  = 86400
)

// records maps lower-case names to their records; a name without records is one that has names below it.
type records struct {
	origin string
	soa    *dns.SOA
	names  map[string][]dns.RR
}

func build(c Content) (*records, error) {
	origin := strings.ToLower(dns.Fqdn(c.Domain))
	if _, ok := dns.IsDomainName(origin); !ok || origin == "." {
		return nil, fmt.Errorf("domain %q is not a domain name", c.Domain)
	}
	ttl := uint32(max(0, c.TTL/time.Second)) // a configured time to live is far below the limit
	z := &records{origin: origin, names: make(map[string][]dns.RR)}
	ns := nameServer + "." + origin
	z.soa = &dns.SOA{
		Hdr: header(origin, dns.TypeSOA, ttl), Ns: ns, Mbox: "hostmaster." + origin, Serial: c.Serial,
		Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: ttl,
	}
	z.add(z.soa)
	z.add(&dns.NS{Hdr: header(origin, dns.TypeNS, ttl), Ns: ns})
	z.addAddress(ns, c.Self, ttl)
	z.addTXT(protocolTXT+"."+origin, c.ProtocolTXT, ttl)
	z.addTXT(featureTXT+"."+origin, c.FeatureTXT, ttl)
	for _, r := range c.Regions {
		if err := z.addRegion(r, ttl); err != nil {
			return nil, err
		}
	}
	return z, nil
}

// addRegion makes one target per set of addresses that share their ports. The first port of every region has the best
// priority: a stock connector reads only the first two SRV records and needs one of each region (docs/spec/wire.md 2.1).
func (z *records) addRegion(r Region, ttl uint32) error {
	service := "_" + srvService
	if r.Prefix != "" {
		service = "_" + strings.ToLower(r.Prefix) + "-" + srvService
	}
	service += "._tcp." + z.origin
	var priority uint16
	for i, t := range targets(r.Addresses) {
		host := strings.ToLower(r.Name) + "." + z.origin
		if i > 0 {
			host = fmt.Sprintf("%s-%d.%s", strings.ToLower(r.Name), i+1, z.origin)
		}
		if _, ok := dns.IsDomainName(host); !ok {
			return fmt.Errorf("region name %q is not a host name", r.Name)
		}
		for _, port := range t.ports {
			priority++
			z.add(&dns.SRV{Hdr: header(service, dns.TypeSRV, ttl), Priority: priority, Weight: weight, Port: port, Target: host})
		}
		for _, a := range t.addrs {
			z.addAddress(host, a, ttl)
		}
	}
	return nil
}

// target is a set of addresses, each of which listens on all of the ports.
type target struct {
	addrs []netip.Addr
	ports []uint16
}

func targets(addresses []netip.AddrPort) []target {
	var ports []uint16
	byPort := make(map[uint16][]netip.Addr)
	for _, ap := range addresses {
		if _, ok := byPort[ap.Port()]; !ok {
			ports = append(ports, ap.Port())
		}
		if a := ap.Addr().Unmap(); !slices.Contains(byPort[ap.Port()], a) {
			byPort[ap.Port()] = append(byPort[ap.Port()], a)
		}
	}
	var out []target
	for _, p := range ports {
		i := slices.IndexFunc(out, func(t target) bool { return sameAddrs(t.addrs, byPort[p]) })
		if i < 0 {
			out = append(out, target{addrs: byPort[p]})
			i = len(out) - 1
		}
		out[i].ports = append(out[i].ports, p)
	}
	return out
}

func sameAddrs(a, b []netip.Addr) bool {
	x, y := slices.Clone(a), slices.Clone(b)
	slices.SortFunc(x, netip.Addr.Compare)
	slices.SortFunc(y, netip.Addr.Compare)
	return slices.Equal(x, y)
}

func (z *records) addAddress(name string, a netip.Addr, ttl uint32) {
	switch a = a.Unmap(); {
	case a.Is4():
		z.add(&dns.A{Hdr: header(name, dns.TypeA, ttl), A: a.AsSlice()})
	case a.Is6():
		z.add(&dns.AAAA{Hdr: header(name, dns.TypeAAAA, ttl), AAAA: a.AsSlice()})
	}
}

func (z *records) addTXT(name, text string, ttl uint32) {
	if text == "" {
		return
	}
	rr := &dns.TXT{Hdr: header(name, dns.TypeTXT, ttl)}
	for ; len(text) > maxTXT; text = text[maxTXT:] {
		rr.Txt = append(rr.Txt, escapeTXT(text[:maxTXT]))
	}
	rr.Txt = append(rr.Txt, escapeTXT(text))
	z.add(rr)
}

// escapeTXT escapes a text so that the library packs exactly its bytes.
func escapeTXT(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }

// add also makes the names between the record and the origin exist, so that queries for them do not get NXDOMAIN.
func (z *records) add(rr dns.RR) {
	name := rr.Header().Name
	z.names[name] = append(z.names[name], rr)
	for name != z.origin {
		_, rest, ok := strings.Cut(name, ".")
		if !ok || !dns.IsSubDomain(z.origin, rest) {
			return
		}
		if _, have := z.names[rest]; !have {
			z.names[rest] = nil
		}
		name = rest
	}
}

// lookup returns the records of a type; exists says whether the name has records of any type.
func (z *records) lookup(name string, qtype uint16) (rrs []dns.RR, exists bool) {
	all, exists := z.names[name]
	for _, rr := range all {
		if rr.Header().Rrtype == qtype {
			rrs = append(rrs, rr)
		}
	}
	return rrs, exists
}

// additional lists the addresses of the targets among rrs.
func (z *records) additional(rrs []dns.RR) []dns.RR {
	var hosts []string
	for _, rr := range rrs {
		switch v := rr.(type) {
		case *dns.SRV:
			hosts = append(hosts, v.Target)
		case *dns.NS:
			hosts = append(hosts, v.Ns)
		}
	}
	slices.SortFunc(hosts, cmp.Compare[string])
	var out []dns.RR
	for _, h := range slices.Compact(hosts) {
		for _, rr := range z.names[h] {
			if t := rr.Header().Rrtype; t == dns.TypeA || t == dns.TypeAAAA {
				out = append(out, rr)
			}
		}
	}
	return out
}

func header(name string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}
