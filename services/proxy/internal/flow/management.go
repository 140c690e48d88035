package flow

import (
	"net/http"
	"net/url"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// Bodies of responses for the management host (docs/spec/lifecycle.md 10.6).
const (
	managementNoToken = `{"errors":[{"code":1001,"message":"missing access_token query parameter"}]}` + "\n"
	managementAbsent  = `{"errors":[{"code":1001,"message":"this connector has no management service"}]}` + "\n"
)

// jsonContent goes with the responses for the management host.
var jsonContent = []stream.Pair{ //nolint:gochecknoglobals // a constant
	{Key: stream.HeaderPrefix + "Content-Type", Val: "application/json"},
}

// refuseManagement responds to a request for the management host. The management service does not exist yet; the request
// must not reach an origin, since its query holds an access token.
func (x *flowState) refuseManagement(p *parsed) error {
	x.h.metrics.count(failureRequest)
	query, err := url.ParseQuery(p.query)
	if err != nil || query.Get("access_token") == "" {
		return x.respond(http.StatusBadRequest, jsonContent, managementNoToken)
	}
	return x.respond(http.StatusBadRequest, jsonContent, managementAbsent)
}
