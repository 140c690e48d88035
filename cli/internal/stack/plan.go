package stack

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	connworker "github.com/culvert-tunnel/culvert/services/conn-worker"
	"github.com/culvert-tunnel/culvert/services/discovery"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/proxy"
	"github.com/culvert-tunnel/culvert/services/supervisor"
)

const (
	// maxGrace is the reference's bound (docs/spec/lifecycle.md 1).
	maxGrace = 3 * time.Minute
	// proxyDrain bounds the drain of the proxy, which begins when the worker has drained and no flow is left.
	proxyDrain = 2 * time.Second
	// maxConnections is a bound of the wire: the index is one byte.
	maxConnections = 255
)

// Plan turns the settings into the configuration of the parts of a connector. All faults come back joined.
func Plan(s *settings.Settings, creds tunnel.Credentials) (Config, error) {
	cfg, err := planEdge(s, creds)
	usable, wrong := edgeAddresses(s)
	if cfg.Discovery.Static = usable; len(usable) == 0 && len(wrong) > 0 {
		err = errors.Join(err, fmt.Errorf("--edge %s is not HOST:PORT", strings.Join(wrong, ", ")))
	}
	return cfg, err
}

func planEdge(s *settings.Settings, creds tunnel.Credentials) (Config, error) {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if g := s.Duration("grace-period"); g > maxGrace {
		bad("--grace-period %v is longer than %v", g, maxGrace)
	}
	if v := s.Text("edge-ip-version"); v != "auto" && v != "4" && v != "6" {
		bad("--edge-ip-version %q is none of auto, 4, 6", v)
	}
	if v := s.Text("edge-private-addresses"); v != discovery.RefusePrivate && v != discovery.AllowPrivate {
		bad("--edge-private-addresses %q is neither %s nor %s", v, discovery.RefusePrivate, discovery.AllowPrivate)
	}
	problems = append(problems, checkProtocol(s.Text("protocol")), checkBind(s.Text("edge-bind-address")))
	if ca := s.Text("cacert"); ca != "" {
		if _, err := os.Stat(ca); err != nil {
			bad("--cacert: %w", err)
		}
	}
	region := s.Text("region")
	if region != "" && creds.Endpoint != "" {
		bad("--region %s is given, but the credentials are bound to region %s", region, creds.Endpoint)
	}
	if region == "" {
		region = creds.Endpoint
	}
	if err := errors.Join(problems...); err != nil {
		return Config{}, err
	}
	return plan(s, creds, region), nil
}

// PlanEdge is Plan for a command that only wants to reach the edge, without credentials of a tunnel.
// Addresses of --edge that are none are kept: a check of the edge reports them.
func PlanEdge(s *settings.Settings) (Config, error) { return planEdge(s, tunnel.Credentials{}) }

