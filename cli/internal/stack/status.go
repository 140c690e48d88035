package stack

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	connworker "github.com/culvert-tunnel/culvert/services/conn-worker"
)

// State is the connector of this process at one moment.
type State struct {
	Tunnel tunnel.ID
	// Connector is zero while the store has not given it.
	Connector tunnel.ConnectorID
	// Connections are the registered ones, by index. They come from the worker itself, so they are right also while the store is
	// unavailable.
	Connections []connworker.Connection
	// Stopping says that the end has begun.
	Stopping bool
	// ICMPSources are the IPv4 and the IPv6 address from which this host sends ICMP errors.
	ICMPSources []string
}

// State returns the present state.
func (s *Stack) State() State {
	st := State{Tunnel: s.cfg.Credentials.TunnelID, Stopping: s.stopping.Load()}
	st.Connector, st.Connections = s.worker.Registered(st.Tunnel)
	v4, v6 := s.proxy.ICMPSources()
	st.ICMPSources = []string{v4.String(), v6.String()}
	return st
}

// Registered lists the connections of this process that are registered.
func (s *Stack) Registered() []tunnel.ConnIndex {
	_, connections := s.worker.Registered(s.cfg.Credentials.TunnelID)
	list := make([]tunnel.ConnIndex, len(connections))
	for i, c := range connections {
		list[i] = c.Index
	}
	return list
}

// Alive says why this process does no work any more, or nil. It blocks while the state of the connections is locked.
func (s *Stack) Alive() error { return s.worker.Alive(time.Now()) }

// Reconnect breaks a connection by force and makes it again after the delay.
func (s *Stack) Reconnect(index tunnel.ConnIndex, delay time.Duration) error {
	return s.worker.Reconnect(s.cfg.Credentials.TunnelID, index, delay)
}

// ConfigJSON is the configuration in force, as the /config endpoint shows it.
func (s *Stack) ConfigJSON() ([]byte, error) { return s.proxy.ConfigJSON(s.cfg.Credentials.TunnelID) }
