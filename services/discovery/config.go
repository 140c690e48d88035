package discovery

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// The defaults: the names and servers that the reference has built in (docs/spec/wire.md 2).
const (
	defaultDomain  = "argotunnel.com"
	defaultService = "v2-origintunneld"
	defaultDoT     = "1.1.1.1:853"
	defaultDoTName = "cloudflare-dns.com"
	defaultRefresh = 10 * time.Minute
	defaultTimeout = 5 * time.Second

	// SystemResolver is the resolver that stands for the system's own configuration.
	SystemResolver = "system"

	// RefusePrivate and AllowPrivate are the values of PrivateAddresses.
	RefusePrivate = "refuse"
	AllowPrivate  = "allow"
)

// Config is what an operator can set.
type Config struct {
	Name     string   `yaml:"name" usage:"name of the pool to publish (default: the default pool)"`
	Static   []string `yaml:"static" usage:"edge addresses host:port, instead of DNS records"`
	SRV      SRV      `yaml:"srv"`
	Resolver string   `yaml:"resolver" usage:"host:port of the only name server to use, or system"`
	DoT      DoT      `yaml:"dot"`
	// PrivateAddresses says what becomes of such addresses of the vendor's names.
	PrivateAddresses string `yaml:"private_addresses" usage:"refuse or allow private and reserved addresses for names of argotunnel.com"`

	StateDir string `yaml:"state_dir" usage:"directory for a copy of the pool, for a start without DNS; empty is none"`

	Refresh time.Duration `yaml:"refresh" usage:"time between two lookups"`
	Timeout time.Duration `yaml:"timeout" usage:"time limit of one query"`
}

// SRV names the records.
type SRV struct {
	Domain  string `yaml:"domain" usage:"domain of the edge's records"`
	Region  string `yaml:"region" usage:"region, put in front of the service name"`
	Service string `yaml:"service" usage:"service name of the SRV record"`
}

// DoT is the name server that is used over TLS when the resolver fails.
type DoT struct {
	Addr       string `yaml:"addr" usage:"host:port of the DNS over TLS server; off or empty for none"`
	ServerName string `yaml:"server_name" usage:"name that the server's certificate must have"`
	CAFile     string `yaml:"ca_file" usage:"PEM file with the roots for it (default: the system's)"`
}

// Default is the configuration without any settings: it finds the edge of the reference.
func Default() Config {
	return Config{
		SRV:              SRV{Domain: defaultDomain, Service: defaultService},
		Resolver:         SystemResolver,
		DoT:              DoT{Addr: defaultDoT, ServerName: defaultDoTName},
		PrivateAddresses: RefusePrivate,

		Refresh: defaultRefresh,
		Timeout: defaultTimeout,
	}
}

// Validate reports every problem.
func (c Config) Validate() error {
	var errs []error
	for i, entry := range c.Static {
		if err := checkHostPort(entry); err != nil {
			errs = append(errs, fmt.Errorf("static[%d]: %w", i, err))
		}
	}
	if len(c.Static) == 0 {
		if c.SRV.Domain == "" {
			errs = append(errs, errors.New("srv: domain: empty"))
		}
		if c.SRV.Service == "" {
			errs = append(errs, errors.New("srv: service: empty"))
		}
	}
	if strings.ContainsAny(c.SRV.Region, ". ") {
		errs = append(errs, fmt.Errorf("srv: region: %q is not one label", c.SRV.Region))
	}
	if c.Resolver != SystemResolver {
		if err := checkHostPort(c.Resolver); err != nil {
			errs = append(errs, fmt.Errorf("resolver: %w", err))
		}
	}
	if c.DoT.enabled() {
		if err := checkHostPort(c.DoT.Addr); err != nil {
			errs = append(errs, fmt.Errorf("dot: addr: %w", err))
		}
		if c.DoT.ServerName == "" {
			errs = append(errs, errors.New("dot: server_name: empty"))
		}
	}
	if c.PrivateAddresses != RefusePrivate && c.PrivateAddresses != AllowPrivate {
		errs = append(errs, fmt.Errorf("private_addresses: %q is neither %s nor %s", c.PrivateAddresses, RefusePrivate, AllowPrivate))
	}
	if c.Refresh <= 0 {
		errs = append(errs, fmt.Errorf("refresh: %v is not positive", c.Refresh))
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("timeout: %v is not positive", c.Timeout))
	}
	return errors.Join(errs...)
}

// fallsBackToDoT reports whether a failed lookup is repeated over TLS. An operator who names a resolver keeps private names from
// others, so the built-in public server is not used then; a DoT server that the operator names is.
func (c Config) fallsBackToDoT() bool {
	return c.DoT.enabled() && (c.Resolver == SystemResolver || c.DoT.Addr != defaultDoT)
}

func (d DoT) enabled() bool { return d.Addr != "" && d.Addr != "off" }

func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("%q is not host:port", s)
	}
	return nil
}
