package stack

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

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
	if _, wrong := edgeAddresses(s); len(wrong) > 0 {
		all = append(all, Warning{"edge", strings.Join(wrong, ", ") + " is not HOST:PORT and is left out"})
	}
	all = append(all, outOfRange(s)...)
	if rulesFile != "" {
		for _, name := range []string{"url", "hello-world", "unix-socket", "bastion", "socks5"} {
			if s.IsSet(name) {
				all = append(all, Warning{name, "no effect: the ingress rules of " + rulesFile + " decide; remove the flag or the rules"})
			}
		}
	}
	return all
}

// outOfRange lists the numbers and files that the reference starts with although they make no sense.
func outOfRange(s *settings.Settings) []Warning {
	var all []Warning
	if n := s.Int("retries"); n < 0 {
		all = append(all, Warning{"retries", fmt.Sprintf("%d is negative, using 0", n)})
	}
	for _, name := range []string{"grace-period", "write-stream-timeout"} {
		if d := s.Duration(name); d < 0 {
			all = append(all, Warning{name, fmt.Sprintf("%v is negative, using 0s", d)})
		}
	}
	if d := s.Duration("rpc-timeout"); d <= 0 {
		all = append(all, Warning{"rpc-timeout", fmt.Sprintf("%v is not positive, using the default", d)})
	}
	for _, name := range []string{connectionWindow, streamWindow} {
		if s.Uint(name) == 0 {
			all = append(all, Warning{name, "0 is no window, using the default"})
		}
	}
	if path := s.Text("cacert"); path != caCert(s) {
		all = append(all, Warning{"cacert", path + " holds no certificate, using the default roots"})
	}
	return all
}

// The names of the flags for the windows of QUIC.
const (
	connectionWindow = "quic-connection-level-flow-control-limit"
	streamWindow     = "quic-stream-level-flow-control-limit"
)

// Grace is the longest duration of the drain. The reference takes a negative one as none.
func Grace(s *settings.Settings) time.Duration { return max(s.Duration("grace-period"), 0) }

func rpcTimeout(s *settings.Settings, standard time.Duration) time.Duration {
	if d := s.Duration("rpc-timeout"); d > 0 {
		return d
	}
	return standard
}

// caCert is the file with the roots for the edge, "" for the default ones. A file without a certificate counts as none, as in the
// reference; one that cannot be read is an error elsewhere.
func caCert(s *settings.Settings) string {
	path := s.Text("cacert")
	if b, err := os.ReadFile(path); err == nil && !x509.NewCertPool().AppendCertsFromPEM(b) {
		return ""
	}
	return path
}

// connections is the number of connections to hold: what the flag says, within what the wire can number. The reference
// starts with 0 as well and tries one connection (docs/spec/lifecycle.md 2.1).
func connections(s *settings.Settings) int {
	return min(max(s.Int("ha-connections"), 1), maxConnections)
}

// edgeAddresses are the addresses that --edge names. The reference leaves out those without a port and starts with the rest.
func edgeAddresses(s *settings.Settings) (usable, wrong []string) {
	for _, addr := range s.List("edge") {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			wrong = append(wrong, addr)
			continue
		}
		usable = append(usable, addr)
	}
	return usable, wrong
}

// ipVersion is the version for addresses that are looked up; addresses that --edge names are used whatever it says
// (docs/spec/lifecycle.md 6.2).
func ipVersion(s *settings.Settings) string {
	if len(s.List("edge")) > 0 {
		return "auto"
	}
	return s.Text("edge-ip-version")
}
