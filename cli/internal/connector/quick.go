package connector

import (
	"context"
	"log/slog"

	"github.com/culvert-tunnel/culvert/cli/internal/quicktunnel"
)

// AskQuick asks the quick service that the settings name for a tunnel, and makes it the one to run: over one connection, and over QUIC
// unless a protocol was given (docs/spec/lifecycle.md 11.4). It returns the public host name.
func (s *Source) AskQuick(ctx context.Context, logger *slog.Logger, version string) (hostname string, err error) {
	t, err := quicktunnel.Request(ctx, logger, s.Settings.Text("quick-service"), "culvert/"+version)
	if err != nil {
		return "", err
	}
	s.Issued = &t.Credentials
	s.Settings = s.Settings.With("ha-connections", "1")
	if !s.Settings.IsSet("protocol") {
		s.Settings = s.Settings.With("protocol", "quic")
	}
	return t.Hostname, nil
}
