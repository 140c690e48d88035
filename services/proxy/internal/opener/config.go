package opener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/access"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/balance"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/policy"
)

// Config says what origins may be.
type Config struct {
	// Policy goes before every rule, local or pushed.
	Policy policy.Config `yaml:"policy"`
	// Access is how the tokens are checked that rules demand.
	Access access.Config `yaml:"access"`
}

// Default holds the defaults of Config.
func Default() Config { return Config{Access: access.Default()} }

// Validate reports every problem, each with its path.
func (c Config) Validate() error { return errors.Join(c.Policy.Validate(), c.Access.Validate()) }

// Opener makes the opener of a proxy, which dials through point. reg may be nil. The caller closes it.
func (c Config) Opener(point *dialer.Point, log *slog.Logger, reg prometheus.Registerer) (*Opener, error) {
	ring, err := c.keyring(point, log, reg)
	if err != nil {
		return nil, err
	}
	return New(log, point).WithKeyring(ring).WithHub(balance.NewHub(log, nil, reg)), nil
}

// keyring makes the ring with the keys of the issuers of access tokens, which are asked through point.
func (c Config) keyring(point *dialer.Point, log *slog.Logger, reg prometheus.Registerer) (*access.Keyring, error) {
	var ca []byte
	if name := c.Access.CAFile; name != "" {
		var err error
		if ca, err = filewatch.ReadRegular(name, maxCAFile); err != nil {
			return nil, fmt.Errorf("access: ca_file: %w", err)
		}
	}
	roots, err := trusted(ca, c.Access.CAFile, log)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return point.Dial(ctx, net.Dialer{}, network, address)
	}
	return access.New(c.Access, dial, roots, reg), nil
}

// Point makes the place where all connections are opened, under the policy. private are listeners of this process that nobody may reach
// through a tunnel.
func (c Config) Point(private []net.Addr) (*dialer.Point, error) {
	p, err := policy.New(c.Policy)
	if err != nil {
		return nil, err
	}
	return dialer.NewPoint(p, private...), nil
}
