package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/admin"
	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/bootstrap"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/certs"
	"github.com/culvert-tunnel/culvert/services/edge/internal/connector"
	"github.com/culvert-tunnel/culvert/services/edge/internal/front"
	"github.com/culvert-tunnel/culvert/services/edge/internal/ports"
	"github.com/culvert-tunnel/culvert/services/edge/internal/udp"
	"github.com/culvert-tunnel/culvert/services/edge/internal/zone"
)

// Deps are the things that an edge gets from its process.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Files reads the certificate, key and token files, and reads them again when they change; nil reads them once.
	Files *filewatch.Watcher
}

// Service is one edge.
type Service struct {
	cfg       Config
	log       *slog.Logger
	catalog   *catalog.Catalog
	authority *certs.Authority
	manage    *certs.Management
	udp       *udp.Flows
	backlog   *backlog.Watch
	api       *admin.API

	connectors *connector.Server
	front      *front.Front
	ports      *ports.Set
	zone       *zone.Server // nil without a name server
	admin      *admin.Server
	quick      *admin.QuickServer // nil without a quick service

	bootstrap tunnel.Credentials
	serving   atomic.Bool
}

var errNotServing = errors.New("not serving")

// New opens listeners and files and starts nothing. The data directory belongs to the service until Run returns or
// Close is called.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, log: deps.Logger}
	for _, open := range []func(Deps) error{
		s.openFiles, s.runBootstrap, s.openDatagrams, s.openConnectors, s.openFront, s.openPorts,
		s.openZone, s.openAdmin, s.openQuick,
	} {
		if err := open(deps); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

func (s *Service) openFiles(d Deps) (err error) {
	if s.catalog, err = catalog.Open(s.cfg.DataDir); err != nil {
		return err
	}
	if s.authority, err = certs.Open(s.cfg.DataDir, time.Now, d.Files); err != nil {
		return err
	}
	s.manage, err = certs.OpenManagement(s.cfg.DataDir, s.cfg.ManagementHostname, time.Now)
	return err
}

// runBootstrap creates the configured tunnel and its routes before the edge listens, so that no request meets a missing route.
func (s *Service) runBootstrap(d Deps) (err error) {
	s.bootstrap, err = bootstrap.Run(s.cfg.Bootstrap, s.catalog, s.authority.Path(), d.Files)
	return err
}

func (s *Service) openDatagrams(d Deps) error {
	s.udp = udp.New(s.cfg.UDP, udp.Deps{Logger: d.Logger, Registerer: d.Registerer})
	return nil
}

// associate opens a UDP flow for a visitor of a public port.
func (s *Service) associate(ctx context.Context, id tunnel.ID, dst netip.AddrPort, idle time.Duration,
	deliver func([]byte),
) (ports.Association, error) {
	f, err := s.udp.Open(ctx, id, dst, idle, deliver)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (s *Service) openConnectors(d Deps) error {
	conf, err := s.authority.ConnectorTLS()
	if err != nil {
		return err
	}
	s.connectors, err = connector.New(s.cfg.Connectors, connector.Deps{
		Tunnels: s.catalog, TLS: conf, Location: s.cfg.Location, Datagrams: s.udp,
		MaxHeaderFields: s.cfg.Public.MaxHeaderFields, MaxHeaderBytes: s.cfg.Public.MaxHeaderBytes,
		Logger: d.Logger, Registerer: d.Registerer,
	})
	return err
}

func (s *Service) openFront(d Deps) error {
	s.backlog = backlog.New(d.Registerer)
	p := s.cfg.Public
	conf := front.Config{
		HTTP: p.HTTP, HTTPS: p.HTTPS, Location: s.cfg.Location, ResponseHeaderTimeout: p.ResponseHeaderTimeout,
		ReadHeaderTimeout: p.ReadHeaderTimeout, IdleTimeout: p.IdleTimeout, BodyIdleTimeout: p.BodyIdleTimeout,
		HalfCloseTimeout: p.HalfCloseTimeout, DrainTimeout: p.DrainTimeout, ExposeErrors: p.ExposeErrors,
		TrustedProxies: p.TrustedProxies, ProxyProtocol: p.ProxyProtocol,
		Limits: front.Limits{
			Connections: p.MaxConnections, ConnectionsPerAddress: p.MaxConnectionsPerAddress, WebSockets: p.MaxWebSockets,
			WebSocketsPerAddress: p.MaxWebSocketsPerAddress, Streams: p.MaxStreams, HeaderFields: p.MaxHeaderFields, HeaderBytes: p.MaxHeaderBytes,
			TargetBytes: p.MaxTargetBytes, ConnectionHeaderBytes: p.MaxConnectionHeaderBytes, BodyRate: p.MinBodyRate,
		},
	}
	var err error
	if p.HTTPS.IsValid() {
		if conf.TLS, err = s.publicTLS(d); err != nil {
			return err
		}
	}
	s.front, err = front.New(conf, front.Deps{
		Routes: s.catalog, Conns: s.connectors.Table(), Backlog: s.backlog, Management: s.manage, Logger: d.Logger,
		Registerer: d.Registerer,
	})
	return err
}

// publicTLS is what visitors see: the certificate of the files, or those of the edge's own CA.
func (s *Service) publicTLS(d Deps) (*tls.Config, error) {
	p := s.cfg.Public
	if p.CertFile != "" {
		return certs.FileTLS(d.Files, p.CertFile, p.KeyFile)
	}
	return s.authority.PublicTLS(p.Names, s.pattern), nil
}

// pattern is the route pattern of a host; a host of the management service is one of its own.
func (s *Service) pattern(host string) (string, bool) {
	if s.manage.IsHost(host) {
		return host, true
	}
	return s.catalog.Pattern(host)
}

// openPorts binds the public ports of the catalog. One that is not free is an error line, and is tried again.
func (s *Service) openPorts(d Deps) error {
	s.ports = ports.New(s.cfg.Ports, ports.Deps{
		Store: s.catalog, Conns: s.connectors.Table(), Backlog: s.backlog, Associate: s.associate,
		Logger: d.Logger, Registerer: d.Registerer,
	})
	return nil
}

func (s *Service) openZone(d Deps) error {
	if !s.cfg.DNS.Listen.IsValid() {
		return nil
	}
	content, err := s.cfg.DNS.Content(s.connectors.Addrs(), net.InterfaceAddrs)
	if err != nil {
		return err
	}
	s.zone, err = zone.New(s.cfg.DNS.Listen, content, zone.Deps{Logger: d.Logger, Registerer: d.Registerer})
	return err
}

func (s *Service) openAdmin(d Deps) error {
	s.api = admin.NewAPI(admin.Deps{
		Catalog: s.catalog, Ports: s.ports, Table: s.connectors.Table(), Pings: s.udp, Logger: d.Logger,
		Tokens: s.manage, PublicURLs: s.publicURLs,
	})
	a := s.cfg.Admin
	var err error
	s.admin, err = admin.New(admin.Config{
		Socket: s.cfg.socket(), Listen: a.Listen, TokenFile: a.TokenFile, TLS: s.authority.AdminTLS(s.cfg.Public.Names),
		Hosts: s.cfg.Public.Names,
	}, s.api, d.Files)
	return err
}

// openQuick binds the listener of the quick service, which has the certificate of the public side.
func (s *Service) openQuick(d Deps) (err error) {
	deps := admin.QuickDeps{
		Catalog: s.catalog, Table: s.connectors.Table(), Logger: d.Logger, TrustedProxies: s.cfg.Public.TrustedProxies,
	}
	if s.cfg.Quick.Listen.IsValid() && !s.cfg.Quick.Plain {
		if deps.TLS, err = s.publicTLS(d); err != nil {
			return err
		}
	}
	s.quick, err = admin.NewQuick(s.cfg.Quick, deps)
	return err
}

// Close frees what New opened; for a service whose Run is never called.
func (s *Service) Close() error {
	var errs []error
	if s.quick != nil {
		errs = append(errs, s.quick.Close())
	}
	if s.admin != nil {
		errs = append(errs, s.admin.Close())
	}
	if s.zone != nil {
		errs = append(errs, s.zone.Close())
	}
	if s.ports != nil {
		errs = append(errs, s.ports.Close())
	}
	if s.front != nil {
		errs = append(errs, s.front.Close())
	}
	if s.connectors != nil {
		errs = append(errs, s.connectors.Close())
	}
	if s.catalog != nil {
		errs = append(errs, s.catalog.Close())
	}
	return errors.Join(errs...)
}

// Run serves until ctx is cancelled, drains, and returns nil; any other end is an error.
func (s *Service) Run(ctx context.Context) error {
	s.log.InfoContext(ctx, "edge started", slog.Any(logkey.ConnectorAddrs, s.ConnectorAddrs()), slog.String(logkey.PublicURL, s.PublicURL()),
		slog.String(logkey.PublicTLSURL, s.PublicTLSURL()), slog.Any(logkey.DNSAddr, s.DNSAddr()), slog.String(logkey.AdminSocket,
			s.AdminSocket()),
		slog.String(logkey.CACert, s.CACertPath()), slog.Time(logkey.CANotAfter, s.authority.NotAfter()))
	s.serving.Store(true)
	notReady := context.AfterFunc(ctx, func() { s.serving.Store(false) })
	defer notReady()
	// Each part ends only when the ones after it have ended: visitors first, so that their requests can still be carried; then UDP
	// flows and connectors; the name server and the admin API last, since they show what goes on.
	err := process.NewGroup(s.log,
		process.Row{Name: "support", Runner: process.RunnerFunc(s.runSupport)},
		process.Row{Name: "connectors", Runner: s.connectors},
		process.Row{Name: "udp", Runner: s.udp},
		process.Row{Name: "visitors", Runner: process.RunnerFunc(s.runPublic)},
	).Run(ctx)
	s.serving.Store(false)
	return errors.Join(err, s.catalog.Close())
}

// runPublic serves visitors: hosts and ports.
func (s *Service) runPublic(ctx context.Context) error {
	return runAll(ctx, s.front.Run, s.ports.Run, s.backlog.Run)
}

func (s *Service) runSupport(ctx context.Context) error {
	runs := []func(context.Context) error{s.admin.Run}
	if s.zone != nil {
		runs = append(runs, s.zone.Run)
	}
	if s.quick != nil {
		runs = append(runs, s.quick.Run)
	}
	return runAll(ctx, runs...)
}

// runAll runs functions side by side; the first that fails stops the others.
func runAll(ctx context.Context, runs ...func(context.Context) error) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, run := range runs {
		g.Go(func() error { return run(gctx) })
	}
	return g.Wait()
}

// Ready says what is missing until the edge serves.
func (s *Service) Ready() error {
	if !s.serving.Load() {
		return errNotServing
	}
	return nil
}

// PublicURL is where visitors reach the edge without TLS, or "".
func (s *Service) PublicURL() string { return url("http", s.front.Addr()) }

// PublicTLSURL is where visitors reach the edge over TLS, or "".
func (s *Service) PublicTLSURL() string { return url("https", s.front.TLSAddr()) }

// publicURLs are the public listeners, the one with TLS first.
func (s *Service) publicURLs() []string {
	return slices.DeleteFunc([]string{s.PublicTLSURL(), s.PublicURL()}, func(u string) bool { return u == "" })
}

// url names a listener in a form that works on this host.
func url(scheme string, addr netip.AddrPort) string {
	switch {
	case !addr.IsValid():
		return ""
	case addr.Addr().IsUnspecified():
		return fmt.Sprintf("%s://localhost:%d", scheme, addr.Port())
	default:
		return scheme + "://" + addr.String()
	}
}

// ConnectorAddrs are the addresses that connectors dial, in the order of the configuration.
func (s *Service) ConnectorAddrs() []netip.AddrPort { return slices.Clone(s.connectors.Addrs()) }

// DNSAddr is the address of the name server (UDP and TCP), or the zero value.
func (s *Service) DNSAddr() netip.AddrPort {
	if s.zone == nil {
		return netip.AddrPort{}
	}
	return s.zone.Addr()
}

// QuickAddr is the address of the quick service, or the zero value.
func (s *Service) QuickAddr() netip.AddrPort {
	if s.quick == nil {
		return netip.AddrPort{}
	}
	return s.quick.Addr()
}

// CACertPath is the file with the certificate of the edge's own CA.
func (s *Service) CACertPath() string { return s.authority.Path() }

// AdminSocket is the path of the admin API's Unix socket.
func (s *Service) AdminSocket() string { return s.cfg.socket() }

// AdminAddr is the TCP address of the admin API, or the zero value.
func (s *Service) AdminAddr() netip.AddrPort { return s.admin.Addr() }

// AdminListeners are the addresses of the admin API: a Unix socket, and TCP if there is one.
func (s *Service) AdminListeners() []net.Addr {
	out := []net.Addr{&net.UnixAddr{Name: s.AdminSocket(), Net: "unix"}}
	if a := s.AdminAddr(); a.IsValid() {
		out = append(out, net.TCPAddrFromAddrPort(a))
	}
	return out
}

// BootstrapCredentials are the credentials of the tunnel in the bootstrap configuration.
func (s *Service) BootstrapCredentials() (tunnel.Credentials, bool) {
	return s.bootstrap, s.cfg.Bootstrap.Tunnel != ""
}
