package docker

import (
	"errors"
	"fmt"
	"strings"
)

// Config names the engine whose containers make rules.
type Config struct {
	Endpoint    string   `yaml:"endpoint" usage:"Docker Engine whose containers' labels make rules, such as unix:///var/run/docker.sock; empty is none"`
	TLSDir      string   `yaml:"tls_dir" usage:"directory with ca.pem, cert.pem and key.pem, for an engine that is reached over TLS"`
	Network     string   `yaml:"network" usage:"network in which containers are reached; empty is the only one, or one that this process shares with them"`
	Published   bool     `yaml:"published" usage:"reach containers at their published ports instead of their own addresses"`
	HostAddress string   `yaml:"host_address" usage:"address of the engine's host, for published ports and containers in its network"`
	Hostnames   []string `yaml:"hostnames" usage:"hostnames that containers may have, *.NAME for all below; empty is all"`
}

// Default holds all defaults.
func Default() Config { return Config{HostAddress: "127.0.0.1"} }

// Validate reports every problem, each with its path. A provider that is off has none.
func (c Config) Validate() error {
	if c.Endpoint == "" {
		return nil
	}
	var errs []error
	if _, err := newEngine(c); err != nil {
		errs = append(errs, err)
	}
	if c.HostAddress == "" || strings.ContainsAny(c.HostAddress, "/:[] ") && !strings.Contains(c.HostAddress, "::") {
		errs = append(errs, fmt.Errorf("host_address: %q is neither an IP address nor a host name", c.HostAddress))
	}
	for i, name := range c.Hostnames {
		if rest := strings.TrimPrefix(name, "*."); rest == "" || strings.ContainsAny(rest, "*/: ") {
			errs = append(errs, fmt.Errorf("hostnames: %d: %q is neither NAME nor *.NAME", i, name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("docker: %w", err)
	}
	return nil
}
