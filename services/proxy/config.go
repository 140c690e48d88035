package proxy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/icmp"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/resolver"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/udp"
)

const (
	// minHeadBytes has room for an ordinary request.
	minHeadBytes = 8 << 10
	// minTargetBytes is the least length of a target that every recipient should support, rounded up (RFC 9110 4.1).
	minTargetBytes = 8 << 10
	// fedManagementHost is the management host of tunnels with a FedRAMP credential (docs/spec/ingress.md 4.4).
	fedManagementHost = "management.fed.argotunnel.com"
)

// Config is the configuration of one proxy.
type Config struct {
	ID         string `yaml:"id" usage:"name of this proxy; empty makes one up from the host name"`
	ConfigFile string `yaml:"config_file" usage:"cloudflared config.yml with the ingress rules"`
	// Origin is used when neither a file nor the caller supplies rules.
	Origin OriginConfig `yaml:"origin"`

	Listen    []string `yaml:"listen" usage:"link endpoints for workers: unix:/path or tcp:host:port"`
	Advertise string   `yaml:"advertise" usage:"endpoint that is announced to workers; empty is the first of listen"`
	TLSDir    string   `yaml:"tls_dir" usage:"directory with ca.pem, link.pem and link-key.pem, for tcp endpoints"`

	Tags           []string `yaml:"tags" usage:"connector tags, NAME=VALUE, sent to origins as Cf-Warp-Tag-NAME"`
	MaxActiveFlows string   `yaml:"max_active_flows" usage:"limit of private-network flows that goes before the configured one; 0 = none, empty = as configured"`

	SpoolLimit         int64  `yaml:"spool_limit" usage:"largest body of unknown length, in bytes, for rules with disableChunkedEncoding"`
	ManagementHostname string `yaml:"management_hostname" usage:"host of the management service, whose requests never reach an origin"`

	DrainTimeout time.Duration `yaml:"drain_timeout" usage:"how long running requests may take to finish at stop"`

	Streams StreamsConfig   `yaml:"streams"`
	Limits  LimitsConfig    `yaml:"limits"`
	UDP     udp.Config      `yaml:"udp"`
	ICMP    icmp.Config     `yaml:"icmp"`
	DNS     resolver.Config `yaml:"dns"`
}

// LimitsConfig bounds what edges and visitors can make a proxy hold (docs/limits.md).
type LimitsConfig struct {
	Flows       int           `yaml:"flows" usage:"most requests and streams at a time; further ones are refused; 0 is no limit"`
	HeadTimeout time.Duration `yaml:"head_timeout" usage:"time within which the head of a request must be there; 0 is no limit"`
	HeadBytes   int           `yaml:"head_bytes" usage:"largest head of a request, with all its headers, in bytes"`
	TargetBytes int           `yaml:"target_bytes" usage:"largest path and query of a request together, in bytes; status 414 beyond"`

	Fields httpfield.Limits `yaml:"fields"`
}

// StreamsConfig bounds websockets, TCP and stream services (docs/origins.md).
type StreamsConfig struct {
	HalfCloseIdle time.Duration `yaml:"half_close_idle" usage:"how long a stream may be silent after one of its directions has ended; 0 is for ever"`
	WriteTimeout  time.Duration `yaml:"write_timeout" usage:"limit of one write to an origin; 0 is none"`
	PingInterval  time.Duration `yaml:"ping_interval" usage:"time between pings to websocket clients of tcp, ssh and other stream services; 0 sends none"`
	SocksTimeout  time.Duration `yaml:"socks_timeout" usage:"limit of a SOCKS handshake; 0 is none"`
}

// OriginConfig names one origin for every request, for deployments without ingress rules (docs/spec/ingress.md 5).
type OriginConfig struct {
	URL              string `yaml:"url" usage:"origin for all requests, such as http://localhost:8080"`
	UnixSocket       string `yaml:"unix_socket" usage:"path of a Unix socket that serves all requests"`
	HelloWorld       bool   `yaml:"hello_world" usage:"respond to all requests with the built-in demo page"`
	Bastion          bool   `yaml:"bastion" usage:"jump host: the visitor's client names the destination"`
	Socks5           bool   `yaml:"socks5" usage:"the visitor's client speaks SOCKS5 to a stream service"`
	ProxyProtocol    string `yaml:"proxy_protocol" usage:"header with the visitor's address at the start of a stream: v1 or v2"`
	HTTPHostHeader   string `yaml:"http_host_header" usage:"Host header towards the origin"`
	OriginServerName string `yaml:"origin_server_name" usage:"name expected in the origin's certificate"`
	CAPool           string `yaml:"ca_pool" usage:"PEM file with further roots for the origin's certificate"`
	NoTLSVerify      bool   `yaml:"no_tls_verify" usage:"accept any certificate of the origin"`
}

// Default holds all defaults.
func Default() Config {
	return Config{
		SpoolLimit: 10 << 20, DrainTimeout: 30 * time.Second, ManagementHostname: "management.argotunnel.com",
		Streams: StreamsConfig{
			HalfCloseIdle: 5 * time.Minute,
			PingInterval:  54 * time.Second, // as the reference; below the minute after which many middleboxes forget
			SocksTimeout:  30 * time.Second,
		},
		Limits: LimitsConfig{Flows: 50_000, HeadTimeout: 10 * time.Second, HeadBytes: 1 << 20, TargetBytes: 16 << 10, Fields: httpfield.DefaultLimits()},
		UDP:    udp.Default(), ICMP: icmp.Default(),
	}
}

