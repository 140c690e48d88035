package probe_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/cli/internal/precheck"
	"github.com/culvert-tunnel/culvert/cli/internal/precheck/probe"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/discovery"
	"github.com/culvert-tunnel/culvert/services/edge"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

// short bounds a run in which something never responds.
const short = 1500 * time.Millisecond

// startEdge runs an edge with a name server for domain, whose feature record is features.
func startEdge(t *testing.T, domain, features string) *edge.Service {
	t.Helper()
	cfg := edge.Default()
	cfg.DataDir = filepath.Join(t.TempDir(), "edge")
	cfg.Connectors.Listen = []netip.AddrPort{testkit.Loopback(0), testkit.Loopback(0)}
	cfg.Public.HTTP, cfg.DNS.Listen = testkit.Loopback(0), testkit.Loopback(0)
	cfg.DNS.Domain, cfg.DNS.FeatureTXT = domain, features
	e, err := edge.New(cfg, edge.Deps{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("edge: %v", err)
		}
	})
	return e
}

// static is a configuration with the addresses of targets.
func static(cacert string, targets ...string) probe.Config {
	d := discovery.Default()
	d.Static = targets
	return probe.Config{Edge: d, CACert: cacert, Asked: protocol.Auto}
}

// byName is a configuration that finds the edge by its name server.
func byName(e *edge.Service, domain string) probe.Config {
	cfg := static(e.CACertPath())
	cfg.Edge.SRV.Domain, cfg.Edge.Resolver = domain, e.DNSAddr().String()
	return cfg
}

// summary is the kind, status and target of each row.
func summary(r precheck.Report) []string {
	var out []string
	for _, res := range r.Results {
		out = append(out, fmt.Sprintf("%v %v %s", res.Kind, res.Status, res.Target))
	}
	return out
}

func run(t *testing.T, cfg probe.Config) precheck.Report {
	t.Helper()
	r, ok := probe.Run(t.Context(), cfg)
	if !ok {
		t.Fatal("the checks are switched off")
	}
	if len(r.RunID) != 36 {
		t.Errorf("run id %q", r.RunID)
	}
	return r
}

func TestStaticEdge(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "tunnel.internal", "{}")
	a, b := e.ConnectorAddrs()[0].String(), e.ConnectorAddrs()[1].String()
	for _, thorough := range []bool{false, true} {
		cfg := static(e.CACertPath(), a, b)
		cfg.Thorough = thorough
		r := run(t, cfg)
		want := []string{
			"DNS Resolution PASS " + a, "DNS Resolution PASS " + b, "UDP Connectivity PASS " + a, "UDP Connectivity PASS " + b,
			"TCP Connectivity PASS " + a, "TCP Connectivity PASS " + b,
		}
		if diff := cmp.Diff(want, summary(r)); diff != "" {
			t.Errorf("thorough %v: rows (-want +got):\n%s", thorough, diff)
		}
		if r.Suggested != tunnel.QUIC || r.HardFail() || r.Degraded() {
			t.Errorf("thorough %v: suggested %q, hard fail %v, degraded %v", thorough, r.Suggested, r.HardFail(), r.Degraded())
		}
	}
	cfg := static(e.CACertPath(), a)
	cfg.Asked = protocol.H2Mux
	if r := run(t, cfg); r.Suggested != tunnel.HTTP2 {
		t.Errorf("suggested %q although the operator asked for HTTP/2", r.Suggested)
	}
}

func TestEdgeByName(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "edge.example", `{"skip_prechecks":true}`)
	cfg := byName(e, "edge.example")
	r := run(t, cfg)
	if len(r.Results) != 6 || r.HardFail() || r.Suggested != tunnel.QUIC {
		t.Errorf("rows %q, suggested %q", summary(r), r.Suggested)
	}
	for i := range 2 {
		name := r.Results[i].Target
		if !strings.HasSuffix(name, ".edge.example") || r.Results[i+2].Target != name || r.Results[i+4].Target != name {
			t.Errorf("rows about region %d: %q", i, summary(r))
		}
	}
	cfg.Switchable = true
	if r, ok := probe.Run(t.Context(), cfg); ok || len(r.Results) != 0 {
		t.Errorf("the record of the edge switches checks off, and there is %q", summary(r))
	}
}

func TestNamesThatDoNotResolve(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "edge.example", "{}")
	for _, tc := range []struct {
		domain, region string
		want           []string
	}{
		{"other.example", "", []string{"_v2-origintunneld._tcp.other.example"}},
		{"argotunnel.com", "", []string{"region1.v2.argotunnel.com", "region2.v2.argotunnel.com"}},
		{"argotunnel.com", "US", []string{"us-region1.v2.argotunnel.com", "us-region2.v2.argotunnel.com"}},
	} {
		cfg := byName(e, tc.domain)
		cfg.Edge.SRV.Region, cfg.Edge.DoT.Addr, cfg.Budget = tc.region, "off", short
		r := run(t, cfg)
		var want []string
		for _, row := range []string{"DNS Resolution FAIL ", "UDP Connectivity SKIP ", "TCP Connectivity SKIP "} {
			for _, name := range tc.want {
				want = append(want, row+name)
			}
		}
		if diff := cmp.Diff(want, summary(r)); diff != "" {
			t.Errorf("%s: rows (-want +got):\n%s", tc.domain, diff)
		}
		if !r.HardFail() || r.Suggested != "" || !strings.Contains(r.Results[0].Details, "lookup of SRV") {
			t.Errorf("%s: hard fail %v, suggested %q, details %q", tc.domain, r.HardFail(), r.Suggested, r.Results[0].Details)
		}
	}
}

