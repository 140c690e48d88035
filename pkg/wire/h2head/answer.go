package h2head

import (
	"encoding/json"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// The values of Meta, byte for byte.
const (
	MetaOrigin      = `{"src":"origin"}`
	MetaConnector   = `{"src":"cloudflared"}`
	MetaRateLimited = `{"src":"cloudflared","flow_rate_limited":true}`
)

// FromConnector reports whether a value of Meta says that the connector itself answers; limited, that it has too many
// flows.
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

// FlushEachWrite says whether an answer with these headers (names without a prefix) must reach the visitor as it comes:
// one of unknown length, or of a kind that is read as it comes. Websocket, TCP and control streams always are.
func FlushEachWrite(headers []stream.Pair, prefix string) bool {
	sized := false
	for i := range headers {
		name, ok := strings.CutPrefix(headers[i].Key, prefix)
		if !ok {
			continue
		}
		val := headers[i].Val
		switch len(name) {
		case len("content-length"):
			sized = sized || val != "" && strings.EqualFold(name, "content-length")
		case len("transfer-encoding"):
			if strings.EqualFold(name, "transfer-encoding") && strings.Contains(strings.ToLower(val), "chunked") {
				return true
			}
		case len("content-type"):
			if strings.EqualFold(name, "content-type") && streams(val) {
				return true
			}
		}
	}
	return !sized
}

// streams reports whether a content type is read while it comes.
func streams(contentType string) bool {
	return hasPrefixFold(contentType, "text/event-stream") || hasPrefixFold(contentType, "application/grpc") ||
		hasPrefixFold(contentType, "application/x-ndjson")
}
