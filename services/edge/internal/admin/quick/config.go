package quick

import (
	"errors"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

// Config is the quick service.
type Config struct {
	Listen     netip.AddrPort `yaml:"listen" usage:"address where anyone gets a tunnel without an account; unset = none"`
	Plain      bool           `yaml:"plain" usage:"no TLS on listen; for a proxy in front that ends TLS"`
	Domain     string         `yaml:"domain" usage:"domain below which quick tunnels get random names"`
	MaxTunnels int            `yaml:"max_tunnels" usage:"limit of quick tunnels that exist at a time"`
	PerMinute  int            `yaml:"per_minute" usage:"limit of new quick tunnels in a minute"`
	// PerMinutePerAddress is for one IPv4 address or IPv6 /64.
	PerMinutePerAddress int           `yaml:"per_minute_per_address" usage:"the same for one IPv4 address or IPv6 /64"`
	KeepFor             time.Duration `yaml:"keep_for" usage:"how long a quick tunnel without a connection is kept"`
}

// Default holds the default values.
func Default() Config {
	return Config{MaxTunnels: 256, PerMinute: 60, PerMinutePerAddress: 5, KeepFor: 2 * time.Minute}
}

// Validate reports every problem, each with its path.
func (c *Config) Validate() error {
	if !c.Listen.IsValid() {
		return nil
	}
	var errs []error
	check := func(bad bool, text string) {
		if bad {
			errs = append(errs, errors.New("quick: "+text))
		}
	}
	check(c.Domain == "", "domain: empty, but listen is set")
	if _, err := route.Canonical(c.Domain); c.Domain != "" && err != nil {
		check(true, "domain: "+err.Error())
	}
	check(c.MaxTunnels <= 0, "max_tunnels: not positive")
	check(c.PerMinute <= 0, "per_minute: not positive")
	check(c.PerMinutePerAddress <= 0, "per_minute_per_address: not positive")
	check(c.KeepFor < time.Second, "keep_for: less than 1s")
	return errors.Join(errs...)
}
