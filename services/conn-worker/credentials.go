package connworker

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/credential"
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

// load reads every source. No error shows a secret.
func (c CredentialsConfig) load(more ...keeper.Credentials) ([]keeper.Credentials, error) {
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
		cred, err := credential.ParseToken(string(c.Token))
		add("token", keeper.Credentials{Credentials: cred, FromToken: true}, err)
	}
	if c.TokenFile != "" {
		cred, err := readFile(c.TokenFile)
		add("token_file", cred, err)
	}
	if c.File != "" {
		cred, err := readFile(c.File)
		add("file", cred, err)
	}
	for _, path := range c.Files {
		cred, err := readFile(path)
		add("files", cred, err)
	}
	if len(errs) == 0 && len(all) == 0 {
		return nil, errNoCredentials
	}
	return unique(all), errors.Join(errs...)
}

// readFile reads a credentials file or a file with a token: the first is a JSON object.
func readFile(path string) (keeper.Credentials, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return keeper.Credentials{}, err
	}
	text := strings.TrimSpace(string(b))
	var cred keeper.Credentials
	if strings.HasPrefix(text, "{") {
		cred.Credentials, err = credential.ParseFile([]byte(text))
	} else {
		cred.FromToken = true
		cred.Credentials, err = credential.ParseToken(text)
	}
	if err != nil {
		return keeper.Credentials{}, fmt.Errorf("%s: %w", path, err)
	}
	return cred, nil
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
