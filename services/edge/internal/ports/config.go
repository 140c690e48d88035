package ports

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Config bounds the public ports.
type Config struct {
	Address                   netip.Addr    `yaml:"address" usage:"the only address that routes may open ports on; unset = every address"`
	Allow                     []string      `yaml:"allow" usage:"ports that routes may open, as N or N-M; none = all"`
	MaxConnections            int           `yaml:"max_connections" usage:"limit of TCP connections on one port; more are reset at once"`
	MaxConnectionsPerAddress  int           `yaml:"max_connections_per_address" usage:"the same for one address; 0 = a quarter, at least 64"`
	MaxAssociations           int           `yaml:"max_associations" usage:"limit of UDP sources on a port; new ones evict the quietest"`
	MaxAssociationsPerAddress int           `yaml:"max_associations_per_address" usage:"the same for one address; 0 = a quarter, at least 64"`
	UDPIdleTimeout            time.Duration `yaml:"udp_idle_timeout" usage:"forget a silent UDP source, unless its route says otherwise"`
	ConnectTimeout            time.Duration `yaml:"connect_timeout" usage:"how long a connector may take to reach the origin"`
	IdleTimeout               time.Duration `yaml:"idle_timeout" usage:"reset idle TCP connections, unless a route says otherwise; 0 = never"`
	HalfCloseTimeout          time.Duration `yaml:"half_close_timeout" usage:"the same once one direction has ended"`
	FinHold                   time.Duration `yaml:"fin_hold" usage:"silence of the response before a connector without half-close gets FIN"`
	KeepAlive                 time.Duration `yaml:"keep_alive" usage:"idle time after which TCP probes whether the visitor is still there"`
	DrainTimeout              time.Duration `yaml:"drain_timeout" usage:"how long TCP connections may go on at shutdown"`
}

// Default holds all default values.
func Default() Config {
	return Config{
		Allow:            []string{"1024-65535"}, // lower ones belong to the host
		MaxConnections:   10000,
		MaxAssociations:  16384,
		UDPIdleTimeout:   210 * time.Second, // that of connectors (docs/spec/ingress.md 9.2)
		ConnectTimeout:   35 * time.Second,  // a little more than the longest default timeout of an ingress rule
		HalfCloseTimeout: time.Hour,
		FinHold:          10 * time.Second,
		KeepAlive:        30 * time.Second,
		DrainTimeout:     30 * time.Second,
	}
}

// Validate reports every problem, each with its path.
func (c *Config) Validate() error {
	var faults []error
	when := func(bad bool, text string) {
		if bad {
			faults = append(faults, errors.New("ports: "+text))
		}
	}
	when(c.Address.Zone() != "" || c.Address.IsMulticast(), "address: not an address of this host")
	when(c.MaxConnections <= 0, "max_connections: not positive")
	when(c.MaxConnectionsPerAddress < 0, "max_connections_per_address: negative")
	when(c.MaxAssociations <= 0, "max_associations: not positive")
	when(c.MaxAssociationsPerAddress < 0, "max_associations_per_address: negative")
	when(c.UDPIdleTimeout <= 0, "udp_idle_timeout: not positive")
	when(c.ConnectTimeout <= 0, "connect_timeout: not positive")
	when(c.IdleTimeout < 0, "idle_timeout: negative")
	when(c.HalfCloseTimeout <= 0, "half_close_timeout: not positive")
	when(c.FinHold <= 0, "fin_hold: not positive")
	when(c.KeepAlive <= 0, "keep_alive: not positive")
	when(c.DrainTimeout < 0, "drain_timeout: negative")
	for _, text := range c.Allow {
		if _, _, err := parseRange(text); err != nil {
			when(true, "allow: "+err.Error())
		}
	}
	return errors.Join(faults...)
}

// perAddress is the limit of connections of one address on one port.
func (c *Config) perAddress() int64 {
	return int64(shareOf(c.MaxConnections, c.MaxConnectionsPerAddress))
}

// associationsPerAddress is the limit of associations of one address on one port.
func (c *Config) associationsPerAddress() int {
	return shareOf(c.MaxAssociations, c.MaxAssociationsPerAddress)
}

// shareOf is the share of one address in a limit: as configured, or by default a quarter of the limit, but at least 64.
func shareOf(limit, configured int) int {
	if configured > 0 {
		return configured
	}
	return max(limit/4, 64)
}

// bindAddress returns the address to bind for a route with the address addr, which may be the zero value. It reports false
// when Address does not allow addr: an empty Address and "::" allow every address, 0.0.0.0 every IPv4 address, any other one
// itself alone.
func (c *Config) bindAddress(addr netip.Addr) (netip.Addr, bool) {
	limit := c.Address.Unmap()
	switch {
	case !limit.IsValid(), addr == limit:
		return addr, true
	case !addr.IsValid():
		return limit, true
	case limit.IsUnspecified():
		return addr, limit.Is6() || addr.Is4()
	default:
		return addr, false
	}
}

// allows reports whether routes may open a port. Port 0, the system's choice, is always allowed.
func (c *Config) allows(port uint16) bool {
	if len(c.Allow) == 0 || port == 0 {
		return true
	}
	for _, text := range c.Allow {
		if first, last, err := parseRange(text); err == nil && port >= first && port <= last {
			return true
		}
	}
	return false
}

func parseRange(text string) (first, last uint16, err error) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	a, err1 := strconv.ParseUint(strings.TrimSpace(from), 10, 16)
	b, err2 := strconv.ParseUint(strings.TrimSpace(to), 10, 16)
	if err1 != nil || err2 != nil || a == 0 || a > b {
		return 0, 0, fmt.Errorf("%q is neither a port nor a range such as 1024-65535", text)
	}
	return uint16(a), uint16(b), nil
}
