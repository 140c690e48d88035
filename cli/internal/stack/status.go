package stack

import (
	"context"
	"crypto/rand"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Connections counts the registered connections of the connector, and gives its id. A store that does not answer counts
// as none.
func (s *Stack) Connections(ctx context.Context) (int, tunnel.ConnectorID) {
	id, err := s.connectorID(ctx)
	if err != nil {
		return 0, id
	}
	records, err := s.store.Slots(ctx, s.cfg.Credentials.TunnelID, id)
	if err != nil {
		return 0, id
	}
	n := 0
	for _, r := range records {
		if r.Live && r.Status.State == lease.StateConnected {
			n++
		}
	}
	return n, id
}

// connectorID reads the id from the store once. Whoever asks first makes it, and the worker finds it there.
func (s *Stack) connectorID(ctx context.Context) (tunnel.ConnectorID, error) {
	if id := s.connector.Load(); id != nil {
		return *id, nil
	}
	candidate, err := tunnel.NewConnectorID(rand.Reader)
	if err != nil {
		return candidate, err
	}
	id, err := s.store.EnsureConnector(ctx, s.cfg.Credentials.TunnelID, candidate)
	if err != nil {
		return tunnel.ConnectorID{}, err
	}
	s.connector.Store(&id)
	return id, nil
}
