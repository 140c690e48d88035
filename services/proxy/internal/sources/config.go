package sources

import (
	"github.com/culvert-tunnel/culvert/services/proxy/internal/docker"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/localrules"
)

// Config names where local rules come from.
type Config struct {
	ConfigFile string `yaml:"config_file" usage:"cloudflared config.yml with the ingress rules; of several YAML documents, each is for the tunnel it names"`
	// ConfigFiles hold rules of single tunnels.
	ConfigFiles []string `yaml:"config_files" usage:"further config.yml, each with the rules of the tunnel that it names"`
	// Origin is used when neither a file nor the caller supplies rules.
	Origin localrules.Origin `yaml:"origin"`
	// Docker is a provider of rules beside them.
	Docker docker.Config `yaml:"docker"`
}

// Default holds all defaults.
func Default() Config { return Config{Docker: docker.Default()} }

// Validate reports every problem, each with its path.
func (c Config) Validate() error { return c.Docker.Validate() }
