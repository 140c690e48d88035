package edge

import (
	"errors"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/admin"
	"github.com/culvert-tunnel/culvert/services/edge/internal/bootstrap"
	"github.com/culvert-tunnel/culvert/services/edge/internal/connector"
	"github.com/culvert-tunnel/culvert/services/edge/internal/front"
	"github.com/culvert-tunnel/culvert/services/edge/internal/ports"
	"github.com/culvert-tunnel/culvert/services/edge/internal/udp"
	"github.com/culvert-tunnel/culvert/services/edge/internal/zone"
)

// maxHeaderBytes is the largest value of public.max_header_bytes. The heads of requests and responses travel in one message, which has
// a limit of its own (docs/spec/wire.md).
const maxHeaderBytes = 1 << 20

// Config is the configuration of an edge.
type Config struct {
	DataDir    string           `yaml:"data_dir" usage:"directory of the CA, the tunnels and routes, and the admin socket"`
	Location   string           `yaml:"location" usage:"short name of this edge, shown by connectors and in request ids"`
	Connectors connector.Config `yaml:"connectors"`
	Public     PublicConfig     `yaml:"public"`
	DNS        zone.Config      `yaml:"dns"`
	Admin      AdminConfig      `yaml:"admin"`
	Ports      ports.Config     `yaml:"ports"`
	UDP        udp.Config       `yaml:"udp"`
	Bootstrap  bootstrap.Config `yaml:"bootstrap"`
	// ManagementHostname is a setting because --management-hostname of connectors is one.
	ManagementHostname string `yaml:"management_hostname" usage:"host of the management service, besides those of the reference"`
	// Quick is the service that gives tunnels to strangers.
	Quick admin.QuickConfig `yaml:"quick"`
}

// PublicConfig is the side that visitors see.
type PublicConfig struct {
	HTTP                  netip.AddrPort `yaml:"http" usage:"address for HTTP/1.1 and cleartext HTTP/2"`
	HTTPS                 netip.AddrPort `yaml:"https" usage:"address for HTTPS; unset = none"`
	CertFile              string         `yaml:"cert_file" usage:"certificate chain for HTTPS; unset = issued by the edge's own CA"`
	KeyFile               string         `yaml:"key_file" usage:"private key of cert_file"`
	Names                 []string       `yaml:"names" usage:"further names in the default HTTPS certificate"`
	ResponseHeaderTimeout time.Duration  `yaml:"response_header_timeout" usage:"wait for the response once the request is sent; 0 = for ever"`
	ReadHeaderTimeout     time.Duration  `yaml:"read_header_timeout" usage:"how long a visitor may take to send a request head"`
	IdleTimeout           time.Duration  `yaml:"idle_timeout" usage:"how long an idle visitor connection is kept"`
	BodyIdleTimeout       time.Duration  `yaml:"body_idle_timeout" usage:"how long a body may make no progress; 0 = for ever"`
	TrustedProxies        []string       `yaml:"trusted_proxies" usage:"networks of proxies that may name the visitor in X-Forwarded-For etc."`
	ProxyProtocol         bool           `yaml:"proxy_protocol" usage:"connections of trusted_proxies begin with a PROXY protocol header"`
	MaxHeaderFields       int            `yaml:"max_header_fields" usage:"limit of the fields of a header or trailer section"`
	MaxHeaderBytes        int            `yaml:"max_header_bytes" usage:"limit of its decoded size, with 32 bytes a field; at most 1048576"`
	MaxTargetBytes        int            `yaml:"max_target_bytes" usage:"limit of the length of a request target"`
	// MaxConnectionHeaderBytes exists because HTTP/2 compresses headers: a few bytes can make large ones.
	MaxConnectionHeaderBytes int           `yaml:"max_connection_header_bytes" usage:"limit of the headers in flight on one connection"`
	MaxConnections           int           `yaml:"max_connections" usage:"limit of visitors' connections; further ones are closed at once"`
	MaxConnectionsPerAddress int           `yaml:"max_connections_per_address" usage:"the same for one address; 0 = a quarter, at least 64"`
	MaxStreams               int           `yaml:"max_streams" usage:"limit of requests in flight on one HTTP/2 connection"`
	MaxWebSockets            int           `yaml:"max_websockets" usage:"limit of WebSocket connections; further ones get status 503"`
	MaxWebSocketsPerAddress  int           `yaml:"max_websockets_per_address" usage:"the same for one address; 0 = a quarter, at least 64"`
	MinBodyRate              int           `yaml:"min_body_rate" usage:"least rate of a body of known length, in bytes/s; 0 = none"`
	HalfCloseTimeout         time.Duration `yaml:"half_close_timeout" usage:"how long a half-closed WebSocket may be silent; 0 = for ever"`
	DrainTimeout             time.Duration `yaml:"drain_timeout" usage:"how long running requests may finish at shutdown"`
	ExposeErrors             bool          `yaml:"expose_errors" usage:"show visitors the connector's errors, with internal addresses"`
}

