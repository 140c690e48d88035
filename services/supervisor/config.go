package supervisor

import (
	"errors"
	"fmt"
	"time"
)

// maxConnections bounds the connections of one connector: the index is one byte on the wire (docs/spec/wire.md 8.1).
const maxConnections = 255

// Config is what an operator can set.
type Config struct {
	ID          string        `yaml:"id" usage:"name of this supervisor (default: made from the host name)"`
	Connections int           `yaml:"connections" usage:"connections per connector, for a tunnel that sets no number"`
	Tick        time.Duration `yaml:"tick" usage:"longest time between two reads of the store"`

	ConfigKeyFile string `yaml:"config_key_file" usage:"file with a secret of 32 bytes or more that seals configurations in the store; empty offers no versions"`
}

// Default is the configuration without any settings.
func Default() Config { return Config{Connections: 4, Tick: time.Second} }

// Validate reports every problem.
func (c Config) Validate() error {
	var errs []error
	if c.Connections < 1 || c.Connections > maxConnections {
		errs = append(errs, fmt.Errorf("connections: %d is not between 1 and %d", c.Connections, maxConnections))
	}
	if c.Tick <= 0 {
		errs = append(errs, fmt.Errorf("tick: %v is not positive", c.Tick))
	}
	return errors.Join(errs...)
}
