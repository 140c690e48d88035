package edge

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Deps are the things that an edge gets from its process.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Service is one edge.
type Service struct{}

// New opens listeners and files and starts nothing.
func New(cfg Config, deps Deps) (*Service, error) { return nil, errors.ErrUnsupported }

// Run serves until ctx is cancelled, drains, and returns nil; any other end is an error.
func (s *Service) Run(ctx context.Context) error { return errors.ErrUnsupported }

// Routes mounts the read-only state of the edge under g; it shows no secret.
func (s *Service) Routes(g *echo.Group) {}

// Ready says what is missing until the edge serves.
func (s *Service) Ready() error { return errors.ErrUnsupported }

// PublicURL is where visitors reach the edge without TLS, or "".
func (s *Service) PublicURL() string { return "" }

// PublicTLSURL is where visitors reach the edge over TLS, or "".
func (s *Service) PublicTLSURL() string { return "" }

// ConnectorAddrs are the addresses that connectors dial, in the order of the configuration.
func (s *Service) ConnectorAddrs() []netip.AddrPort { return nil }

// DNSAddr is the address of the name server (UDP and TCP), or the zero value.
func (s *Service) DNSAddr() netip.AddrPort { return netip.AddrPort{} }

// CACertPath is the file with the certificate of the edge's own CA.
func (s *Service) CACertPath() string { return "" }

// AdminSocket is the path of the admin API's Unix socket.
func (s *Service) AdminSocket() string { return "" }

// AdminAddr is the TCP address of the admin API, or the zero value.
func (s *Service) AdminAddr() netip.AddrPort { return netip.AddrPort{} }

// BootstrapCredentials are those of the tunnel that the configuration asked to create.
func (s *Service) BootstrapCredentials() (tunnel.Credentials, bool) { return tunnel.Credentials{}, false }
