package resolve_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/discovery/internal/dnstest"
	"github.com/culvert-tunnel/culvert/services/discovery/internal/resolve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const name = "_v2-origintunneld._tcp.edge.test"

var (
	srv = []string{
		name + ". 60 IN SRV 1 1 7844 Region1.v2.edge.test.",
		name + ". 60 IN SRV 2 1 7844 region2.v2.edge.test.",
	}
	hosts = []string{
		"region1.v2.edge.test. 60 IN A 192.0.2.12",
		"region1.v2.edge.test. 60 IN A 192.0.2.11",
		"region1.v2.edge.test. 60 IN AAAA 2001:db8::1",
		"region2.v2.edge.test. 60 IN AAAA 2001:db8::2",
	}
	sameAddr = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
)

func addrs(texts ...string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

func both(a, b []string) []string { return append(append([]string(nil), a...), b...) }

func client(t *testing.T, s *dnstest.Server, withDoT bool) *resolve.Client {
	t.Helper()
	cfg := resolve.Config{Server: s.Addr, Timeout: 5 * time.Second}
	if withDoT {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		cfg.DoTAddr = s.DoTAddr
		conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: dnstest.ServerName, RootCAs: roots}
		cfg.DoTTLS = func() *tls.Config { return conf }
	}
	return resolve.New(cfg)
}

var want = []edgepool.RegionPool{
	{Name: "region1.v2.edge.test", V4: addrs("192.0.2.11:7844", "192.0.2.12:7844"), V6: addrs("[2001:db8::1]:7844")},
	{Name: "region2.v2.edge.test", V6: addrs("[2001:db8::2]:7844"), PreferV6: true},
}

func TestRegions(t *testing.T) {
	s := dnstest.Start(t, both(srv, hosts)...)
	got, source, err := client(t, s, true).Regions(t.Context(), name)
	if err != nil || source != edgepool.SourceSRV {
		t.Fatalf("Regions: %v, source %s", err, source)
	}
	if diff := cmp.Diff(want, got, sameAddr); diff != "" {
		t.Errorf("regions (-want +got):\n%s", diff)
	}
	if s.Queries("dot") != 0 {
		t.Error("the server was queried over TLS without need")
	}
}

func TestRegionsOverTLS(t *testing.T) {
	s := dnstest.Start(t, both(srv, hosts)...)
	s.Break("udp", true)
	got, source, err := client(t, s, true).Regions(t.Context(), name)
	if err != nil || source != edgepool.SourceDoT {
		t.Fatalf("Regions: %v, source %s", err, source)
	}
	if diff := cmp.Diff(want, got, sameAddr); diff != "" {
		t.Errorf("regions (-want +got):\n%s", diff)
	}
	s.Break("dot", true)
	_, _, err = client(t, s, true).Regions(t.Context(), name)
	if err == nil || !strings.Contains(err.Error(), "SERVFAIL") || !strings.Contains(err.Error(), "over TLS") {
		t.Errorf("Regions with both ways broken: got %v", err)
	}
}

// A server over TLS whose certificate does not match is not trusted.
func TestRegionsOverTLSWrongName(t *testing.T) {
	s := dnstest.Start(t, both(srv, hosts)...)
	s.Break("udp", true)
	c := resolve.New(resolve.Config{
		Server: s.Addr, Timeout: 5 * time.Second, DoTAddr: s.DoTAddr,
		DoTTLS: func() *tls.Config {
			return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: dnstest.ServerName, RootCAs: x509.NewCertPool()}
		},
	})
	if _, _, err := c.Regions(t.Context(), name); err == nil {
		t.Error("a response under an unknown certificate was accepted")
	}
}

