package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// Config is the configuration of the DNS service.
type Config struct {
	ResolverAddrs []string `yaml:"resolver_addrs" usage:"resolvers (IP:port) of the virtual DNS service, chosen at random; empty is the host's own"`
}

// maxAddrs bounds the list, as the reference does.
const maxAddrs = 10

// Validate reports every problem, each with its path.
func (c Config) Validate() error {
	_, err := c.addrs()
	return err
}

func (c Config) addrs() ([]netip.AddrPort, error) {
	var errs []error
	if len(c.ResolverAddrs) > maxAddrs {
		errs = append(errs, fmt.Errorf("resolver_addrs: too many addresses provided, max: %d", maxAddrs))
	}
	out := make([]netip.AddrPort, 0, len(c.ResolverAddrs))
	for i, text := range c.ResolverAddrs {
		a, err := netip.ParseAddrPort(text)
		if err != nil || a.Port() == 0 {
			errs = append(errs, fmt.Errorf("resolver_addrs: %d: %q is not IP:port", i, text))
			continue
		}
		out = append(out, a)
	}
	return out, errors.Join(errs...)
}

// Virtual is the reserved address of the service.
func Virtual() netip.AddrPort {
	addr := [16]byte{0x26, 0x06, 0x47, 0x00, 0x0c, 0xf1, 0x20, 15: 0x01}
	return netip.AddrPortFrom(netip.AddrFrom16(addr), dnsPort)
}

const (
	// dnsPort is the port of resolvers.
	dnsPort = 53
	// resolvConf is the file that names the resolvers of the system.
	resolvConf = "/etc/resolv.conf"
	// refreshEvery is how often resolvConf is read again.
	refreshEvery = 5 * time.Minute
	// dialTimeout bounds a connection to a resolver.
	dialTimeout = 5 * time.Second
)

// Service dials the resolver in place of the reserved address.
type Service struct {
	file     string
	fixed    bool
	log      *slog.Logger
	tcp, udp prometheus.Counter
	addrs    atomic.Pointer[[]netip.AddrPort] // never empty
}

// Option changes what a Service reads.
type Option func(*Service)

// FromFile reads another file than the system's.
func FromFile(path string) Option { return func(s *Service) { s.file = path } }

// New makes a service, and finds the host's resolver.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer, opts ...Option) (*Service, error) {
	addrs, err := cfg.addrs()
	if err != nil {
		return nil, err
	}
	requests := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_dns_requests_total", Help: "Flows to the virtual DNS service.",
	}, []string{"network"})
	s := &Service{
		file: resolvConf, fixed: len(addrs) > 0, log: log,
		tcp: requests.WithLabelValues("tcp"), udp: requests.WithLabelValues("udp"),
	}
	for _, o := range opts {
		o(s)
	}
	if !s.fixed {
		addrs = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")} // until resolv.conf names another
	}
	s.addrs.Store(&addrs)
	s.refresh()
	return s, nil
}

// Run keeps the resolver up to date until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if s.fixed {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.refresh()
		}
	}
}

// refresh asks the system which resolver it uses.
func (s *Service) refresh() {
	if s.fixed {
		return
	}
	conf, err := dns.ClientConfigFromFile(s.file)
	if err != nil {
		s.log.Debug("resolver of the host not read", slog.Any(logkey.Err, err))
		return
	}
	found := first(conf.Servers)
	if len(found) == 0 {
		return
	}
	if old := (*s.addrs.Load())[0]; old != found[0] {
		s.addrs.Store(&found)
		s.log.Debug("resolver of the host found", logkey.Resolver, found[0])
	}
}

// first gives the first usable resolver, which is the one that the system asks first; nothing if there is none.
func first(servers []string) []netip.AddrPort {
	for _, text := range servers {
		if a, err := netip.ParseAddr(text); err == nil {
			return []netip.AddrPort{netip.AddrPortFrom(a, dnsPort)}
		}
	}
	return nil
}

// pick gives the resolver for one flow.
func (s *Service) pick() netip.AddrPort {
	addrs := *s.addrs.Load()
	return addrs[rand.IntN(len(addrs))]
}

// DialTCP connects to the resolver.
func (s *Service) DialTCP(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
	s.tcp.Inc()
	return s.dial(ctx, "tcp")
}

// DialUDP opens a socket that is connected to the resolver.
func (s *Service) DialUDP(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
	s.udp.Inc()
	return s.dial(ctx, "udp")
}

func (s *Service) dial(ctx context.Context, network string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	return d.DialContext(ctx, network, s.pick().String())
}
