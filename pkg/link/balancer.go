package link

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Proxy is one proxy that a Balancer may use.
type Proxy struct {
	ID       tunnel.ProxyID
	Endpoint Endpoint
}

// BalancerConfig configures a Balancer. Zero values mean the defaults.
type BalancerConfig struct {
	// TLS is the client configuration for TCP endpoints.
	TLS    *tls.Config
	Logger *slog.Logger
	// DialTimeout bounds connecting, the handshake and the proxy's HELLO together. Default 2 s.
	DialTimeout time.Duration
	// IdleTimeout closes a pooled connection that nobody used for so long. Default 30 s.
	IdleTimeout time.Duration
	// MaxIdle caps the idle connections to one proxy. Default 256.
	MaxIdle int
}

// Balancer is the carrier that spreads flows over several proxies: least in flight of two random ones, one circuit
// breaker per proxy.
type Balancer struct{ cfg BalancerConfig }

// NewBalancer makes a balancer without proxies.
func NewBalancer(cfg BalancerConfig) *Balancer { return &Balancer{cfg: cfg} }

// SetProxies replaces the set. Proxies that stay keep their connections; flows on those that go run to their end.
func (b *Balancer) SetProxies(proxies []Proxy) {}

// Carry runs f on one of the proxies.
func (b *Balancer) Carry(ctx context.Context, f Flow) error { return ErrNotAccepted }

// Close closes all idle connections; running flows go on, and Carry accepts no more.
func (b *Balancer) Close() error { return nil }
