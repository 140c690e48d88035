package h2head

import "encoding/json"

// The values of Meta, byte for byte.
const (
	MetaOrigin      = `{"src":"origin"}`
	MetaConnector   = `{"src":"cloudflared"}`
	MetaRateLimited = `{"src":"cloudflared","flow_rate_limited":true}`
)

// FromConnector reports whether a value of Meta says that the response is the connector's own and not the origin's.
// limited says that the connector has too many flows.
func FromConnector(meta string) (connector, limited bool) {
	switch meta {
	case MetaOrigin, "":
		return false, false
	case MetaRateLimited:
		return true, true
	}
	var m struct {
		Source  string `json:"src"`
		Limited bool   `json:"flow_rate_limited"`
	}
	if json.Unmarshal([]byte(meta), &m) != nil {
		return false, false
	}
	return m.Source == "cloudflared", m.Limited
}
