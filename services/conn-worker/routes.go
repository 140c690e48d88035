package connworker

import (
	"maps"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Routes adds the worker's own endpoints.
func (s *Service) Routes(g *echo.Group) { g.GET("/connections", s.connections) }

// connectionView is one slot that this worker holds.
type connectionView struct {
	Tunnel    tunnel.ID          `json:"tunnel_id"`
	Connector tunnel.ConnectorID `json:"connector_id"`
	Index     tunnel.ConnIndex   `json:"conn_index"`
	Epoch     tunnel.Epoch       `json:"epoch"`
	Edge      tunnel.EdgeAddr    `json:"edge"`
	Protocol  tunnel.Protocol    `json:"protocol"`
	Status    lease.Status       `json:"status"`
}

func (s *Service) connections(c echo.Context) error {
	list := []connectionView{}
	for _, k := range s.keepers {
		list = append(list, k.connections()...)
	}
	return c.JSON(http.StatusOK, map[string]any{
		"worker_id": s.id, "control_plane_up": s.storeUp.Load(), "draining": s.draining.Load(), "connections": list,
	})
}

func (k *keeper) connections() []connectionView {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []connectionView
	for _, index := range slices.Sorted(maps.Keys(k.holders)) {
		for _, h := range k.holders[index] {
			v := h.Snapshot()
			list = append(list, connectionView{
				Tunnel: k.cred.TunnelID, Connector: k.connector, Index: index,
				Epoch: v.Grant.Epoch, Edge: v.Edge, Protocol: v.Status.Protocol, Status: v.Status,
			})
		}
	}
	return list
}

// connected counts the registered connections.
func (s *Service) connected() float64 {
	n := 0
	for _, k := range s.keepers {
		for _, v := range k.connections() {
			if v.Status.State == lease.StateConnected {
				n++
			}
		}
	}
	return float64(n)
}
