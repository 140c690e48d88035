package icmp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Config is the configuration of ping.
type Config struct {
	SourceV4 string `yaml:"source_v4" usage:"IPv4 address of this host in responses to traceroute; empty is the one of the default route"`
	SourceV6 string `yaml:"source_v6" usage:"IPv6 address of this host in responses to traceroute; empty is one of the same interface"`
	MaxFlows int    `yaml:"max_flows" usage:"largest number of pings (source, destination, id) at a time, each with a socket"`
}

// Default holds all defaults.
func Default() Config { return Config{MaxFlows: 1024} }

// Validate reports every problem, each with its path.
func (c Config) Validate() error {
	var errs []error
	if a, err := netip.ParseAddr(c.SourceV4); c.SourceV4 != "" && (err != nil || !a.Is4()) {
		errs = append(errs, fmt.Errorf("source_v4: %q is not an IPv4 address", c.SourceV4))
	}
	if a, err := netip.ParseAddr(c.SourceV6); c.SourceV6 != "" && (err != nil || !a.Is6() || a.Is4In6()) {
		errs = append(errs, fmt.Errorf("source_v6: %q is not an IPv6 address", c.SourceV6))
	}
	if c.MaxFlows < 1 {
		errs = append(errs, fmt.Errorf("max_flows: %d is less than 1", c.MaxFlows))
	}
	return errors.Join(errs...)
}

const (
	// idleTime ends a flow.
	idleTime = 10 * time.Second
	// maxPacket is the largest packet that fits a datagram towards the edge, in version 2; version 3 takes less.
	maxPacket = 1349
)