// Validate reports every problem, each with its path.
func (c Config) Validate() error {
	var errs []error
	report := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for i, e := range c.Listen {
		if _, err := link.ParseEndpoint(e); err != nil {
			report("listen: %d: %w", i, err)
		}
	}
	if c.Advertise != "" {
		if _, err := link.ParseEndpoint(c.Advertise); err != nil {
			report("advertise: %w", err)
		}
		if len(c.Listen) == 0 {
			report("advertise: nothing to advertise without listen")
		}
	}
	if c.TLSDir == "" && hasTCP(c.Listen) {
		report("tls_dir: required by a tcp endpoint in listen")
	}
	if _, err := c.tags(); err != nil {
		errs = append(errs, err)
	}
	if c.MaxActiveFlows != "" {
		if _, err := strconv.ParseUint(c.MaxActiveFlows, 10, 64); err != nil {
			report("max_active_flows: %q is not a whole number", c.MaxActiveFlows)
		}
	}
	if c.SpoolLimit < 0 {
		report("spool_limit: %d is negative", c.SpoolLimit)
	}
	if c.DrainTimeout < 0 {
		report("drain_timeout: %s is negative", c.DrainTimeout)
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"half_close_idle", c.Streams.HalfCloseIdle},
		{"write_timeout", c.Streams.WriteTimeout},
		{"ping_interval", c.Streams.PingInterval},
		{"socks_timeout", c.Streams.SocksTimeout},
	} {
		if d.value < 0 {
			report("streams: %s: %s is negative", d.key, d.value)
		}
	}
	c.Limits.validate(report)
	errs = append(errs, within("udp", c.UDP.Validate()), within("icmp", c.ICMP.Validate()), within("dns", c.DNS.Validate()))
	return errors.Join(errs...)
}

// within puts the name of a section before each of its problems.
func within(section string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err != nil {
			err = fmt.Errorf("%s: %w", section, err)
		}
		return err
	}
	var errs []error
	for _, e := range joined.Unwrap() {
		errs = append(errs, fmt.Errorf("%s: %w", section, e))
	}
	return errors.Join(errs...)
}

func (l LimitsConfig) validate(report func(format string, args ...any)) {
	if l.Flows < 0 {
		report("limits: flows: %d is negative", l.Flows)
	}
	if l.HeadTimeout < 0 {
		report("limits: head_timeout: %s is negative", l.HeadTimeout)
	}
	if err := l.Fields.Validate(); err != nil {
		report("limits: fields: %w", err)
	}
	if l.TargetBytes < minTargetBytes {
		report("limits: target_bytes: %d is less than %d", l.TargetBytes, minTargetBytes)
	}
	if l.HeadBytes < minHeadBytes || l.HeadBytes > stream.MaxReferenceMessage {
		report("limits: head_bytes: %d is not between %d and %d", l.HeadBytes, minHeadBytes, stream.MaxReferenceMessage)
	}
}

// limits are the settings for all flows.
func (l LimitsConfig) limits() flow.Limits {
	return flow.Limits{Flows: l.Flows, HeadTimeout: l.HeadTimeout, HeadBytes: l.HeadBytes, TargetBytes: l.TargetBytes, Fields: l.Fields}
}

// limits are the settings for the flows.
func (s StreamsConfig) limits() flow.Streams {
	return flow.Streams{
		HalfCloseIdle: s.HalfCloseIdle, WriteTimeout: s.WriteTimeout, PingInterval: s.PingInterval, HandshakeTimeout: s.SocksTimeout,
	}
}

func hasTCP(endpoints []string) bool {
	for _, e := range endpoints {
		if strings.HasPrefix(e, "tcp:") {
			return true
		}
	}
	return false
}

// tags decodes the NAME=VALUE list.
func (c Config) tags() ([]flow.Tag, error) {
	var errs []error
	out := make([]flow.Tag, 0, len(c.Tags))
	for i, t := range c.Tags {
		name, value, ok := strings.Cut(t, "=")
		if tag, err := flow.NewTag(name, value); !ok || err != nil {
			errs = append(errs, fmt.Errorf("tags: %d: %q is not NAME=VALUE with characters of a header", i, t))
		} else {
			out = append(out, tag)
		}
	}
	return out, errors.Join(errs...)
}

// singleFlags translates the section into the flags of the same meaning; only what is set counts as given.
func (o OriginConfig) singleFlags() ingress.SingleFlags {
	f := ingress.SingleFlags{
		URL:        given(o.URL),
		UnixSocket: given(o.UnixSocket),
		HelloWorld: given(o.HelloWorld),
		Bastion:    given(o.Bastion),
		Socks5:     given(o.Socks5),
	}
	f.Origin.ProxyProtocol = given(o.ProxyProtocol)
	f.Origin.HTTPHostHeader = given(o.HTTPHostHeader)
	f.Origin.OriginServerName = given(o.OriginServerName)
	f.Origin.CAPool = given(o.CAPool)
	f.Origin.NoTLSVerify = given(o.NoTLSVerify)
	return f
}

// given is nil for the zero value, which is "not set" in a service's own configuration.
func given[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
