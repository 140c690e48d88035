package stack

import (
	"fmt"

	"github.com/culvert-tunnel/culvert/cli/internal/settings"
)

// Warning is a flag whose value has no effect, or another one than given. The connector starts all the same.
type Warning struct{ Flag, Text string }

// Warnings lists the flags that the reference accepts silently although they have no effect or another one. rulesFile is the file
// whose ingress rules are in force, "" when there is none.
func Warnings(s *settings.Settings, rulesFile string) []Warning {
	var all []Warning
	if n := s.Int("ha-connections"); n != connections(s) {
		all = append(all, Warning{"ha-connections", fmt.Sprintf("%d is not between 1 and %d, using %d", n, maxConnections, connections(s))})
	}
	if v := s.Text("edge-ip-version"); v != ipVersion(s) {
		all = append(all, Warning{"edge-ip-version", v + " has no effect on the addresses that --edge names"})
	}
	if rulesFile != "" {
		for _, name := range []string{"url", "hello-world", "unix-socket", "bastion", "socks5"} {
			if s.IsSet(name) {
				all = append(all, Warning{name, "no effect: the ingress rules of " + rulesFile + " decide; remove the flag or the rules"})
			}
		}
	}
	return all
}

// connections is the number of connections to hold: what the flag says, within what the wire can number. The reference
// starts with 0 as well and tries one connection (docs/spec/lifecycle.md 2.1).
func connections(s *settings.Settings) int {
	return min(max(s.Int("ha-connections"), 1), maxConnections)
}

// ipVersion is the version for addresses that are looked up; addresses that --edge names are used whatever it says
// (docs/spec/lifecycle.md 6.2).
func ipVersion(s *settings.Settings) string {
	if len(s.List("edge")) > 0 {
		return "auto"
	}
	return s.Text("edge-ip-version")
}