// AdminConfig is the API for operators.
type AdminConfig struct {
	Socket    string         `yaml:"socket" usage:"Unix socket of the admin API; unset = admin.sock in data_dir"`
	Listen    netip.AddrPort `yaml:"listen" usage:"TCP address of the admin API, with TLS by the edge's own CA; unset = none"`
	TokenFile string         `yaml:"token_file" usage:"file with the bearer token of the TCP admin API"`
}

// Default holds all default values.
func Default() Config {
	return Config{
		DataDir:    "edge-data",
		Location:   "local",
		Connectors: connector.Default(),
		Public: PublicConfig{
			HTTP:                  netip.MustParseAddrPort("0.0.0.0:8080"),
			ResponseHeaderTimeout: 100 * time.Second,
			ReadHeaderTimeout:     10 * time.Second,
			IdleTimeout:           2 * time.Minute,
			BodyIdleTimeout:       5 * time.Minute,
			MaxHeaderFields:       front.DefaultHeaderFields,
			MaxHeaderBytes:        front.DefaultHeaderBytes,
			MaxTargetBytes:        16 << 10,

			MaxConnectionHeaderBytes: 4 << 20,

			MaxConnections:   32768,
			MaxStreams:       250,
			MaxWebSockets:    16384,
			MinBodyRate:      100,
			HalfCloseTimeout: 5 * time.Minute,
			DrainTimeout:     30 * time.Second,
		},
		DNS:       zone.Default(),
		Ports:     ports.Default(),
		UDP:       udp.Default(),
		Bootstrap: bootstrap.Default(),
		Quick:     admin.DefaultQuick(),
	}
}

// Validate reports every problem, each with its path.
func (c *Config) Validate() error {
	var p problems
	p.when(c.DataDir == "", "data_dir: empty")
	p.when(!c.Public.HTTP.IsValid() && !c.Public.HTTPS.IsValid(), "public: neither http nor https is set")
	p.when((c.Public.CertFile == "") != (c.Public.KeyFile == ""), "public: cert_file and key_file: only one is set")
	p.when(c.Public.MaxHeaderFields <= 0, "public: max_header_fields: not positive")
	p.when(c.Public.MaxHeaderBytes <= 0, "public: max_header_bytes: not positive")
	p.when(c.Public.MaxHeaderBytes > maxHeaderBytes, "public: max_header_bytes: more than 1048576")
	p.when(c.Public.MaxTargetBytes <= 0, "public: max_target_bytes: not positive")
	p.when(c.Public.MaxConnectionHeaderBytes < c.Public.MaxHeaderBytes, "public: max_connection_header_bytes: less than max_header_bytes")
	p.when(c.Public.MaxConnectionsPerAddress < 0, "public: max_connections_per_address: negative")
	p.when(c.Public.MaxWebSocketsPerAddress < 0, "public: max_websockets_per_address: negative")
	if err := front.CheckProxies(c.Public.TrustedProxies); err != nil {
		p.when(true, "public: trusted_proxies: "+err.Error())
	}
	p.when(c.Public.ProxyProtocol && len(c.Public.TrustedProxies) == 0, "public: proxy_protocol: set, but trusted_proxies is empty")
	p.when(c.Public.ReadHeaderTimeout <= 0, "public: read_header_timeout: not positive")
	p.when(c.Public.ResponseHeaderTimeout < 0, "public: response_header_timeout: negative")
	p.when(c.Public.BodyIdleTimeout < 0, "public: body_idle_timeout: negative")
	p.when(c.Public.HalfCloseTimeout < 0, "public: half_close_timeout: negative")
	p.when(c.Public.MaxConnections <= 0, "public: max_connections: not positive")
	p.when(c.Public.MaxStreams <= 0, "public: max_streams: not positive")
	p.when(c.Public.MaxWebSockets < 0, "public: max_websockets: negative")
	p.when(c.Public.MinBodyRate < 0, "public: min_body_rate: negative")
	p.when(c.Admin.Listen.IsValid() && c.Admin.TokenFile == "", "admin: token_file: empty, but listen is set")
	for _, validate := range []func() error{
		c.Connectors.Validate, c.DNS.Validate, c.Ports.Validate, c.UDP.Validate, c.Bootstrap.Validate, c.Quick.Validate,
	} {
		if err := validate(); err != nil {
			p = append(p, err)
		}
	}
	return errors.Join(p...)
}

func (c *Config) socket() string {
	if c.Admin.Socket != "" {
		return c.Admin.Socket
	}
	return filepath.Join(c.DataDir, "admin.sock")
}

// problems collects what is wrong with a configuration.
type problems []error

func (p *problems) when(bad bool, text string) {
	if bad {
		*p = append(*p, errors.New(text))
	}
}
