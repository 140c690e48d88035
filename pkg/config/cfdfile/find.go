package cfdfile

import (
	"os"
	"path/filepath"
)

// Dirs lists the directories of configuration and credentials files in the order of the search. Without a home directory only
// the system's are left.
func Dirs(home string) []string {
	var dirs []string
	if home != "" {
		for _, name := range []string{".cloudflared", ".cloudflare-warp", "cloudflare-warp"} {
			dirs = append(dirs, filepath.Join(home, name))
		}
	}
	return append(dirs, "/etc/cloudflared", "/usr/local/etc/cloudflared")
}

// Find gives the first configuration file in dirs for which exists returns true: in each config.yml before config.yaml.
func Find(dirs []string, exists func(path string) bool) (string, bool) {
	for _, dir := range dirs {
		for _, name := range []string{"config.yml", "config.yaml"} {
			if path := filepath.Join(dir, name); exists(path) {
				return path, true
			}
		}
	}
	return "", false
}

// Exists reports whether there is something other than a directory at path.
func Exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}
