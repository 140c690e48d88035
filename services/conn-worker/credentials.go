package connworker

import (
	"errors"
	"fmt"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/keeper"
)

// errNoCredentials says that the worker would serve nothing.
var errNoCredentials = errors.New("credentials: none given: set token_file, file or files, or the variable TUNNEL_TOKEN")

// CredentialsConfig says which tunnels the worker serves. All sources add up; at least one is needed.
type CredentialsConfig struct {
	Token     tunnel.Secret `yaml:"token" usage:"run token; better in token_file or in the variable TUNNEL_TOKEN"`
	TokenFile string        `yaml:"token_file" usage:"file with a run token"`
	File      string        `yaml:"file" usage:"credentials file"`
	Files     []string      `yaml:"files" usage:"credentials files and token files, for several tunnels"`
}

// load reads every source. files, which may be nil, reads the files again when they change, and passes what they hold then on to
// changed. No error shows a secret.
func (c CredentialsConfig) load(
	files *filewatch.Watcher, changed func(tunnel.Credentials) error, more ...keeper.Credentials,
) ([]keeper.Credentials, error) {
	all := slices.Clone(more)
	var errs []error
	add := func(name string, cred keeper.Credentials, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("credentials: %s: %w", name, err))
			return
		}
		all = append(all, cred)
	}
	if len(c.Token) > 0 {
		cred, err := keeper.TokenCredentials(string(c.Token))
		add("token", cred, err)
	}
	if c.TokenFile != "" {
		cred, err := keeper.WatchCredentials(files, c.TokenFile, changed)
		add("token_file", cred, err)
	}
	if c.File != "" {
		cred, err := keeper.WatchCredentials(files, c.File, changed)
		add("file", cred, err)
	}
	for _, path := range c.Files {
		cred, err := keeper.WatchCredentials(files, path, changed)
		add("files", cred, err)
	}
	if len(errs) == 0 && len(all) == 0 {
		return nil, errNoCredentials
	}
	return unique(all), errors.Join(errs...)
}

// unique keeps the first credentials of each tunnel.
func unique(all []keeper.Credentials) []keeper.Credentials {
	seen := map[tunnel.ID]bool{}
	var out []keeper.Credentials
	for _, c := range all {
		if !seen[c.TunnelID] {
			seen[c.TunnelID] = true
			out = append(out, c)
		}
	}
	return out
}