func plan(s *settings.Settings, creds tunnel.Credentials, region string) Config {
	cfg := defaults(Grace(s))
	cfg.Redis.URL, cfg.Redis.PasswordFile, cfg.Credentials = s.Text("redis"), s.Text("redis-password-file"), creds
	cfg.FromToken = s.IsSet("token") || s.IsSet("token-file") // a token goes before all other credentials
	d := &cfg.Discovery
	d.Static, d.SRV.Region = s.List("edge"), region
	d.SRV.Domain = cmp.Or(s.Text("edge-dns-domain"), d.SRV.Domain)
	d.Resolver = cmp.Or(s.Text("edge-dns-resolver"), d.Resolver)
	d.PrivateAddresses = s.Text("edge-private-addresses")
	cfg.Supervisor.Connections = connections(s)
	w := &cfg.Worker
	w.Edge.CACert, w.Edge.BindAddress = caCert(s), s.Text("edge-bind-address")
	w.Edge.IPVersion, w.Edge.Protocol = ipVersion(s), s.Text("protocol")
	w.Edge.Connections, w.Edge.Retries = connections(s), max(s.Int("retries"), 0)
	w.QUIC.ConnectionWindow = cmp.Or(s.Uint(connectionWindow), w.QUIC.ConnectionWindow)
	w.QUIC.StreamWindow = cmp.Or(s.Uint(streamWindow), w.QUIC.StreamWindow)
	w.QUIC.DisablePMTU = s.Bool("quic-disable-pmtu-discovery")
	w.RPCTimeout, w.Features, w.PostQuantum = rpcTimeout(s, w.RPCTimeout), s.List("features"), s.Bool("post-quantum")
	m := &cfg.Proxy.Management
	m.Hostname, m.Diagnostics, m.Label = s.Text("management-hostname"), s.Bool("management-diagnostics"), s.Text("label")
	m.ServiceIP = cmp.Or(append(s.List("edge"), s.Text("service-op-ip"))...)
	if s.IsSet("max-active-flows") {
		cfg.Proxy.MaxActiveFlows = strconv.FormatUint(s.Uint("max-active-flows"), 10)
	}
	cfg.Proxy.Streams.WriteTimeout = max(s.Duration("write-stream-timeout"), 0)
	w.Streams.WriteTimeout = max(s.Duration("write-stream-timeout"), 0)
	cfg.Proxy.Tags, cfg.Proxy.Listen, cfg.Proxy.TLSDir = s.List("tag"), s.List("link-listen"), s.Text("link-certs")
	cfg.Proxy.Private.ICMP.SourceV4, cfg.Proxy.Private.ICMP.SourceV6 = s.Text("icmpv4-src"), s.Text("icmpv6-src")
	cfg.Proxy.Private.DNS.ResolverAddrs = s.List("dns-resolver-addrs")
	cfg.Proxy.StateDir, cfg.Supervisor.ConfigKeyFile = s.Text("state-dir"), s.Text("config-key-file")
	docker := &cfg.Proxy.Docker
	docker.Endpoint, docker.Network, docker.Hostnames = s.Text("docker-endpoint"), s.Text("docker-network"), s.List("docker-hostnames")
	docker.Published, docker.HostAddress, docker.TLSDir = s.Bool("docker-published"), s.Text("docker-host-address"), s.Text("docker-tls-dir")
	policy := &cfg.Proxy.Opener.Policy
	policy.AllowNetworks, policy.DenyNetworks = s.List("policy-allow-networks"), s.List("policy-deny-networks")
	policy.AllowHosts, policy.DenyHosts = s.List("policy-allow-hosts"), s.List("policy-deny-hosts")
	policy.AllowUnix, policy.AllowFiles = s.List("policy-allow-unix"), s.List("policy-allow-files")
	return cfg
}

// defaults is the configuration of a connector without any setting.
func defaults(grace time.Duration) Config {
	cfg := Config{
		Redis: redisstore.Default(), Discovery: discovery.Default(), Supervisor: supervisor.Default(), Proxy: proxy.Default(),
		Worker: connworker.Default(),
	}
	cfg.Worker.GracePeriod = grace
	cfg.Proxy.DrainTimeout = proxyDrain
	return cfg
}

func checkProtocol(p string) error {
	if _, err := protocol.ParseChoice(p); err != nil {
		return fmt.Errorf("--protocol %q is none of auto, quic, http2", p)
	}
	return nil
}

// checkBind tries the local address, so that a wrong one fails the start and not every attempt to connect.
func checkBind(text string) error {
	if text == "" {
		return nil
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return fmt.Errorf("--edge-bind-address %q is not an IP address", text)
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		return fmt.Errorf("--edge-bind-address: %w", err)
	}
	return conn.Close()
}

// LocalEdge describes the edge of a system on one machine.
type LocalEdge struct {
	DataDir string
	Listen  netip.AddrPort
	Tunnel  string
	Ports   int
	Grace   time.Duration
}

// Local is a whole system on one machine: an edge on the loopback that sends every host to one tunnel, and its connector.
func Local(l LocalEdge) (Config, error) {
	if l.Grace < 0 || l.Grace > maxGrace {
		return Config{}, fmt.Errorf("--grace-period %v is not between 0s and %v", l.Grace, maxGrace)
	}
	cfg := defaults(l.Grace)
	e := edge.Default()
	e.DataDir = l.DataDir
	e.Public.HTTP = l.Listen
	e.Ports.Address, e.Ports.DrainTimeout = l.Listen.Addr(), l.Grace
	e.Connectors.Listen = nil
	for range l.Ports {
		e.Connectors.Listen = append(e.Connectors.Listen, netip.MustParseAddrPort("127.0.0.1:0"))
	}
	e.Bootstrap.Tunnel, e.Bootstrap.Routes = l.Tunnel, []string{"*"}
	cfg.Edge, cfg.Proxy.StateDir = &e, filepath.Join(l.DataDir, "connector")
	return cfg, nil
}
