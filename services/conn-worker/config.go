package connworker

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/datapath"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/dial"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/keeper"
)

// maxGracePeriod is the reference's bound (docs/spec/lifecycle.md 1).
const maxGracePeriod = 3 * time.Minute

// minQueueBytes has room for a few datagrams of the largest size.
const minQueueBytes = 64 << 10

// Config is what an operator can set.
type Config struct {
	ID       string `yaml:"id" usage:"name of this worker (default: made from the host name)"`
	Host     string `yaml:"host" usage:"label of the machine, for spreading (default: the host name)"`
	Capacity int    `yaml:"capacity" usage:"most slots that this worker will hold"`

	Credentials CredentialsConfig `yaml:"credentials"`
	Edge        EdgeConfig        `yaml:"edge"`
	QUIC        QUICConfig        `yaml:"quic"`
	HTTP2       HTTP2Config       `yaml:"http2"`
	Link        LinkConfig        `yaml:"link"`
	Datagrams   DatagramsConfig   `yaml:"datagrams"`
	Streams     StreamsConfig     `yaml:"streams"`

	GracePeriod time.Duration `yaml:"grace_period" usage:"time for running requests to finish at the end, at most 3m"`
	RPCTimeout  time.Duration `yaml:"rpc_timeout" usage:"bound of every call to and from the edge"`
	Features    []string      `yaml:"features" usage:"additional features to announce to the edge"`
	PostQuantum bool          `yaml:"post_quantum" usage:"refuse key exchanges that are not post-quantum"`
}

// EdgeConfig says where and how to reach the edge.
type EdgeConfig struct {
	CACert      string        `yaml:"cacert" usage:"PEM file with the only roots to trust (default: the system's and the embedded ones of the vendor's edge)"`
	BindAddress string        `yaml:"bind_address" usage:"local IP address of connections to the edge"`
	IPVersion   string        `yaml:"ip_version" usage:"auto, 4 or 6"`
	Protocol    string        `yaml:"protocol" usage:"auto, quic or http2; auto falls back from quic to http2 where UDP is blocked"`
	ReturnAfter time.Duration `yaml:"return_after" usage:"time after a fallback until quic is tried again; it doubles with each failed try, to 1h"`
	Retries     int           `yaml:"retries" usage:"doublings after which the longest wait between two attempts stays as it is"`
	Connections int           `yaml:"connections" usage:"connections per tunnel; 0 leaves the number to the supervisor"`
	Pool        string        `yaml:"pool" usage:"name of the edge pool (default: the default pool)"`
}

// QUICConfig are the limits of QUIC sessions (docs/spec/wire.md 4).
type QUICConfig struct {
	ConnectionWindow uint64 `yaml:"connection_window" usage:"connection-level flow control limit in bytes"`
	StreamWindow     uint64 `yaml:"stream_window" usage:"stream-level flow control limit in bytes"`
	DisablePMTU      bool   `yaml:"disable_pmtu" usage:"switch path MTU discovery off"`
}

// HTTP2Config are the limits of HTTP/2 sessions.
type HTTP2Config struct {
	MaxHeaderFields int `yaml:"max_header_fields" usage:"limit of the fields of a header or trailer section that a visitor sends; status 431 beyond"`
	MaxHeaderBytes  int `yaml:"max_header_bytes" usage:"limit of the decoded size of such a section: names, values and 32 bytes for each field; status 431 beyond"`
}

// LinkConfig says how to reach proxies in other processes.
type LinkConfig struct {
	TLSDir    string `yaml:"tls_dir" usage:"directory with ca.pem, link.pem and link-key.pem; without it no proxy is reached over TCP"`
	SocketDir string `yaml:"socket_dir" usage:"directory below which Unix sockets of proxies are used (default: culvert-UID in the directory for temporary files, if no other user may change it)"`
}

// StreamsConfig bounds what streams of the edge may take (docs/limits.md).
type StreamsConfig struct {
	Max          int           `yaml:"max" usage:"most streams at a time; further ones are refused; 0 is no limit"`
	MaxSession   int           `yaml:"max_session" usage:"most streams at a time of one connection to the edge; 0 is no limit"`
	HeadTimeout  time.Duration `yaml:"head_timeout" usage:"time within which a stream must say what it is; 0 is no limit"`
	WriteTimeout time.Duration `yaml:"write_timeout" usage:"time within which the edge must take each write of a response; 0 is no limit"`
}

// DatagramsConfig bounds what UDP sessions may take (docs/limits.md).
type DatagramsConfig struct {
	MaxSessions int `yaml:"max_sessions" usage:"most UDP sessions per connection to the edge"`
	QueueBytes  int `yaml:"queue_bytes" usage:"bytes of datagrams that may wait for one proxy, per connection; more are dropped"`
}

