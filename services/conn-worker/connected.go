package connworker

import (
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Connected counts the registered connections that this worker holds for the tunnel id, and names its connector; the
// zero connector id means that it is not known yet. It asks the holders themselves, so it is true while the store is away.
func (s *Service) Connected(id tunnel.ID) (n int, connector tunnel.ConnectorID) {
	for _, k := range s.keepers {
		if k.cred.TunnelID != id {
			continue
		}
		for _, v := range k.connections() {
			connector = v.Connector
			if v.Status.State == lease.StateConnected {
				n++
			}
		}
	}
	return n, connector
}
