package paths

import (
	"path/filepath"
	"strings"
)

// StateDir is where this program keeps credentials and the data of its own edge, below the home directory.
const StateDir = ".culvert"

// Credentials is the credentials file of the tunnel id, where this program writes it by default.
func Credentials(home, id string) string { return filepath.Join(home, StateDir, id+".json") }

// EdgeData is where the edge of this machine keeps its data by default.
func EdgeData(home string) string { return filepath.Join(home, StateDir, "edge") }

// State is where the connector keeps what makes its next start easier: below xdg, which is XDG_STATE_HOME, or in its usual place below
// home; "" where there is neither.
func State(home, xdg string) string {
	switch {
	case filepath.IsAbs(xdg):
		return filepath.Join(xdg, "culvert")
	case home != "":
		return filepath.Join(home, ".local", "state", "culvert")
	default:
		return ""
	}
}

// Search lists the directories in which configuration and credentials of cloudflared are looked for, in order
// (docs/spec/lifecycle.md 11.2).
func Search(home string) []string {
	var dirs []string
	if home != "" {
		for _, d := range []string{".cloudflared", ".cloudflare-warp", "cloudflare-warp"} {
			dirs = append(dirs, filepath.Join(home, d))
		}
	}
	return append(dirs, "/etc/cloudflared", "/usr/local/etc/cloudflared")
}

// ExpandHome replaces a leading ~ by the home directory.
func ExpandHome(path, home string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok && home != "" {
		return filepath.Join(home, rest)
	}
	return path
}