// Default is the configuration without any setting.
func Default() Config {
	conn, stream := dial.DefaultWindows()
	fields, bytes := dial.DefaultHeaderLimits()
	return Config{
		Capacity: 256,
		Edge: EdgeConfig{
			IPVersion: edgepool.Any.String(), Protocol: string(protocol.Auto), Retries: keeper.DefaultRetries, ReturnAfter: protocol.ProbeFirst,
		},
		QUIC:        QUICConfig{ConnectionWindow: conn, StreamWindow: stream},
		HTTP2:       HTTP2Config{MaxHeaderFields: fields, MaxHeaderBytes: bytes},
		Datagrams:   DatagramsConfig{MaxSessions: 8192, QueueBytes: 1 << 20},
		Streams:     StreamsConfig{Max: 50_000, MaxSession: 20_000, HeadTimeout: 10 * time.Second},
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
	if err := (protocol.Wish{Given: c.Features}).Validate(); err != nil {
		errs = append(errs, err)
	}
	if c.QUIC.ConnectionWindow == 0 || c.QUIC.StreamWindow == 0 {
		bad("quic: connection_window and stream_window must not be 0")
	}
	if c.HTTP2.MaxHeaderFields <= 0 || c.HTTP2.MaxHeaderBytes <= 0 {
		bad("http2: max_header_fields and max_header_bytes must be positive")
	}
	c.Edge.validate(bad)
	c.Datagrams.validate(bad)
	c.Streams.validate(bad)
	return errors.Join(errs...)
}

func (c EdgeConfig) validate(bad func(format string, args ...any)) {
	if c.BindAddress != "" {
		if _, err := netip.ParseAddr(c.BindAddress); err != nil {
			bad("edge: bind_address: %q is not an IP address", c.BindAddress)
		}
	}
	if _, err := edgepool.ParseFamily(c.IPVersion); err != nil {
		bad("edge: ip_version: %w", err)
	}
	if _, err := protocol.ParseChoice(c.Protocol); err != nil {
		bad("edge: protocol: %q is none of auto, quic, http2", c.Protocol)
	}
	if c.ReturnAfter <= 0 || c.ReturnAfter > protocol.ProbeMax {
		bad("edge: return_after: %v is not between 0 and %v", c.ReturnAfter, protocol.ProbeMax)
	}
	if c.Retries < 0 {
		bad("edge: retries: %d is negative", c.Retries)
	}
	if c.Connections < 0 || c.Connections > 255 {
		bad("edge: connections: %d is not between 0 and 255", c.Connections)
	}
}

func (c DatagramsConfig) validate(bad func(format string, args ...any)) {
	if c.MaxSessions < 1 {
		bad("datagrams: max_sessions: %d is not positive", c.MaxSessions)
	}
	if c.QueueBytes < minQueueBytes {
		bad("datagrams: queue_bytes: %d is less than %d", c.QueueBytes, minQueueBytes)
	}
}

func (c StreamsConfig) validate(bad func(format string, args ...any)) {
	if c.Max < 0 || c.MaxSession < 0 {
		bad("streams: max and max_session must not be negative")
	}
	if c.HeadTimeout < 0 || c.WriteTimeout < 0 {
		bad("streams: head_timeout and write_timeout must not be negative")
	}
}

func (c StreamsConfig) limits() datapath.StreamLimits {
	return datapath.StreamLimits{HeadTimeout: c.HeadTimeout, Streams: c.Max, PerSession: c.MaxSession, WriteTimeout: c.WriteTimeout}
}

// local is the address to dial from, and the family that it leaves: that of the address wins (docs/spec/lifecycle.md 6.3).
func (c EdgeConfig) local() (netip.Addr, edgepool.Family) {
	if ip, err := netip.ParseAddr(c.BindAddress); err == nil {
		return ip, edgepool.FamilyOf(ip)
	}
	f, err := edgepool.ParseFamily(c.IPVersion)
	if err != nil {
		return netip.Addr{}, edgepool.Any // Validate refuses it
	}
	return netip.Addr{}, f
}

// refusedStreams is how many streams beyond the limit of a connection an edge may open, so that they can get a 503 response.
const refusedStreams = 1024

// dialer makes the dialer of sessions to the edge.
func (c Config) dialer(applier datapath.Applier, files *filewatch.Watcher) (*dial.Dialer, error) {
	roots, err := dial.Roots(c.Edge.CACert, files)
	if err != nil {
		return nil, err
	}
	localIP, _ := c.Edge.local()
	d := dial.Config{
		Roots: roots, PostQuantum: c.PostQuantum, LocalIP: localIP, Applier: applier,
		ConnWindow: c.QUIC.ConnectionWindow, StreamWindow: c.QUIC.StreamWindow, DisablePMTU: c.QUIC.DisablePMTU,
		MaxHeaderFields: c.HTTP2.MaxHeaderFields, MaxHeaderBytes: c.HTTP2.MaxHeaderBytes,
	}
	if c.Streams.MaxSession > 0 {
		d.MaxStreams = int64(c.Streams.MaxSession) + refusedStreams
	}
	return dial.New(d), nil
}

// keeper is the settings of the keepers.
func (c Config) keeper(id tunnel.WorkerID, instance string, deps *Deps) keeper.Config {
	choice, err := protocol.ParseChoice(c.Edge.Protocol)
	if err != nil {
		choice = protocol.Auto // Validate refuses it
	}
	_, family := c.Edge.local()
	return keeper.Config{
		Worker: id, Instance: instance, Version: deps.Version, Alone: deps.Alone, Pool: c.Edge.Pool, Family: family,
		Protocol: choice, ReturnAfter: c.Edge.ReturnAfter,
		Features: c.Features, PostQuantum: c.PostQuantum, Connections: uint8(c.Edge.Connections),
		GracePeriod: c.GracePeriod, RPCTimeout: c.RPCTimeout, Retries: c.Edge.Retries,
	}
}
