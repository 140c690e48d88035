package proxy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/management"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/private"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/sources"
)

// Config is the configuration of one proxy.
type Config struct {
	ID string `yaml:"id" usage:"name of this proxy; empty makes one up from the host name"`

	// The local rules.
	sources.Config `yaml:",inline"`

	Listen    []string `yaml:"listen" usage:"link endpoints for workers: unix:/path or tcp:host:port"`
	Advertise string   `yaml:"advertise" usage:"endpoint that is announced to workers; empty is the first of listen"`
	TLSDir    string   `yaml:"tls_dir" usage:"directory with ca.pem, link.pem and link-key.pem, for tcp endpoints"`

	Tags           []string `yaml:"tags" usage:"connector tags, NAME=VALUE, sent to origins as Cf-Warp-Tag-NAME"`
	MaxActiveFlows string   `yaml:"max_active_flows" usage:"limit of private-network flows of each tunnel; goes before the rules' own; 0 = none, empty = as in the rules"`

	SpoolLimit int64 `yaml:"spool_limit" usage:"largest body of unknown length, in bytes, for rules with disableChunkedEncoding"`

	StateDir string `yaml:"state_dir" usage:"directory of this proxy alone, for the pushed configurations in force and a mark of one that ends the process; empty is none"`

	ConfigKeyFile string `yaml:"config_key_file" usage:"file with the secret, the same as the supervisors', that opens configurations of the store; empty follows none"`

	DrainTimeout time.Duration `yaml:"drain_timeout" usage:"how long running requests may take to finish at stop"`

	Management management.Config `yaml:",inline"`

	Streams flow.Streams   `yaml:"streams"`
	Limits  flow.Limits    `yaml:"limits"`
	Private private.Config `yaml:",inline"`
	Opener  opener.Config  `yaml:",inline"`
}

// Default holds all defaults.
func Default() Config {
	return Config{
		Config: sources.Default(), SpoolLimit: 10 << 20, DrainTimeout: 30 * time.Second, Management: management.Default(),
		Streams: flow.DefaultStreams(), Limits: flow.DefaultLimits(), Private: private.Default(),
		Opener: opener.Default(),
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
	errs = append(errs, c.Config.Validate(), c.Streams.Validate(), c.Limits.Validate(), c.Private.Validate(), c.Opener.Validate())
	return errors.Join(errs...)
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
