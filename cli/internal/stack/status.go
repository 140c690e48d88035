package stack

import "github.com/culvert-tunnel/culvert/pkg/tunnel"

// Connections counts the registered connections of this process, and gives the connector's id. They come
// from the worker itself, so they are right also while the store is unavailable.
func (s *Stack) Connections() (int, tunnel.ConnectorID) {
	return s.worker.Connected(s.cfg.Credentials.TunnelID)
}

// ConfigJSON is the configuration in force, as the /config endpoint shows it.
func (s *Stack) ConfigJSON() ([]byte, error) { return s.proxy.ConfigJSON() }
