package opener

import (
	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/policy"
)

// Config says what origins may be.
type Config struct {
	// Policy goes before every rule, local or pushed.
	Policy policy.Config `yaml:"policy"`
}

// Validate reports every problem, each with its path.
func (c Config) Validate() error { return c.Policy.Validate() }

// Point makes the place where all connections are opened, under the policy.
func (c Config) Point() (*dialer.Point, error) {
	p, err := policy.New(c.Policy)
	if err != nil {
		return nil, err
	}
	return dialer.NewPoint(p), nil
}