func TestRegionsManyPorts(t *testing.T) {
	var records []string
	// Three ports of each region, as an edge on one address publishes, and a third region that does not count.
	for port := range 3 {
		for region := range 3 {
			records = append(records, fmt.Sprintf("%s. 60 IN SRV %d 1 %d r%d.edge.test.", name, port*10+region, 7000+10*region+port, region))
		}
	}
	for region := range 3 {
		records = append(records, fmt.Sprintf("r%d.edge.test. 60 IN A 127.0.0.1", region))
	}
	s := dnstest.Start(t, records...)
	got, _, err := client(t, s, false).Regions(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	manyPorts := []edgepool.RegionPool{
		{Name: "r0.edge.test", V4: addrs("127.0.0.1:7000", "127.0.0.1:7001", "127.0.0.1:7002")},
		{Name: "r1.edge.test", V4: addrs("127.0.0.1:7010", "127.0.0.1:7011", "127.0.0.1:7012")},
	}
	if diff := cmp.Diff(manyPorts, got, sameAddr); diff != "" {
		t.Errorf("regions (-want +got):\n%s", diff)
	}
	// A region without addresses gives its place to the next.
	s.Set(t, append(records[:9:9], "r1.edge.test. 60 IN A 127.0.0.1", "r2.edge.test. 60 IN A 127.0.0.1")...)
	got, _, err = client(t, s, false).Regions(t.Context(), name)
	if err != nil || len(got) != 2 || got[0].Name != "r1.edge.test" || got[1].Name != "r2.edge.test" {
		t.Errorf("Regions with one of three gone: got %+v, %v", got, err)
	}
}

func TestRegionsRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		records []string
		want    error
	}{
		{"no record", nil, tunnel.ErrNotFound},
		{"one target", both(srv[:1], hosts), tunnel.ErrNoAddress},
		{"one target without address", both(srv, hosts[:3]), tunnel.ErrNoAddress},
		{"service not there", []string{name + ". 60 IN SRV 0 0 0 ."}, tunnel.ErrNoAddress},
		{"both targets are one address", []string{
			name + ". 60 IN SRV 1 1 7844 a.edge.test.", name + ". 60 IN SRV 1 1 7844 b.edge.test.",
			"a.edge.test. 60 IN A 192.0.2.1", "b.edge.test. 60 IN A 192.0.2.1",
		}, tunnel.ErrNoAddress},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := dnstest.Start(t, c.records...)
			got, _, err := client(t, s, false).Regions(t.Context(), name)
			if !errors.Is(err, c.want) || got != nil {
				t.Errorf("Regions: got %+v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestText(t *testing.T) {
	long := strings.Repeat("x", 200)
	s := dnstest.Start(
		t,
		`protocol-v2.edge.test. 60 IN TXT "[{\"protocol\":\"quic\",\"percentage\":100}]"`,
		`long.edge.test. 60 IN TXT "`+long+`" "`+long+`" "`+long+`" "`+long+`"`,
		`alias.edge.test. 60 IN CNAME protocol-v2.edge.test.`,
		`loop.edge.test. 60 IN CNAME loop.edge.test.`,
		`bytes.edge.test. 60 IN TXT "a\\b\195\164"`,
	)
	c := client(t, s, false)
	for label, want := range map[string]string{
		"protocol-v2": `[{"protocol":"quic","percentage":100}]`,
		"alias":       `[{"protocol":"quic","percentage":100}]`,
		"long":        strings.Repeat(long, 4),
		"bytes":       `a\bä`,
	} {
		if got, err := c.Text(t.Context(), label+".edge.test"); got != want || err != nil {
			t.Errorf("Text(%s): got %q, %v, want %q", label, got, err, want)
		}
	}
	if s.Queries("tcp") == 0 {
		t.Error("the query for a truncated response was not repeated over TCP")
	}
	for _, label := range []string{"loop", "gone"} {
		if got, err := c.Text(t.Context(), label+".edge.test"); err == nil {
			t.Errorf("Text(%s): got %q, want an error", label, got)
		}
	}
}

func TestStatic(t *testing.T) {
	s := dnstest.Start(t, "a.edge.test. 60 IN A 192.0.2.1", "a.edge.test. 60 IN A 192.0.2.2")
	c := client(t, s, false)
	got, skipped, err := c.Static(t.Context(), []string{
		"a.edge.test:7844", "gone.edge.test:1", "[2001:db8::1]:7845", "192.0.2.9:7844", "a:b", "a",
	})
	if err != nil {
		t.Fatal(err)
	}
	static := []edgepool.RegionPool{
		{Name: edgepool.StaticRegion1, V4: addrs("192.0.2.1:7844", "192.0.2.9:7844")},
		{Name: edgepool.StaticRegion2, V6: addrs("[2001:db8::1]:7845"), PreferV6: true},
	}
	if diff := cmp.Diff(static, got, sameAddr); diff != "" {
		t.Errorf("regions (-want +got):\n%s", diff)
	}
	if skipped == nil || !strings.Contains(skipped.Error(), "gone.edge.test") {
		t.Errorf("skipped: got %v", skipped)
	}
	if _, _, err := c.Static(t.Context(), []string{"gone.edge.test:1"}); !errors.Is(err, tunnel.ErrNoAddress) {
		t.Errorf("Static with nothing left: got %v", err)
	}
}

// An entry whose name does not resolve for a while keeps its address: DNS must not make an operator's list shorter.
func TestStaticKeepsAddresses(t *testing.T) {
	s := dnstest.Start(t, hosts...)
	c := client(t, s, false)
	entries := []string{"region1.v2.edge.test:7844", "region2.v2.edge.test:7844"}
	first, skipped, err := c.Static(t.Context(), entries)
	if err != nil || skipped != nil {
		t.Fatalf("Static = %v, skipped %v, %v", first, skipped, err)
	}
	s.Set(t, "region1.v2.edge.test. 60 IN A 192.0.2.77")
	got, skipped, err := c.Static(t.Context(), entries)
	if err != nil || skipped == nil || !strings.Contains(skipped.Error(), "region2.v2.edge.test") {
		t.Errorf("Static with one name gone: skipped %v, %v", skipped, err)
	}
	want := []edgepool.RegionPool{{Name: edgepool.StaticRegion1, V4: addrs("192.0.2.77:7844")}, first[1]}
	if diff := cmp.Diff(want, got, sameAddr); diff != "" {
		t.Errorf("regions (-want +got):\n%s", diff)
	}
	s.Set(t)
	if got, _, err := c.Static(t.Context(), entries); !errors.Is(err, tunnel.ErrNoAddress) {
		t.Errorf("Static with all names gone = %v, %v, want %v", got, err, tunnel.ErrNoAddress)
	}
}

// The system's way must at least know what every hosts file knows.
func TestSystemResolver(t *testing.T) {
	c := resolve.New(resolve.Config{Timeout: 5 * time.Second})
	got, skipped, err := c.Static(t.Context(), []string{"localhost:7844"})
	if err != nil || skipped != nil {
		t.Fatalf("Static(localhost): %v, %v", err, skipped)
	}
	if a := (edgepool.Pool{Regions: got}).Addresses(edgepool.Any); len(a) != 1 || !a[0].Addr.Addr().IsLoopback() {
		t.Errorf("localhost: got %v", a)
	}
}
