package connector

import (
	"errors"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// Config is the configuration of the side that connectors dial.
type Config struct {
	Listen          []netip.AddrPort `yaml:"listen" usage:"addresses for connectors, UDP for QUIC and TCP for HTTP/2; port 0 takes a free one"`
	HTTP2           bool             `yaml:"http2" usage:"accept connectors over HTTP/2, too"`
	RegisterTimeout time.Duration    `yaml:"register_timeout" usage:"how long a session may stay without a registration"`
	ReplaceTimeout  time.Duration    `yaml:"replace_timeout" usage:"how long a replaced session may finish its requests"`
	DrainTimeout    time.Duration    `yaml:"drain_timeout" usage:"how long an unregistered session may stay"`
	MaxSessions     int              `yaml:"max_sessions" usage:"limit of registered sessions"`
	MaxPerTunnel    int              `yaml:"max_sessions_per_tunnel" usage:"limit of registered sessions of one tunnel; 0 = only max_sessions"`
	MaxPending      int              `yaml:"max_pending" usage:"limit of handshakes, and of unregistered sessions; new ones evict the oldest"`
	MaxPerAddress   int              `yaml:"max_pending_per_address" usage:"the same for one IPv4 address or IPv6 /64; 0 = only max_pending"`
	MaxLocalConfig  int              `yaml:"max_local_config_bytes" usage:"limit of the configurations that connectors upload for display"`
	MaxTunnelConfig int              `yaml:"max_local_config_bytes_per_tunnel" usage:"the same for one tunnel; 0 = only the total"`
}

// Default holds the default values.
func Default() Config {
	return Config{
		Listen:          []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:7844")},
		HTTP2:           true,
		RegisterTimeout: 10 * time.Second,
		ReplaceTimeout:  30 * time.Second,
		DrainTimeout:    200 * time.Second,
		MaxSessions:     16384,
		MaxPerTunnel:    1024,
		MaxPending:      1024,
		MaxPerAddress:   256,
		MaxLocalConfig:  64 << 20,
		MaxTunnelConfig: 8 << 20,
	}
}

// Validate reports every problem, each with its path.
func (c *Config) Validate() error {
	var errs []error
	for _, check := range []struct {
		bad  bool
		text string
	}{
		{len(c.Listen) == 0, "listen: empty"},
		{c.RegisterTimeout <= 0, "register_timeout: not positive"},
		{c.ReplaceTimeout <= 0, "replace_timeout: not positive"},
		{c.DrainTimeout <= 0, "drain_timeout: not positive"},
		{c.MaxSessions <= 0, "max_sessions: not positive"},
		{c.MaxPerTunnel < 0, "max_sessions_per_tunnel: negative"},
		{c.MaxPending <= 0, "max_pending: not positive"},
		{c.MaxPerAddress < 0, "max_pending_per_address: negative"},
		{c.MaxLocalConfig < 0, "max_local_config_bytes: negative"},
		{c.MaxTunnelConfig < 0, "max_local_config_bytes_per_tunnel: negative"},
	} {
		if check.bad {
			errs = append(errs, errors.New("connectors: "+check.text))
		}
	}
	return errors.Join(errs...)
}

// sessions bounds registered sessions, in total and per tunnel.
func (c *Config) sessions() share.Limits {
	return share.Limits{Total: int64(c.MaxSessions), PerKey: int64(c.MaxPerTunnel)}
}

// pending bounds handshakes, and apart from these the sessions that are not registered: in total and per network of addresses.
func (c *Config) pending() share.Limits {
	return share.Limits{Total: int64(c.MaxPending), PerKey: int64(c.MaxPerAddress)}
}

// localConfig bounds the bytes of the configurations that connectors upload for display, in total and per tunnel.
func (c *Config) localConfig() share.Limits {
	return share.Limits{Total: int64(c.MaxLocalConfig), PerKey: int64(c.MaxTunnelConfig)}
}
