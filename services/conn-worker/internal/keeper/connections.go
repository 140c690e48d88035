package keeper

import (
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
	for _, held := range k.machine.Holders() {
		v := k.holders[held.Holder].Snapshot()
		list = append(list, Connection{
			Tunnel: held.Slot.Tunnel, Connector: held.Slot.Connector, Index: held.Slot.Index,
			Epoch: v.Grant.Epoch, Edge: v.Edge, Protocol: v.Status.Protocol, Status: v.Status,
		})
	}
	return list
}

// ready returns why the tunnel is not served, or nil.
func (k *keeper) ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.machine.Ready()
}

// Connector is the connector id of the tunnel id, zero while the store has not given it.
func (s *Set) Connector(id tunnel.ID) tunnel.ConnectorID {
	for _, k := range s.keepers {
		if k.cred.TunnelID == id {
			return k.connector()
		}
	}
	return tunnel.ConnectorID{}
}

func (k *keeper) connector() tunnel.ConnectorID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.machine.Connector()
}
