package h2head

import (
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// FlushEachWrite reports whether each piece of a response's body must be sent at once: its length is unknown, or its
// content type is consumed while it arrives. prefix precedes the header names in the keys. WebSocket, TCP and control streams are
// always sent at once.
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
			sized = sized || val != "" && httpfield.EqualFold(name, "content-length")
		case len("transfer-encoding"):
			if httpfield.EqualFold(name, "transfer-encoding") && strings.Contains(strings.ToLower(val), "chunked") {
				return true
			}
		case len("content-type"):
			if httpfield.EqualFold(name, "content-type") && streams(val) {
				return true
			}
		}
	}
	return !sized
}

// streams reports whether clients consume a content type while it arrives.
func streams(contentType string) bool {
	return startsWith(contentType, "text/event-stream") || startsWith(contentType, "application/grpc") ||
		startsWith(contentType, "application/x-ndjson")
}

func startsWith(s, lower string) bool {
	return len(s) >= len(lower) && httpfield.EqualFold(s[:len(lower)], lower)
}
