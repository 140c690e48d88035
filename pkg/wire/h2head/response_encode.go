package h2head

import (
	"errors"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
)

// ErrStatus means that a response has no valid status, or 101 for a request that is not a WebSocket.
var ErrStatus = errors.New("response has no valid status")

// switchingProtocols is the status of a successful upgrade. HTTP/2 has no such status, so it travels as 200
// (docs/spec/wire.md 9.4).
const switchingProtocols = "101"

const contentLengthKey = stream.HeaderPrefix + "Content-Length"

// ResponseInfo is what a connector has to know of a response in order to send its body.
type ResponseInfo struct {
	// Interim says that another response follows, Empty that nothing follows.
	Interim, Empty bool
	// Framed says that the body comes as frames of the stream form.
	Framed bool
	// Length of the body, or Unknown.
	Length int64
}

// ResponseEncoder encodes responses. It keeps its buffers, so one can be used again and again.
type ResponseEncoder struct {
	// Fields is the header of the last response.
	Fields []httpfield.Field

	block []byte
}

// Reset forgets the last response and frees a block buffer that is larger than keep.
func (e *ResponseEncoder) Reset(keep int) {
	if cap(e.block) > keep {
		e.block = nil
	}
	clear(e.Fields[:cap(e.Fields)])
	e.Fields, e.block = e.Fields[:0], e.block[:0]
}

// Encode puts the header of the HTTP/2 response to the request into e.Fields. It fails with ErrStatus.
func (e *ResponseEncoder) Encode(resp *stream.Response, to Received) (ResponseInfo, error) {
	e.Fields, e.block = e.Fields[:0], e.block[:0]
	if resp.Error != "" {
		e.addError(resp, to)
		return ResponseInfo{Empty: true}, nil
	}
	status, err := statusFor(resp, to.Kind)
	if err != nil {
		return ResponseInfo{}, err
	}
	info := ResponseInfo{Length: Unknown, Interim: status[0] == '1' && status != switchingProtocols}
	body, _ := stream.Lookup(resp.Metadata, stream.KeyBody)
	info.Framed, info.Empty = body == stream.BodyFrames, body == stream.BodyNone
	if status == switchingProtocols {
		status = "200"
	} else if to.Kind != TCP && !info.Interim && (to.head || status == "204" || status == "304") {
		info.Empty = true
	}
	e.Fields = append(e.Fields, httpfield.Field{Name: ":status", Value: status}, httpfield.Field{Name: Meta, Value: MetaOrigin})
	e.addHeaders(resp, to, &info)
	if to.Kind == TCP && to.webSocketKey != "" {
		e.addUpgrade(to.webSocketKey)
	}
	e.Fields = append(e.Fields, httpfield.Field{Name: Block, Value: string(e.block), Sensitive: true})
	info.Empty = info.Empty || info.Length == 0
	return info, nil
}

// statusFor gives a response's status, 200 by default. Only a WebSocket may switch protocols.
func statusFor(resp *stream.Response, kind Kind) (string, error) {
	status, _ := stream.Lookup(resp.Metadata, stream.KeyStatus)
	status = first(status, "200")
	valid := len(status) == 3 && status[0] >= '1' && status[0] <= '9' && isDigit(status[1]) && isDigit(status[2])
	if !valid || status == switchingProtocols && kind != WebSocket {
		return "", ErrStatus
	}
	return status, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// addHeaders puts the origin's headers into the block, and those that HTTP/2 needs beside it.
func (e *ResponseEncoder) addHeaders(resp *stream.Response, to Received, info *ResponseInfo) {
	for i := range resp.Metadata {
		p := &resp.Metadata[i]
		name, ok := strings.CutPrefix(p.Key, stream.HeaderPrefix)
		switch {
		case httpfield.EqualFold(name, Tracing):
			e.Fields = append(e.Fields, httpfield.Field{Name: Tracing, Value: p.Val, Sensitive: true})
		case !ok, !InBlock(name):
			continue
		default:
			if p.Key == contentLengthKey && to.Kind != TCP {
				if length := parseLength(p.Val); length != Unknown && !info.Framed && !info.Interim {
					info.Length = length
					e.Fields = append(e.Fields, httpfield.Field{Name: "content-length", Value: p.Val, Sensitive: true})
				}
			}
			e.block = AppendItem(e.block, 0, name, p.Val)
		}
	}
}

// addError writes the connector's own error (docs/spec/wire.md 9.4), with status and text for an edge of Culvert's.
func (e *ResponseEncoder) addError(resp *stream.Response, to Received) {
	meta := MetaConnector
	if v, _ := stream.Lookup(resp.Metadata, stream.KeyFlowLimited); v == "true" {
		meta = MetaRateLimited
	}
	e.Fields = append(e.Fields, httpfield.Field{Name: ":status", Value: "502"}, httpfield.Field{Name: Meta, Value: meta})
	if v, ok := stream.Lookup(resp.Metadata, stream.KeyStatus); ok && httpfield.IsValue(v) {
		e.Fields = append(e.Fields, httpfield.Field{Name: statusField, Value: v})
	}
	if to.details && httpfield.IsValue(resp.Error) {
		e.Fields = append(e.Fields, httpfield.Field{Name: errorField, Value: resp.Error, Sensitive: true})
	}
}

// addUpgrade adds the headers that the WebSocket client of a TCP stream waits for (RFC 6455 4.2.2).
func (e *ResponseEncoder) addUpgrade(key string) {
	e.block = AppendItem(e.block, 0, "Connection", "Upgrade")
	e.block = AppendItem(e.block, 0, "Sec-Websocket-Accept", websocket.AcceptKey(key))
	e.block = AppendItem(e.block, 0, "Upgrade", "websocket")
}

// TooLargeResponse is the response to a request whose header exceeds the limits: status 431 without headers and body.
func TooLargeResponse() []httpfield.Field {
	return []httpfield.Field{
		{Name: ":status", Value: "431"}, {Name: Meta, Value: MetaOrigin}, {Name: Block},
	}
}
