package bootstrap

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/atomicfile"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

const caFileMode = 0o644

// Config creates a tunnel and its routes at start when they are missing.
type Config struct {
	Tunnel        string   `yaml:"tunnel" usage:"name of a tunnel to create when it does not exist"`
	Routes        []string `yaml:"routes" usage:"hosts to route to that tunnel, and ports such as tcp://:2222?to=10.0.0.5:22 (docs/ports.md)"`
	TokenFile     string   `yaml:"token_file" usage:"where to write that tunnel's run token"`
	TokenFileMode string   `yaml:"token_file_mode" usage:"file mode of the token file, octal"`
	CAFile        string   `yaml:"ca_file" usage:"where to copy the certificate of the edge's own CA"`
}

// Default holds the default values.
func Default() Config { return Config{TokenFileMode: "0600"} }

// Validate reports every problem, each with its path.
func (c *Config) Validate() error {
	var errs []error
	if c.Tunnel == "" && (len(c.Routes) > 0 || c.TokenFile != "") {
		errs = append(errs, errors.New("bootstrap: tunnel: empty"))
	}
	if _, err := c.mode(); err != nil {
		errs = append(errs, errors.New("bootstrap: token_file_mode: not an octal file mode"))
	}
	return errors.Join(errs...)
}

func (c *Config) mode() (fs.FileMode, error) {
	if c.TokenFileMode == "" {
		return 0o600, nil
	}
	m, err := strconv.ParseUint(c.TokenFileMode, 8, 9)
	return fs.FileMode(m), err
}

// Run creates what is missing. It returns the credentials of the configured tunnel, or the zero value when none is configured.
// caCert is the file with the certificate of the edge's own CA; its copy is written again when files sees that it has changed.
func Run(c Config, tunnels *catalog.Catalog, caCert string, files *filewatch.Watcher) (tunnel.Credentials, error) {
	var creds tunnel.Credentials
	if c.CAFile != "" {
		_, err := files.Add(filewatch.Set{Name: "ca_file", Paths: []string{caCert}, Apply: func(contents [][]byte) error {
			return atomicfile.Write(c.CAFile, contents[0], caFileMode)
		}})
		if err != nil {
			return creds, fmt.Errorf("bootstrap: %w", err)
		}
	}
	if c.Tunnel == "" {
		return creds, nil
	}
	creds, err := create(c, tunnels)
	if err != nil {
		return creds, fmt.Errorf("bootstrap: %w", err)
	}
	if c.TokenFile == "" {
		return creds, nil
	}
	mode, err := c.mode()
	if err == nil {
		err = atomicfile.Write(c.TokenFile, []byte(credential.Token(creds)+"\n"), mode)
	}
	if err != nil {
		return creds, fmt.Errorf("bootstrap: token_file: %w", err)
	}
	return creds, nil
}

// create creates the tunnel and its routes where they are missing.
func create(c Config, tunnels *catalog.Catalog) (tunnel.Credentials, error) {
	t, err := tunnels.Tunnel(c.Tunnel)
	if errors.Is(err, tunnel.ErrNotFound) {
		t, err = tunnels.CreateTunnel(c.Tunnel, time.Now())
	}
	if err != nil {
		return tunnel.Credentials{}, err
	}
	for _, text := range c.Routes {
		if err := addRoute(tunnels, text, t.ID); err != nil {
			return tunnel.Credentials{}, err
		}
	}
	return t.Credentials(), nil
}

// addRoute adds the route of a host or a port. A port may be taken at this moment: package ports tries again to open it.
func addRoute(tunnels *catalog.Catalog, text string, id tunnel.ID) error {
	if !route.IsPort(text) {
		_, err := tunnels.AddRoute(text, id, time.Now())
		return err
	}
	p, err := route.ParseBootstrap(text)
	if err != nil {
		return err
	}
	if p.Number == 0 {
		return fmt.Errorf("%w: %q: the port of a bootstrap route needs a number", route.ErrPort, text)
	}
	_, err = tunnels.AddPort(p, id, time.Now())
	return err
}
