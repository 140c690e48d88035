package h2

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 demands it
	"encoding/base64"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// answerHead is what the connector needs to know of an answer besides its fields.
type answerHead struct {
	// interim says that another head follows, empty that nothing follows.
	interim, empty bool
	framed         bool
	length         int64
}

const contentLengthKey = stream.HeaderPrefix + "Content-Length"

// fromResponse turns the ConnectResponse in sc into the head of an HTTP/2 answer, in sc.fields.
func (n *names) fromResponse(a asked, sc *scratch) (answerHead, error) {
	resp := &sc.resp
	if resp.Error != "" {
		sc.fields = appendFailure(sc.fields[:0], a, resp)
		return answerHead{empty: true}, nil
	}
	status, err := answerStatus(resp, a.kind)
	if err != nil {
		return answerHead{}, err
	}
	h := answerHead{length: unknown, interim: status[0] == '1' && status != switching}
	bodyKind, _ := stream.Lookup(resp.Metadata, stream.KeyBody)
	h.framed, h.empty = bodyKind == stream.BodyFrames, bodyKind == stream.BodyNone
	if status == switching {
		status = "200"
	} else if a.kind != h2head.TCP && !h.interim && (a.head || status == "204" || status == "304") {
		h.empty = true
	}
	sc.fields = append(sc.fields[:0], mux.Field{Name: ":status", Value: status}, mux.Field{Name: h2head.Meta, Value: h2head.MetaOrigin})
	n.appendHeaders(a, sc, &h)
	if a.kind == h2head.TCP && a.key != "" {
		appendUpgrade(sc, a.key)
	}
	sc.fields = append(sc.fields, mux.Field{Name: h2head.Block, Value: string(sc.block), Sensitive: true})
	h.empty = h.empty || h.length == 0
	return h, nil
}

// switching is the status of a successful upgrade.
const switching = "101"

// answerStatus is an answer's status; only a websocket may be an upgrade.
func answerStatus(resp *stream.Response, kind h2head.Kind) (string, error) {
	status, _ := stream.Lookup(resp.Metadata, stream.KeyStatus)
	status = first(status, "200")
	valid := len(status) == 3 && status[0] >= '1' && status[0] <= '9' && isDigit(status[1]) && isDigit(status[2])
	if !valid || status == switching && kind != h2head.WebSocket {
		return "", errStatus
	}
	return status, nil
}

// appendHeaders fills the block and what stands beside it.
func (n *names) appendHeaders(a asked, sc *scratch, h *answerHead) {
	sc.block = sc.block[:0]
	for i := range sc.resp.Metadata {
		p := &sc.resp.Metadata[i]
		name, ok := strings.CutPrefix(p.Key, stream.HeaderPrefix)
		switch {
		case strings.EqualFold(name, h2head.Tracing):
			sc.fields = append(sc.fields, mux.Field{Name: h2head.Tracing, Value: p.Val, Sensitive: true})
		case !ok, !h2head.InBlock(name):
			continue
		default:
			if p.Key == contentLengthKey && a.kind != h2head.TCP {
				if length := parseLength(p.Val); length != unknown && !h.framed && !h.interim {
					h.length = length
					sc.fields = append(sc.fields, mux.Field{Name: "content-length", Value: p.Val, Sensitive: true})
				}
			}
			sc.block = h2head.AppendItem(sc.block, 0, name, p.Val)
		}
	}
}

// appendFailure is the connector's own error (docs/spec/wire.md 9.4), and for edges of ours what it is.
func appendFailure(fields []mux.Field, a asked, resp *stream.Response) []mux.Field {
	meta := h2head.MetaConnector
	if v, _ := stream.Lookup(resp.Metadata, stream.KeyFlowLimited); v == "true" {
		meta = h2head.MetaRateLimited
	}
	fields = append(fields, mux.Field{Name: ":status", Value: "502"}, mux.Field{Name: h2head.Meta, Value: meta})
	if v, ok := stream.Lookup(resp.Metadata, stream.KeyStatus); ok && isValue(v) {
		fields = append(fields, mux.Field{Name: statusHeader, Value: v})
	}
	if a.details && isValue(resp.Error) {
		fields = append(fields, mux.Field{Name: errorHeader, Value: resp.Error, Sensitive: true})
	}
	return fields
}

// appendUpgrade is what the client of a TCP stream that speaks websocket waits for (RFC 6455, 4.2.2).
func appendUpgrade(sc *scratch, key string) {
	const magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	sum := sha1.Sum([]byte(key + magic)) //nolint:gosec // as above
	sc.block = h2head.AppendItem(sc.block, 0, "Connection", "Upgrade")
	sc.block = h2head.AppendItem(sc.block, 0, "Sec-Websocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	sc.block = h2head.AppendItem(sc.block, 0, "Upgrade", "websocket")
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