// TestOneBadTarget: the others are tried all the same, whatever the order.
func TestOneBadTarget(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "tunnel.internal", "{}")
	good, dead := e.ConnectorAddrs()[0].String(), testkit.FreeTCPAndUDP(t).String()
	cfg := static(e.CACertPath(), dead, "no-port", good)
	cfg.Budget = short
	want := []string{
		"DNS Resolution PASS " + dead, "DNS Resolution FAIL no-port", "DNS Resolution PASS " + good,
		"UDP Connectivity FAIL " + dead, "UDP Connectivity SKIP no-port", "UDP Connectivity PASS " + good,
		"TCP Connectivity FAIL " + dead, "TCP Connectivity SKIP no-port", "TCP Connectivity PASS " + good,
	}
	r := run(t, cfg)
	if diff := cmp.Diff(want, summary(r)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	for _, res := range r.Results {
		if (res.Status == precheck.Fail) != (res.Action != "") {
			t.Errorf("advice about %v %s, which is %v: %q", res.Kind, res.Target, res.Status, res.Action)
		}
	}
}

// onlyName is a server configuration that completes handshakes with one name only, as a filter in between may do.
func onlyName(t *testing.T, ca *testkit.CA, name string) *tls.Config {
	t.Helper()
	cert := ca.Issue(t, "probe.cftunnel.com", "quic.cftunnel.com", "h2.cftunnel.com")
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{quic.ALPN}}
	conf.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if h.ServerName != name {
			return nil, errors.New("name refused")
		}
		return nil, nil
	}
	return conf
}

// TestNameFilter: handshakes with the name of the checks pass, those of real connections do not. Only the thorough form notices.
func TestNameFilter(t *testing.T) {
	t.Parallel()
	ca := testkit.NewCA(t)
	addr := testkit.FreeTCPAndUDP(t)
	q, err := quic.Listen(quic.ListenConfig{
		Addr: addr, TLS: onlyName(t, ca, "probe.cftunnel.com"), Settings: quic.EdgeSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	h, err := h2.Listen(h2.ListenConfig{Addr: addr, TLS: onlyName(t, ca, "probe.cftunnel.com"), Settings: h2.EdgeSettings()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	cfg := static(ca.File(t), addr.String())
	if r := run(t, cfg); r.HardFail() || r.Degraded() {
		t.Errorf("with the name of the checks: %q", summary(r))
	}
	cfg.Thorough, cfg.Budget = true, short
	r := run(t, cfg)
	if !r.HardFail() {
		t.Errorf("with the names of real connections: %q", summary(r))
	}
	for _, res := range r.Results[1:] {
		if !strings.Contains(res.Details, ": ") || !strings.Contains(res.Details, addr.String()) {
			t.Errorf("details of %v without the error: %q", res.Kind, res.Details)
		}
	}
}

func TestOneTransportIsBlocked(t *testing.T) {
	t.Parallel()
	ca := testkit.NewCA(t)
	addr := testkit.FreeTCPAndUDP(t)
	h, err := h2.Listen(h2.ListenConfig{Addr: addr, TLS: onlyName(t, ca, "probe.cftunnel.com"), Settings: h2.EdgeSettings()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	cfg := static(ca.File(t), addr.String())
	cfg.Budget = short
	if r := run(t, cfg); r.HardFail() || !r.Degraded() || r.Suggested != tunnel.HTTP2 {
		t.Errorf("UDP is blocked: %q, suggested %q", summary(r), r.Suggested)
	}
}

func TestRoots(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "tunnel.internal", "{}")
	addr := e.ConnectorAddrs()[0].String()
	cfg := static("", addr) // the public roots did not sign this edge
	cfg.Budget = short
	if r := run(t, cfg); !r.HardFail() {
		t.Errorf("roots of others: %q", summary(r))
	}
	r := run(t, static(filepath.Join(t.TempDir(), "none.pem"), addr))
	if !r.HardFail() || !strings.HasPrefix(r.Results[1].Details, "TLS configuration failed: open ") {
		t.Errorf("no file with roots: %q, %s", summary(r), r.Results[1].Details)
	}
}

func TestFamilyAndLocalAddress(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "tunnel.internal", "{}")
	addr := e.ConnectorAddrs()[0].String()
	cfg := static(e.CACertPath(), addr)
	cfg.Family = edgepool.V6
	r := run(t, cfg)
	if r.HardFail() || r.Results[1].Status != precheck.Skip || r.Results[2].Status != precheck.Skip {
		t.Errorf("IPv6 with an IPv4 address: %q", summary(r))
	}
	cfg.Family, cfg.LocalIP, cfg.PostQuantum = edgepool.V4, netip.MustParseAddr("127.0.0.1"), true
	if r := run(t, cfg); r.HardFail() || r.Degraded() {
		t.Errorf("from 127.0.0.1, post-quantum: %q", summary(r))
	}
}

// TestEndOfTheContext: a process that ends waits for nothing.
func TestEndOfTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg := static("", testkit.FreeTCPAndUDP(t).String())
	if r, _ := probe.Run(ctx, cfg); !r.HardFail() {
		t.Errorf("rows %q", summary(r))
	}
}
