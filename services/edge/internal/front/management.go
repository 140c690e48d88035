package front

import (
	"encoding/json"
	"net/http"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// statusNoConnector is the status by which clients of the management service know that no connector can be reached.
const statusNoConnector = 530

// Management knows the hosts and the access tokens of the management service (docs/spec/lifecycle.md 10.6); certs.Management is one.
type Management interface {
	// IsHost reports whether a canonical host is the service's.
	IsHost(host string) bool
	// Authorize checks the token of a request. A zero connector means any one of the tunnel. The text of an error is for the client.
	Authorize(path, rawQuery string) (id tunnel.ID, connector tunnel.ConnectorID, err error)
	// Key is the metadata that lets a connector of ours check the token again (docs/extensions.md).
	Key() string
}

// serveManagement carries a request for the management host to a connector of the tunnel that its token names. No route decides
// about it.
func (rt *roundTrip) serveManagement() ending {
	id, connector, err := rt.front.deps.Management.Authorize(rt.r.URL.Path, rt.r.URL.RawQuery)
	if err != nil {
		return rt.managementError(http.StatusBadRequest, err.Error())
	}
	rt.managementKey = rt.front.deps.Management.Key()
	if connector != (tunnel.ConnectorID{}) {
		rt.sender = rt.sender.ForConnector(connector)
	}
	return rt.carry(id)
}

// managementError responds in the form in which the connector's own refusals are.
func (rt *roundTrip) managementError(status int, text string) ending {
	type detail struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	b, err := json.Marshal(struct {
		Errors []detail `json:"errors"`
	}{[]detail{{1001, text}}})
	if err != nil {
		return aborted
	}
	rt.begun = true
	rt.w.Header().Set("Content-Type", "application/json")
	rt.w.WriteHeader(status)
	_, _ = rt.w.Write(append(b, '\n')) // the client left
	return errorPage
}
