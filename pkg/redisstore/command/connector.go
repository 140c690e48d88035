package command

import (
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const opConnector = "ensure connector"

// keptTTL is how long the keys of a tunnel outlive their last read or write. The scripts have the same number.
const keptTTL = 30 * 24 * time.Hour

// OfferConnector writes candidate as the connector id of a tunnel if it has none. Of several candidates at the same time
// one wins; Connector reads which (docs/spec/lifecycle.md 14.2). Both together are the operation EnsureConnector.
func OfferConnector(id tunnel.ID, candidate tunnel.ConnectorID) Request[Done] {
	key := connectorKey(id)
	return Request[Done]{
		Op:      opConnector,
		Command: Command{Keys: []string{key}, Args: []string{"set", key, candidate.String(), "nx", "px", millis(keptTTL)}},
		Decode:  func(any) (Done, error) { return Done{}, nil }, // nil says that there was one already
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
