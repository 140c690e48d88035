package connworker

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// maxGracePeriod is the reference's bound (spec/lifecycle.md 1).
const maxGracePeriod = 3 * time.Minute

// Config is what an operator can set.
type Config struct {
	ID       string `yaml:"id" usage:"name of this worker (default: made from the host name)"`
	Host     string `yaml:"host" usage:"label of the machine, for spreading (default: the host name)"`
	Capacity int    `yaml:"capacity" usage:"most slots that this worker will hold"`

	Credentials CredentialsConfig `yaml:"credentials"`
	Edge        EdgeConfig        `yaml:"edge"`
	QUIC        QUICConfig        `yaml:"quic"`
	Link        LinkConfig        `yaml:"link"`

	GracePeriod time.Duration `yaml:"grace_period" usage:"time for running requests to finish at the end, at most 3m"`
	RPCTimeout  time.Duration `yaml:"rpc_timeout" usage:"bound of every call to and from the edge"`
	Features    []string      `yaml:"features" usage:"additional features to announce to the edge"`
	PostQuantum bool          `yaml:"post_quantum" usage:"refuse key exchanges that are not post-quantum"`
}

// CredentialsConfig says which tunnels the worker serves. All sources add up; at least one is needed.
type CredentialsConfig struct {
	Token     tunnel.Secret `yaml:"token" usage:"run token (better: token_file, or the environment variable TUNNEL_TOKEN)"`
	TokenFile string        `yaml:"token_file" usage:"file with a run token"`
	File      string        `yaml:"file" usage:"credentials file"`
	Files     []string      `yaml:"files" usage:"credentials files or token files, for several tunnels"`
}

// EdgeConfig says where and how to reach the edge.
type EdgeConfig struct {
	CACert      string `yaml:"cacert" usage:"PEM file with the only roots to trust (default: the system's)"`
	BindAddress string `yaml:"bind_address" usage:"local IP address of connections to the edge"`
	IPVersion   string `yaml:"ip_version" usage:"auto, 4 or 6"`
	Protocol    string `yaml:"protocol" usage:"auto or quic"`
	Connections int    `yaml:"connections" usage:"connections per tunnel; 0 leaves the number to the supervisor"`
	Pool        string `yaml:"pool" usage:"name of the edge pool (default: the default pool)"`
}

// QUICConfig are the limits of QUIC sessions (spec/wire.md 4).
type QUICConfig struct {
	ConnectionWindow uint64 `yaml:"connection_window" usage:"connection-level flow control limit in bytes"`
	StreamWindow     uint64 `yaml:"stream_window" usage:"stream-level flow control limit in bytes"`
	DisablePMTU      bool   `yaml:"disable_pmtu" usage:"switch path MTU discovery off"`
}

// LinkConfig says how to reach proxies in other processes.
type LinkConfig struct {
	TLSDir string `yaml:"tls_dir" usage:"directory with ca.pem, link.pem and link-key.pem, for proxies reached over TCP"`
}

// Default is the configuration of a worker that nobody configured.
func Default() Config {
	return Config{
		Capacity:    256,
		Edge:        EdgeConfig{IPVersion: "auto", Protocol: "auto"},
		QUIC:        QUICConfig{ConnectionWindow: 30 << 20, StreamWindow: 6 << 20},
		GracePeriod: 30 * time.Second,
		RPCTimeout:  5 * time.Second,
	}
}

// Validate reports every problem.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Capacity < 1 {
		bad("capacity: %d is not positive", c.Capacity)
	}
	if c.GracePeriod < 0 || c.GracePeriod > maxGracePeriod {
		bad("grace_period: %v is not between 0 and %v", c.GracePeriod, maxGracePeriod)
	}
	if c.RPCTimeout <= 0 {
		bad("rpc_timeout: %v is not positive", c.RPCTimeout)
	}
	if c.Edge.BindAddress != "" {
		if _, err := netip.ParseAddr(c.Edge.BindAddress); err != nil {
			bad("edge: bind_address: %q is not an IP address", c.Edge.BindAddress)
		}
	}
	switch c.Edge.IPVersion {
	case "auto", "4", "6":
	default:
		bad("edge: ip_version: %q is none of auto, 4, 6", c.Edge.IPVersion)
	}
	switch c.Edge.Protocol {
	case "auto", string(tunnel.QUIC):
	default:
		bad("edge: protocol: %q is none of auto, quic", c.Edge.Protocol)
	}
	if c.Edge.Connections < 0 || c.Edge.Connections > 255 {
		bad("edge: connections: %d is not between 0 and 255", c.Edge.Connections)
	}
	return errors.Join(errs...)
}
