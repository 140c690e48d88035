package keeper

import (
	"fmt"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// WatchCredentials reads a credentials file or a file with a token, and passes its credentials on to changed whenever it changes.
func WatchCredentials(files *filewatch.Watcher, path string, changed func(tunnel.Credentials) error) (Credentials, error) {
	var first *Credentials
	_, err := files.Add(filewatch.Set{Name: "credentials file", Paths: []string{path}, Apply: func(contents [][]byte) error {
		cred, err := parseCredentials(string(contents[0]))
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", path, err)
		case first == nil:
			first = &cred
			return nil
		default:
			return changed(cred.Credentials)
		}
	}})
	if err != nil {
		return Credentials{}, err
	}
	return *first, nil
}

// parseCredentials reads the text of a credentials file, which is a JSON object, or of a file with a token.
func parseCredentials(text string) (cred Credentials, err error) {
	if text = strings.TrimSpace(text); strings.HasPrefix(text, "{") {
		cred.Credentials, err = credential.ParseFile([]byte(text))
		return cred, err
	}
	return TokenCredentials(text)
}

// TokenCredentials reads a run token.
func TokenCredentials(text string) (Credentials, error) {
	cred, err := credential.ParseToken(text)
	return Credentials{Credentials: cred, FromToken: true}, err
}
