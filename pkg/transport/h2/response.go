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
	status, _ := stream.Lookup(resp.Metadata, stream.KeyStatus)
	status = first(status, "200")
	if status == "101" && a.kind != h2head.WebSocket || len(status) != 3 || status[0] < '1' || status[0] > '9' || !isDigit(status[1]) || !isDigit(status[2]) {
		return answerHead{}, errStatus
	}
	h := answerHead{length: unknown, interim: status[0] == '1' && status != "101"}
	switch bodyKind, _ := stream.Lookup(resp.Metadata, stream.KeyBody); bodyKind {
	case stream.BodyFrames:
		h.framed = true
	case stream.BodyNone:
		h.empty = true
	}
	if status == "101" {
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
	if h.length == 0 {
		h.empty = true
	}
	return h, nil
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

// appendFailure is the connector's own error (spec/wire.md 9.4), and for edges of ours what it is.
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

// unexplained is the error of a connector that does not say what it was.
const unexplained = "the connector could not serve the request"

// answerFields are the fields of an answer that mean something to the edge.
type answerFields struct{ status, meta, block, length, tracing, errStatus, errText string }

func readAnswer(head []mux.Field) answerFields {
	var f answerFields
	for i := range head {
		into := (*string)(nil)
		switch head[i].Name {
		case ":status":
			into = &f.status
		case h2head.Meta:
			into = &f.meta
		case h2head.Block:
			into = &f.block
		case "content-length":
			into = &f.length
		case h2head.Tracing:
			into = &f.tracing
		case statusHeader:
			into = &f.errStatus
		case errorHeader:
			into = &f.errText
		}
		if into != nil && *into == "" {
			*into = head[i].Value
		}
	}
	return f
}

// toResponse turns the head of an HTTP/2 answer into a ConnectResponse; framed says that the body is to be framed.
func toResponse(head []mux.Field, w wanted, ended bool, resp *stream.Response) (framed bool, err error) {
	f := readAnswer(head)
	*resp = stream.Response{Metadata: resp.Metadata[:0]}
	connector, limited := h2head.FromConnector(f.meta)
	switch {
	case connector:
		resp.Error = first(f.errText, unexplained)
		if limited {
			resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyFlowLimited, Val: "true"})
		}
		if f.errStatus != "" {
			resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyStatus, Val: f.errStatus})
		}
		return false, nil
	case w.kind == h2head.TCP:
		if f.status != "200" {
			resp.Error = unexplained + ": status " + f.status
		}
		if f.tracing != "" {
			resp.Metadata = append(resp.Metadata, stream.Pair{Key: "Cf-Int-Cloudflared-Tracing", Val: f.tracing})
		}
		return false, nil
	}
	resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyStatus, Val: f.status})
	if resp.Metadata, err = h2head.ParseBlock(resp.Metadata, f.block, stream.HeaderPrefix); err != nil {
		return false, err
	}
	sized, upgraded := scan(resp.Metadata)
	if w.kind == h2head.WebSocket && f.status == "200" && upgraded {
		resp.Metadata[0].Val = "101"
		return false, nil
	}
	interim := f.status[0] == '1'
	if !sized && f.length != "" && !interim {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: contentLengthKey, Val: f.length})
		sized = true
	}
	if f.tracing != "" {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.HeaderPrefix + "Cf-Int-Cloudflared-Tracing", Val: f.tracing})
	}
	if !w.frames || interim || w.kind != h2head.HTTP {
		return false, nil
	}
	switch {
	case ended:
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyNone})
	case !sized:
		framed = true
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyFrames})
	}
	return framed, nil
}

// scan looks for a length and for an upgrade.
func scan(pairs []stream.Pair) (sized, upgraded bool) {
	for i := range pairs {
		name, ok := strings.CutPrefix(pairs[i].Key, stream.HeaderPrefix)
		if !ok {
			continue
		}
		sized = sized || strings.EqualFold(name, "content-length")
		upgraded = upgraded || strings.EqualFold(name, "upgrade")
	}
	return sized, upgraded
}
