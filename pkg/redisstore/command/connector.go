package command

import (
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const opConnector = "ensure connector"

// OfferConnector writes candidate as the connector id of a tunnel if it has none, or one that cannot be read. Of several candidates at
// the same time one wins; Connector reads which (docs/spec/lifecycle.md 14.2). Both together are the operation EnsureConnector.
func OfferConnector(id tunnel.ID, candidate tunnel.ConnectorID) Request[Done] {
	return Request[Done]{
		Op:      opConnector,
		Command: Command{Script: scriptOffer, Keys: []string{connectorKey(id)}, Args: []string{candidate.String()}},
		Decode:  done(opConnector),
	}
}

// Connector reads the connector id of a tunnel; tunnel.ErrNotFound if it has none.
func Connector(id tunnel.ID) Request[tunnel.ConnectorID] {
	return Request[tunnel.ConnectorID]{
		Op:      opConnector,
		Command: Command{Script: scriptConnector, Keys: []string{connectorKey(id)}},
		Decode: func(reply any) (tunnel.ConnectorID, error) {
			word, err := text(opConnector, reply)
			if err != nil {
				return tunnel.ConnectorID{}, err
			}
			stored, err := tunnel.ParseConnectorID(word)
			if err != nil {
				return tunnel.ConnectorID{}, fmt.Errorf("%s: stored %w", opConnector, err)
			}
			return stored, nil
		},
	}
}
