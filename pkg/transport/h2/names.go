package h2

import (
	"net/textproto"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// Headers of ours beside those of the protocol (docs/extensions.md). Other peers ignore them.
const (
	acceptHeader = "culvert-accept" // what the edge can take: stream.KeyAccept, without frames
	bodyHeader   = "culvert-body"   // stream.KeyBody of a request without a trailer header
	statusHeader = "culvert-status" // the status that goes with the connector's own error
	errorHeader  = "culvert-error"  // its text, for an edge that sent acceptHeader
)

const (
	upgradeHeader = h2head.Upgrade
	controlValue  = h2head.UpgradeControl
)

// kindOf tells what a request of the edge asks for.
func kindOf(head []mux.Field) h2head.Kind {
	var upgrade, source string
	for i := range head {
		switch head[i].Name {
		case h2head.Upgrade:
			upgrade = first(upgrade, head[i].Value)
		case h2head.Source:
			source = first(source, head[i].Value)
		}
	}
	return h2head.Classify(upgrade, source)
}

func first(have, val string) string {
	if have != "" {
		return have
	}
	return val
}

// statusOf is a head's :status, which comes first.
func statusOf(head []mux.Field) string {
	if len(head) > 0 && head[0].Name == ":status" {
		return head[0].Value
	}
	return ""
}

// names maps the usual header names, as HTTP/2 spells them, to metadata keys, and back.
type names struct{ toKey, toName map[string]string }

func newNames() *names {
	n := &names{make(map[string]string), make(map[string]string)}
	for _, name := range []string{
		"accept", "accept-encoding", "accept-language", "access-control-request-headers", "access-control-request-method",
		"authorization", "cache-control", "cdn-loop", "cf-connecting-ip", "cf-ipcountry", "cf-ray", "cf-visitor", "cf-warp-tag-id",
		"content-encoding", "content-length", "content-type", "cookie", "dnt", "grpc-timeout", "if-match", "if-modified-since",
		"if-none-match", "if-range", "if-unmodified-since", "origin", "pragma", "priority", "range", "referer", "sec-ch-ua",
		"sec-ch-ua-mobile", "sec-ch-ua-platform", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user",
		"sec-websocket-extensions", "sec-websocket-key", "sec-websocket-protocol", "sec-websocket-version", "te", "trailer",
		"traceparent", "tracestate", "transfer-encoding", "upgrade-insecure-requests", "user-agent", "via", "x-forwarded-for",
		"x-forwarded-host", "x-forwarded-proto", "x-requested-with",
	} {
		key := stream.HeaderPrefix + textproto.CanonicalMIMEHeaderKey(name)
		n.toKey[name] = key
		n.toName[key] = name
	}
	return n
}

// key is the metadata key of a header.
func (n *names) key(name string) string {
	if key, ok := n.toKey[name]; ok {
		return key
	}
	return stream.HeaderPrefix + textproto.CanonicalMIMEHeaderKey(name)
}

// name is the header of a metadata key, false when the key is none.
func (n *names) name(key string) (string, bool) {
	if name, ok := n.toName[key]; ok {
		return name, true
	}
	name, ok := strings.CutPrefix(key, stream.HeaderPrefix)
	if !ok || name == "" || !isToken(name) {
		return "", false
	}
	return strings.ToLower(name), true
}

// isToken reports whether s can be the name of a header.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

// isValue reports whether s can be the value of a header.
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// ofOneHop reports whether HTTP/2 forbids a header, since it belongs to one connection (RFC 9113, 8.2.2), or whether it
// is one that connector and edge tell each other and a visitor may not forge.
func ofOneHop(name string) bool {
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "http2-settings", "host",
		h2head.Upgrade, h2head.Source, acceptHeader, bodyHeader, statusHeader, errorHeader:
		return true
	}
	return false
}
