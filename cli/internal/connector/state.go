package connector

import (
	"github.com/culvert-tunnel/culvert/cli/internal/paths"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
)

// StateDir is where the connector keeps what makes its next start easier: the directory that the settings name, or the usual one; xdg is
// XDG_STATE_HOME.
func StateDir(s *settings.Settings, home, xdg string) string {
	if dir := s.Text("state-dir"); dir != "" {
		return paths.ExpandHome(dir, home)
	}
	return paths.State(home, xdg)
}
