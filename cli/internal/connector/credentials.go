package connector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/culvert-tunnel/culvert/cli/internal/paths"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Resolver finds the id of a tunnel by its name.
type Resolver func(ctx context.Context, name string) (tunnel.ID, error)

// Source is everything that credentials can come from.
type Source struct {
	Settings *settings.Settings
	// File may be nil.
	File *cfdfile.File
	// Args are the arguments of the command: the tunnel's id or name.
	Args []string
	Home string
	// Resolve may be nil: then a name needs a credentials file.
	Resolve Resolver
	// Issued are credentials that were made for this process; nil = find some.
	Issued *tunnel.Credentials

	// path is the file that the credentials came from, "" when there was none, and parse reads its content.
	path  string
	parse func(content []byte) (tunnel.Credentials, error)
}

var (
	errOneTunnel = errors.New("tunnel run accepts only one argument, the ID or name of the tunnel to run")
	errNoTunnel  = errors.New("tunnel run needs a token, or the ID or name of the tunnel to run as the last argument or in the " +
		"configuration file")
)

// Credentials finds the tunnel and its secret: a token wins over everything; then come the contents, the file, and
// the usual directories (docs/spec/lifecycle.md 11.3, docs/spec/wire.md 13).
func (s *Source) Credentials(ctx context.Context) (tunnel.Credentials, error) {
	if s.Issued != nil {
		return *s.Issued, nil
	}
	if len(s.Args) > 1 {
		return tunnel.Credentials{}, errOneTunnel
	}
	if c, found, err := s.fromToken(); found || err != nil {
		return c, err
	}
	ref := s.reference()
	if ref == "" {
		return tunnel.Credentials{}, errNoTunnel
	}
	id, idErr := tunnel.ParseID(ref)
	given, where, err := s.explicit()
	if err != nil {
		return tunnel.Credentials{}, err
	}
	switch {
	case given == nil && idErr != nil:
		if id, err = s.resolve(ctx, ref); err != nil {
			return tunnel.Credentials{}, err
		}
		fallthrough
	case given == nil:
		if given, where, err = s.search(id); err != nil {
			return tunnel.Credentials{}, err
		}
	}
	s.parse = func(content []byte) (tunnel.Credentials, error) {
		c, err := credential.ParseFile(content)
		if err != nil {
			return tunnel.Credentials{}, fmt.Errorf("%s: %w", where, err)
		}
		if !id.IsZero() {
			c.TunnelID = id // the command's tunnel overrides the file's
		}
		return c, nil
	}
	return s.parse(given)
}

// Watch passes the credentials on to use whenever the file changes that Credentials read them from. It does nothing if there was no
// file.
func (s *Source) Watch(files *filewatch.Watcher, use func(tunnel.Credentials) error) error {
	if s.path == "" {
		return nil
	}
	_, err := files.Add(filewatch.Set{Name: "credentials file", Paths: []string{s.path}, Apply: func(contents [][]byte) error {
		c, err := s.parse(contents[0])
		if err != nil {
			return err
		}
		return use(c)
	}})
	return err
}

// fromToken tries the token and then the token file.
func (s *Source) fromToken() (c tunnel.Credentials, found bool, err error) {
	content, where := []byte(s.Settings.Text("token")), "token"
	if len(content) == 0 {
		path := s.Settings.Text("token-file")
		if path == "" {
			return c, false, nil
		}
		s.path, where = paths.ExpandHome(path, s.Home), "token file "+path
		if content, err = readSecretFile("token file", s.path); err != nil {
			return c, false, err
		}
	}
	s.parse = func(content []byte) (tunnel.Credentials, error) {
		c, err := credential.ParseToken(strings.TrimSpace(string(content)))
		if err != nil {
			return c, fmt.Errorf("%s is not valid: %w", where, err)
		}
		return c, nil
	}
	c, err = s.parse(content)
	return c, err == nil, err
}

func (s *Source) reference() string {
	if len(s.Args) == 1 {
		return s.Args[0]
	}
	if s.File != nil {
		return s.File.Tunnel
	}
	return ""
}

// explicit reads the credentials that a flag or variable names.
func (s *Source) explicit() (content []byte, where string, err error) {
	if text := s.Settings.Text("credentials-contents"); text != "" {
		return []byte(text), "credentials contents", nil
	}
	path := s.Settings.Text("credentials-file")
	if !s.Settings.IsSet("credentials-file") && s.File != nil {
		path = s.File.CredentialsFile
	}
	if path == "" {
		return nil, "", nil
	}
	s.path = paths.ExpandHome(path, s.Home)
	content, err = readSecretFile("credentials file", s.path)
	return content, "credentials file " + s.path, err
}

func (s *Source) resolve(ctx context.Context, name string) (tunnel.ID, error) {
	if s.Resolve == nil {
		return tunnel.ID{}, fmt.Errorf("tunnel %q is not an ID, and its credentials file is not given (--credentials-file)", name)
	}
	id, err := s.Resolve(ctx, name)
	if err != nil {
		return tunnel.ID{}, fmt.Errorf("tunnel %q is not an ID and could not be looked up; give its ID or --credentials-file: %w", name, err)
	}
	return id, nil
}

// search looks for <id>.json in the usual directories.
func (s *Source) search(id tunnel.ID) (content []byte, where string, err error) {
	var dirs []string
	if cert := s.Settings.Text("origincert"); cert != "" {
		dirs = append(dirs, filepath.Dir(paths.ExpandHome(cert, s.Home)))
	}
	dirs = append(dirs, paths.Search(s.Home)...)
	if s.Home != "" {
		dirs = append(dirs, filepath.Join(s.Home, paths.StateDir))
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, id.String()+".json")
		content, err := os.ReadFile(path)
		if err == nil {
			s.path = path
			return content, "credentials file " + path, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, "", fmt.Errorf("credentials file: %w", err)
		}
	}
	return nil, "", fmt.Errorf("credentials file %s.json is in none of %s; name it by --credentials-file or in the configuration file, or "+
		"run the tunnel with its token", id, strings.Join(dirs, ", "))
}
