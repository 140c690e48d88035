package keeper

import (
	"maps"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Connection is one slot that the worker holds.
type Connection struct {
	Tunnel    tunnel.ID          `json:"tunnel_id"`
	Connector tunnel.ConnectorID `json:"connector_id"`
	Index     tunnel.ConnIndex   `json:"conn_index"`
	Epoch     tunnel.Epoch       `json:"epoch"`
	Edge      tunnel.EdgeAddr    `json:"edge"`
	Protocol  tunnel.Protocol    `json:"protocol"`
	Status    lease.Status       `json:"status"`
}

// Registered reports whether the edge has registered the connection.
func (c Connection) Registered() bool { return c.Status.State == lease.StateConnected }

func (k *keeper) connections() []Connection {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []Connection
	for _, index := range slices.Sorted(maps.Keys(k.holders)) {
		for _, h := range k.holders[index] {
			v := h.Snapshot()
			list = append(list, Connection{
				Tunnel: k.cred.TunnelID, Connector: k.connector, Index: index,
				Epoch: v.Grant.Epoch, Edge: v.Edge, Protocol: v.Status.Protocol, Status: v.Status,
			})
		}
	}
	return list
}

// Connector is the connector id of the tunnel id, zero while the store has not given it.
func (s *Set) Connector(id tunnel.ID) tunnel.ConnectorID {
	for _, k := range s.keepers {
		if k.cred.TunnelID == id {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.connector
		}
	}
	return tunnel.ConnectorID{}
}
