package zone_test

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/edge/internal/zone"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

func start(t *testing.T, c zone.Content) string {
	t.Helper()
	s, err := zone.New(testkit.Loopback(0), c,
		zone.Deps{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s.Addr().String()
}

func ports(texts ...string) []netip.AddrPort {
	out := make([]netip.AddrPort, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParseAddrPort(s)
	}
	return out
}

func content() zone.Content {
	return zone.Content{
		Domain: "Edge.Test", TTL: 30 * time.Second, Self: netip.MustParseAddr("10.0.0.53"), Serial: 7,
		ProtocolTXT: `[{"protocol":"quic","percentage":100}]`,
		FeatureTXT:  strings.Repeat(`x"\`, 120),
		Regions: []zone.Region{
			{Name: "region1", Addresses: ports("10.0.0.1:7844", "10.0.0.2:7844", "[fd00::1]:7844")},
			{Name: "region2", Addresses: ports("10.0.1.1:7844", "10.0.1.1:7845", "10.0.1.2:7846")},
			{Prefix: "us", Name: "us-region1", Addresses: ports("10.0.2.1:7844")},
		},
	}
}

// query returns the response, and its records, sorted, one line each.
func query(t *testing.T, network, addr, name string, qtype uint16) (*dns.Msg, []string) {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.SetEdns0(1232, false)
	c := dns.Client{Net: network, Timeout: 10 * time.Second}
	r, _, err := c.ExchangeContext(t.Context(), m, addr)
	if err != nil {
		t.Fatalf("%s %s: %v", name, dns.TypeToString[qtype], err)
	}
	var out []string
	for _, rr := range r.Answer {
		out = append(out, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(out)
	return r, out
}

func TestRecords(t *testing.T) {
	t.Parallel()
	addr := start(t, content())
	for _, c := range []struct {
		name  string
		qtype uint16
		want  []string
	}{
		{"_v2-origintunneld._tcp.edge.test.", dns.TypeSRV, []string{
			"1 10 7844 region1.edge.test.", "1 10 7844 region2.edge.test.", "2 10 7845 region2.edge.test.", "3 10 7846 region2-2.edge.test.",
		}},
		{"_US-v2-origintunneld._TCP.Edge.Test.", dns.TypeSRV, []string{"1 10 7844 us-region1.edge.test."}},
		{"region1.edge.test.", dns.TypeA, []string{"10.0.0.1", "10.0.0.2"}},
		{"region1.edge.test.", dns.TypeAAAA, []string{"fd00::1"}},
		{"region2.edge.test.", dns.TypeA, []string{"10.0.1.1"}},
		{"region2-2.edge.test.", dns.TypeA, []string{"10.0.1.2"}},
		{"edge.test.", dns.TypeNS, []string{"ns1.edge.test."}},
		{"ns1.edge.test.", dns.TypeA, []string{"10.0.0.53"}},
		{"edge.test.", dns.TypeSOA, []string{"ns1.edge.test. hostmaster.edge.test. 7 3600 600 86400 30"}},
	} {
		for _, network := range []string{"udp", "tcp"} {
			r, got := query(t, network, addr, c.name, c.qtype)
			if !slices.Equal(got, c.want) || r.Rcode != dns.RcodeSuccess || !r.Authoritative {
				t.Errorf("%s %s %s = %s %q, want %q", network, c.name, dns.TypeToString[c.qtype], dns.RcodeToString[r.Rcode], got, c.want)
			}
		}
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	addr := start(t, content())
	for name, want := range map[string]string{"protocol-v2": content().ProtocolTXT, "cfd-features": content().FeatureTXT} {
		r, _ := query(t, "udp", addr, name+".edge.test.", dns.TypeTXT)
		if len(r.Answer) != 1 {
			t.Fatalf("%s: %d records", name, len(r.Answer))
		}
		joined := strings.Join(r.Answer[0].(*dns.TXT).Txt, "")
		got := strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(joined)
		if got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestNegativeResponses(t *testing.T) {
	t.Parallel()
	addr := start(t, content())
	for _, c := range []struct {
		name  string
		qtype uint16
		rcode int
		soa   bool
	}{
		{"nothing.edge.test.", dns.TypeA, dns.RcodeNameError, true},
		{"region1.edge.test.", dns.TypeTXT, dns.RcodeSuccess, true},
		{"_tcp.edge.test.", dns.TypeA, dns.RcodeSuccess, true},
		{"edge.test.", dns.TypeA, dns.RcodeSuccess, true},
		{"example.com.", dns.TypeA, dns.RcodeRefused, false},
		{"test.", dns.TypeNS, dns.RcodeRefused, false},
		{"notedge.test.", dns.TypeA, dns.RcodeRefused, false},
		{"edge.test.", dns.TypeAXFR, dns.RcodeRefused, false},
	} {
		r, got := query(t, "udp", addr, c.name, c.qtype)
		soa := len(r.Ns) == 1 && r.Ns[0].Header().Rrtype == dns.TypeSOA
		if r.Rcode != c.rcode || len(got) != 0 || soa != c.soa {
			t.Errorf("%s %s = %s %q, SOA %v; want %s, SOA %v", c.name, dns.TypeToString[c.qtype], dns.RcodeToString[r.Rcode], got, soa,
				dns.RcodeToString[c.rcode], c.soa)
		}
	}
	if r, got := query(t, "udp", addr, "edge.test.", dns.TypeANY); len(got) != 1 || r.Rcode != dns.RcodeSuccess {
		t.Errorf("ANY = %q", got)
	}
}

func TestOddMessages(t *testing.T) {
	t.Parallel()
	addr := start(t, content())
	chaos := new(dns.Msg).SetQuestion("version.edge.test.", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	notify := new(dns.Msg).SetNotify("edge.test.")
	version := new(dns.Msg).SetQuestion("edge.test.", dns.TypeNS)
	version.SetEdns0(1232, false)
	version.IsEdns0().SetVersion(1)
	for name, c := range map[string]struct {
		msg   *dns.Msg
		rcode int
	}{
		"chaos":        {chaos, dns.RcodeRefused},
		"notify":       {notify, dns.RcodeNotImplemented},
		"edns version": {version, dns.RcodeBadVers},
	} {
		cl := dns.Client{Timeout: 10 * time.Second}
		r, _, err := cl.ExchangeContext(t.Context(), c.msg, addr)
		if err != nil || r.Rcode != c.rcode {
			t.Errorf("%s: %v, %v; want %s", name, r, err, dns.RcodeToString[c.rcode])
		}
	}
}

func TestLargeResponseIsTruncatedOverUDP(t *testing.T) {
	t.Parallel()
	c := content()
	for i := range 40 {
		c.Regions[0].Addresses = append(c.Regions[0].Addresses, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 1, byte(i)}), 7844))
	}
	addr := start(t, c)
	m := new(dns.Msg).SetQuestion("region1.edge.test.", dns.TypeA)
	cl := dns.Client{Timeout: 10 * time.Second}
	if r, _, err := cl.ExchangeContext(t.Context(), m, addr); err != nil || !r.Truncated || len(r.Answer) == 0 {
		t.Errorf("over UDP without EDNS: %v, %v", r, err)
	}
	if _, got := query(t, "tcp", addr, "region1.edge.test.", dns.TypeA); len(got) != 42 {
		t.Errorf("over TCP: %d records", len(got))
	}
}

func TestBadContent(t *testing.T) {
	t.Parallel()
	for _, domain := range []string{"", ".", "a..b", strings.Repeat("a", 64) + ".test"} {
		c := content()
		c.Domain = domain
		if _, err := zone.New(testkit.Loopback(0), c, zone.Deps{Registerer: prometheus.NewRegistry()}); err == nil {
			t.Errorf("domain %q was accepted", domain)
		}
	}
}
